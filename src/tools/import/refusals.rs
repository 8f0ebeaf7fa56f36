//! Requests of a location that are treated apart by their method: `limit_except`, and an `if` that
//! only responds.

use std::rc::Rc;

use super::{
    levels::Level,
    plan::RoutePlan,
    responses::{ResponsePlan, response},
    translation::{NginxServer, Translation},
    tree::Directive,
};
use crate::config::directives::Treatment;

/// Routes of one path by method, in the order that they are tried.
#[derive(Debug, Default)]
pub struct MethodRules<'a> {
    /// Methods of the location's own route; empty for every method.
    pub methods: Vec<String>,
    /// Responses that come before it.
    pub refused: Vec<(Vec<String>, ResponsePlan)>,
    /// The `limit_except` whose conditions are for the other methods.
    pub except: Option<&'a Directive>,
}

/// Comparison of the method.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MethodTest {
    methods: Vec<String>,
    /// The block is for these methods, and not for all others.
    is_for_them: bool,
}

/// Plans what is apart by method.
///
/// # Errors
/// The reason why the route has to be closed.
pub fn method_rules<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
    level: &Rc<Level<'a>>,
) -> Result<MethodRules<'a>, String> {
    let mut rules = MethodRules::default();
    if let Some(except) = level.own("limit_except").first().copied() {
        let methods: Vec<String> =
            except.args.iter().map(|method| method.to_ascii_uppercase()).collect();
        if methods.is_empty() || !methods.iter().all(|method| is_method(method)) {
            state.notes.refuse(except, "not a list of methods");
            return Err("`limit_except` names no methods".to_owned());
        }
        state.notes.carry(except);
        rules.methods = methods;
        rules.methods.dedup();
        rules.except = Some(except);
    }
    // Those of the server come first, and hold for each location.
    for condition in server.level.own("if").iter().chain(level.own("if")) {
        let (Some(test), Some(plan)) = (test(condition), refusal(state, condition, level)) else {
            continue;
        };
        state.notes.carry(condition);
        match (test.is_for_them, rules.methods.is_empty()) {
            (true, _) => rules.refused.push((test.methods, plan)),
            (false, true) => {
                // `GET` of weir takes HEAD too.
                let has = |name: &str| test.methods.iter().any(|method| method == name);
                if has("GET") && !has("HEAD") {
                    rules.refused.push((vec!["HEAD".to_owned()], plan.clone()));
                }
                rules.methods = test.methods;
                rules.refused.push((Vec::new(), plan));
            }
            (false, false) => return Err("two lists of methods are for it".to_owned()),
        }
    }
    Ok(rules)
}

/// Returns true for an `if` that [`method_rules`] carries over.
#[must_use]
pub fn is_of_methods(condition: &Directive) -> bool {
    test(condition).is_some() && matches!(condition.children(), [one] if one.name == "return")
}

/// Routes of a location by method, around its own.
#[must_use]
pub fn refused(route: &RoutePlan, rules: &MethodRules<'_>) -> (Vec<RoutePlan>, Vec<RoutePlan>) {
    let planned = rules.refused.iter().map(|(methods, plan)| {
        let mut remarks = route.remarks.clone();
        plan.change.iter().for_each(|change| remarks.add(*change));
        let action = Some(plan.line.clone());
        let (path, kind, methods) = (route.path.clone(), route.kind, methods.clone());
        RoutePlan { path, kind, methods, action, remarks, ..RoutePlan::default() }
    });
    // Those with methods come before the route of the location, the one for the rest behind it.
    planned.partition(|planned| !planned.methods.is_empty())
}

/// Response of an `if` that does nothing else.
fn refusal(
    state: &mut Translation<'_>,
    condition: &Directive,
    level: &Level<'_>,
) -> Option<ResponsePlan> {
    let [directive] = condition.children() else { return None };
    if directive.name != "return" {
        return None;
    }
    // A block that does more than respond is no refusal.
    let plan = response(&mut state.loads, directive, level).ok()?;
    match plan.change {
        Some(change) => state.notes.tell(directive, Treatment::Noted, change),
        None => state.notes.carry(directive),
    }
    Some(plan)
}

/// Comparison of `$request_method` in an `if`.
fn test(condition: &Directive) -> Option<MethodTest> {
    let words = condition.args.join(" ");
    let inside = words.strip_prefix('(')?.strip_suffix(')')?.trim();
    let (operator, text) = inside.strip_prefix("$request_method")?.trim().split_once(' ')?;
    let text = text.trim();
    // Only a whole list: `~ P` would be a part of a method.
    let is_expression = operator.ends_with('~') || operator.ends_with("~*");
    let methods: Vec<String> = if is_expression {
        let list = text.strip_prefix('^')?.strip_suffix('$')?;
        let list = list.strip_prefix("(?:").or(list.strip_prefix('(')).unwrap_or(list);
        list.strip_suffix(')').unwrap_or(list).split('|').map(str::to_owned).collect()
    } else {
        vec![text.to_owned()]
    };
    let is_for_them = match operator {
        "=" | "~" => true,
        "!=" | "!~" => false,
        _ => return None,
    };
    methods.iter().all(|method| is_method(method)).then_some(MethodTest { methods, is_for_them })
}

/// Returns true for a method that a route may name: `CONNECT` is refused before any route.
fn is_method(text: &str) -> bool {
    !text.is_empty() && text != "CONNECT" && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use crate::tools::import::{refusals::*, tree::TreeBuilder};

    #[test]
    fn comparison_of_the_method_is_read() {
        for (text, expected) in [
            ("$request_method = POST", Some((&["POST"][..], true))),
            ("$request_method != GET", Some((&["GET"], false))),
            ("$request_method !~ ^(GET|HEAD)$", Some((&["GET", "HEAD"], false))),
            ("$request_method ~ ^(?:PUT|DELETE)$", Some((&["PUT", "DELETE"], true))),
            ("$request_method ~* ^(put)$", None),
            ("$request_method ~ P", None),
            ("$request_method = CONNECT", None),
            ("$host = a", None),
        ] {
            let text = format!("if ({text}) {{ return 405; }}");
            let tree = TreeBuilder::default().parse("a", 0, &text).expect("a tree");
            let found = test(&tree[0]);
            let found = found.as_ref().map(|test| (&test.methods[..], test.is_for_them));
            let expected = expected.map(|(methods, is_for_them)| {
                (methods.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), is_for_them)
            });
            assert_eq!(found.map(|(methods, it)| (methods.to_vec(), it)), expected, "{text}");
        }
    }
}
