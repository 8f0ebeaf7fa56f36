//! `rewrite`: redirects, and changes of the path on its way to an upstream.
//!
//! Guarantee: no path is forwarded that nginx would have changed. Where weir cannot change it, the
//! route is closed (`rewrite_that_weir_cannot_say_closes_its_route` in tests/config/import.rs).

use super::{
    expressions::{PathExpression, escaped, path_expression},
    levels::Level,
    plan::{PathKind, Remarks, RoutePlan},
    scalar::{quoted_always, single_quoted},
    translation::{NginxServer, Translation},
    tree::Directive,
    urls::{groups, split, target},
    values::with_set,
};

/// Expressions that match every path.
const TOTAL: [&str; 9] = ["^", ".*", "^.*", "^.*$", "(.*)", "^(.*)", "^(.*)$", "^/(.*)", "^/(.*)$"];
/// Ends of an expression behind the whole path of a location.
const ENDS: [&str; 7] = ["", ".*", ".*$", "(.*)", "(.*)$", "/?(.*)", "/?(.*)$"];

/// Change of a path, as weir's file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// Value of `rewrite`.
    pub rewrite: String,
    /// Line of a redirect; none if the request is forwarded.
    pub redirect: Option<String>,
    expression: PathExpression,
    /// Path that the request gets, up to its first variable.
    to: String,
    has_variables: bool,
}

/// Effect of the `rewrite` directives of a location.
#[derive(Clone, Debug, Default)]
pub struct RewritePlan<'a> {
    /// Routes of redirects for a part of the paths.
    pub redirects: Vec<RoutePlan>,
    /// Change for all paths of the location.
    pub change: Option<PathChange>,
    /// Location that the changed path belongs to.
    pub location: Option<&'a Directive>,
}

/// Plans the `rewrite` directives of a location.
///
/// # Errors
/// The reason why the route has to be closed.
pub fn of_location<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
    location: &'a Directive,
    level: &Level<'a>,
) -> Result<RewritePlan<'a>, String> {
    let mut plan = RewritePlan::default();
    for directive in level.own("rewrite") {
        if plan.change.is_some() {
            state.notes.discard(directive, "the one before takes all paths");
            continue;
        }
        let change = change(state, directive, level)?;
        // With `break` nothing else is looked for, and what does not match stays as it is.
        let is_last = level.own("rewrite").last().is_some_and(|last| last.id == directive.id);
        let stays = change.redirect.is_none() && directive.arg(2) == "break" && is_last;
        if stays || is_total(&change.expression.text, directive.arg(0), location) {
            if change.redirect.is_none() {
                plan.location = owner(server, location, &change, directive.arg(2))?;
            }
            plan.change = Some(change);
        } else {
            let route = partial(state, server, location, directive, &change)?;
            plan.redirects.push(route);
        }
        state.notes.carry(directive);
    }
    Ok(plan)
}

/// Plans a `rewrite` of a server, which comes before its locations.
///
/// # Errors
/// Reason why its paths have to be closed, with the expression of them.
pub fn of_server<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
    directive: &'a Directive,
) -> Result<(RoutePlan, Option<&'a Directive>), (String, String)> {
    let expression = path_expression(directive.arg(0), false);
    let closed = |reason: String| (reason, expression.text.clone());
    let change = change(state, directive, &server.level).map_err(closed)?;
    // It comes before all locations, so it is the first of the expressions.
    let route = route_of(state, directive, &change);
    if change.redirect.is_some() {
        state.notes.carry(directive);
        return Ok((route, None));
    }
    let owner = owner(server, directive, &change, "last").map_err(closed)?;
    let owner = owner.ok_or_else(|| closed("no location is known for the new path".to_owned()))?;
    state.notes.carry(directive);
    Ok((RoutePlan { rewrite: Some(change.rewrite), ..route }, Some(owner)))
}

/// Text that every path begins with that an expression takes; none if it may begin anywhere.
#[must_use]
pub fn begin_of(expression: &str) -> Option<&str> {
    let anchored = expression.strip_prefix('^').filter(|rest| !rest.contains('|'))?;
    let end = anchored.find(|letter| "\\.+*?()[]{}^$".contains(letter)).unwrap_or(anchored.len());
    // The last sign may be optional: `^/ab?` matches `/a`.
    let is_optional = anchored[end..].starts_with(['*', '?', '{']);
    Some(&anchored[..end - usize::from(is_optional && end > 0)])
}

fn route_of(state: &Translation<'_>, directive: &Directive, change: &PathChange) -> RoutePlan {
    RoutePlan {
        path: change.expression.text.clone(),
        kind: PathKind::Regex,
        action: change.redirect.clone(),
        rewrite: Some(change.rewrite.clone()),
        remarks: Remarks::from(format!("{} {}", state.origin(directive), directive.text())),
        ..RoutePlan::default()
    }
}

/// Route of a redirect for a part of the paths of a location.
fn partial(
    state: &Translation<'_>,
    server: &NginxServer<'_>,
    location: &Directive,
    directive: &Directive,
    change: &PathChange,
) -> Result<RoutePlan, String> {
    let refused = || format!("`{}` is for a part of its paths", directive.text());
    let (kind, prefix) = location.modifier_and_path();
    // Beside an exact path or `^~` an expression of its own would never be asked.
    if change.redirect.is_none() || !kind.is_empty() {
        return Err(refused());
    }
    // All of its paths have to be of this location.
    let begin = begin_of(&change.expression.text).filter(|begin| begin.starts_with(prefix));
    let begin = begin.ok_or_else(refused)?;
    let is_other = |other: &&&Directive| {
        let (kind, text) = other.modifier_and_path();
        let is_near =
            text.len() > prefix.len() && (text.starts_with(begin) || begin.starts_with(text));
        kind.is_empty() && is_near
    };
    if server.locations.iter().any(|other| is_other(&other))
        || location.named("location").next().is_some()
    {
        return Err(refused());
    }
    Ok(route_of(state, directive, change))
}

/// Returns true if an expression matches all paths of a location.
fn is_total(translated: &str, written: &str, location: &Directive) -> bool {
    let (kind, path) = location.modifier_and_path();
    // The expression of a location has matched when its own `rewrite` is asked.
    if TOTAL.contains(&written) || (kind.starts_with('~') && written == path) {
        return true;
    }
    let begin = format!("^{}", escaped(path));
    let Some(rest) = translated.strip_prefix(&begin) else { return false };
    match kind {
        "=" => rest.is_empty() || rest == "$",
        "" | "^~" => ENDS.contains(&rest),
        _ => false,
    }
}

/// Reads a `rewrite`.
fn change(
    state: &mut Translation<'_>,
    directive: &Directive,
    level: &Level<'_>,
) -> Result<PathChange, String> {
    let unknown = || format!("`{}` has no counterpart", directive.text());
    let mut expression = path_expression(directive.arg(0), false);
    if let Some(fault) = &expression.fault {
        return Err(fault.clone());
    }
    let text = with_set(directive.arg(1), level);
    let (origin, path) = split(&text);
    // A URL of a host alone leads to its root.
    let path = if origin.is_some() && path.is_empty() { "/" } else { path };
    let mut path = path.to_owned();
    // A new path begins with a slash of its own in weir.
    if path.starts_with("${1}") && expression.text.matches('(').count() >= 1 {
        let with_slash = ["(/.*)", "(/.+)"]
            .iter()
            .find(|group| expression.text.find('(') == expression.text.find(**group));
        if let Some(group) = with_slash {
            let inner = group.replace("(/", "/(");
            expression.text = expression.text.replacen(*group, &inner, 1);
            path = format!("/{path}");
        } else if TOTAL.contains(&directive.arg(0)) && directive.arg(0).contains("(.*)") {
            expression.text = "^/(.*)$".to_owned();
            path = format!("/{path}");
        }
    }
    let to = groups(&path, &expression.text).ok_or_else(unknown)?;
    let status = match (directive.arg(2), origin.is_some()) {
        ("permanent", _) => Some(301),
        // A URL is a redirect whatever its flag says.
        ("redirect", _) | (_, true) => Some(302),
        ("" | "last" | "break", false) => None,
        _ => return Err(unknown()),
    };
    let redirect = match status {
        Some(status) => {
            let origin = match origin {
                Some(origin) => target(origin).map_err(|_| unknown())?.0,
                None => "{scheme}://{host}".to_owned(),
            };
            let to = quoted_always(&format!("{origin}{{path}}{{query}}"));
            let line = format!("redirect: {{ to: {to}, status: {status} }}");
            match state.loads.action(&line) {
                Some(reason) => return Err(reason),
                None => Some(line),
            }
        }
        None => None,
    };
    let (regex, to) = (single_quoted(&expression.text), quoted_always(&to));
    let rewrite = format!("{{ regex: {regex}, to: {to} }}");
    if let Some(reason) = state.loads.rewrite("/", &rewrite) {
        return Err(reason);
    }
    // Which location the path belongs to is known up to here.
    let end = path.find(['$', '?']).unwrap_or(path.len());
    let has_variables = path[end..].starts_with('$');
    Ok(PathChange { rewrite, redirect, expression, to: path[..end].to_owned(), has_variables })
}

/// Location that nginx chooses for the changed path; none if it stays in its own.
fn owner<'a>(
    server: &NginxServer<'a>,
    location: &'a Directive,
    change: &PathChange,
    flag: &str,
) -> Result<Option<&'a Directive>, String> {
    if flag == "break" {
        return Ok(None);
    }
    let refused = || format!("no location is known for `{}`", change.to);
    let to = &change.to;
    // An expression would come first.
    let may_match = |one: &Directive| {
        let (kind, text) = one.modifier_and_path();
        let expression = path_expression(text, kind == "~*");
        let begin = begin_of(&expression.text).filter(|_| kind == "~");
        let is_apart = |begin: &str| !begin.starts_with(to.as_str()) && !to.starts_with(begin);
        kind.starts_with('~') && !begin.is_some_and(is_apart)
    };
    if to.is_empty() || server.locations.iter().copied().any(may_match) {
        return Err(refused());
    }
    let prefixes = || {
        server
            .locations
            .iter()
            .copied()
            .filter(|one| matches!(one.modifier_and_path().0, "" | "^~" | "="))
    };
    // What follows a variable is not known: a longer location may take it.
    let is_longer = |one: &Directive| {
        let text = one.modifier_and_path().1;
        text.len() > to.len() && text.starts_with(to.as_str())
    };
    if change.has_variables && prefixes().any(is_longer) {
        return Err(refused());
    }
    // As nginx chooses: the exact path, then the longest prefix.
    let takes = |one: &&Directive| match one.modifier_and_path() {
        ("=", text) => !change.has_variables && text == to,
        (_, text) => to.starts_with(text),
    };
    let weight = |one: &&Directive| {
        let (kind, text) = one.modifier_and_path();
        (kind == "=", text.len())
    };
    let found = prefixes().filter(takes).max_by_key(weight).ok_or_else(refused)?;
    if found.id == location.id {
        // nginx comes here again, and changes the path again if it still matches.
        let begin = begin_of(&change.expression.text).unwrap_or_default();
        let is_apart = !begin.starts_with(to.as_str()) && !to.starts_with(begin);
        return if is_apart { Ok(None) } else { Err(refused()) };
    }
    // A second change of the path, or a choice, is more than one route says.
    let has_more =
        ["rewrite", "location", "if"].iter().any(|name| found.named(name).next().is_some());
    if has_more { Err(refused()) } else { Ok(Some(found)) }
}

#[cfg(test)]
mod tests {
    use crate::tools::import::rewrites::*;

    #[test]
    fn beginning_of_an_expression_is_known_to_its_first_sign() {
        for (expression, expected) in [
            ("^/old/(.*)$", Some("/old/")),
            ("^/ab?c", Some("/a")),
            ("^/a|b", None),
            ("/a", None),
            ("^", Some("")),
        ] {
            assert_eq!(begin_of(expression), expected, "{expression}");
        }
    }
}
