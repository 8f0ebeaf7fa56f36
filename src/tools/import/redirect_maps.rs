//! Maps of paths that a server redirects by: a route for each row.

use super::{
    expressions::path_expression,
    loads::Loads,
    plan::{PathKind, Remarks, RoutePlan},
    scalar::{quoted_always, single_quoted},
    translation::{NginxServer, Translation},
    tree::Directive,
    urls::{groups, split, target},
    values::{ValuePiece, braced, pieces},
};
use crate::config::directives::Treatment;

/// Limit on the rows of a map that become routes.
const MAX_ROWS: usize = 1_000;

/// Redirect of an `if` that is for the rows of a map: `if ($new) { return 301 $new; }`.
#[derive(Debug)]
struct MapRedirect<'a> {
    map: &'a Directive,
    /// Text before the value of the map.
    before: String,
    status: u16,
    /// The query of the request is kept.
    keeps_query: bool,
}

/// Plans the redirects of a server by maps, each with the directive it comes from.
pub fn redirects<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
) -> Vec<(&'a Directive, RoutePlan)> {
    let mut found = Vec::new();
    for condition in server.level.own("if").iter().copied() {
        let Some(redirect) = read(state, condition) else { continue };
        let map = redirect.map;
        let mut lost = Vec::new();
        for row in map.children().iter().take(MAX_ROWS) {
            // A row without a value redirects nothing.
            if row.name == "default" || row.name == "volatile" || row.arg(0).is_empty() {
                continue;
            }
            match route(&mut state.loads, &redirect, row) {
                Some(mut route) => {
                    route.remarks = Remarks::from(state.origin(row));
                    found.push((condition, route));
                }
                None => lost.push(row.name.clone()),
            }
        }
        // What is lost is in the line of the map.
        state.notes.carry(condition);
        condition.children().iter().for_each(|child| state.notes.carry(child));
        let reason = match &lost[..] {
            [] => "a route with `redirect` for each row".to_owned(),
            lost => format!("without its rows {}", lost.join(", ")),
        };
        let treatment = if lost.is_empty() { Treatment::Carried } else { Treatment::Unsupported };
        state.notes.tell(map, treatment, reason);
    }
    found
}

fn read<'a>(state: &Translation<'a>, condition: &Directive) -> Option<MapRedirect<'a>> {
    let words = condition.args.join(" ");
    let variable = words.strip_prefix('(')?.strip_suffix(')')?.trim();
    let variable = variable.strip_suffix("!= \"\"").map_or(variable, str::trim);
    let name = variable.strip_prefix('$')?;
    let map = state.maps.get(name).copied().filter(|map| map.name == "map")?;
    let is_path = matches!(map.arg(0), "$uri" | "$document_uri" | "$request_uri");
    // A row of `0` or none is no redirect. Any other default would be for every path.
    let default = map.named("default").next().map_or("", |row| row.arg(0));
    if !is_path || !matches!(default, "" | "0") {
        return None;
    }
    let [directive] = condition.children() else { return None };
    let (text, status, keeps_query) = match (&*directive.name, &directive.args[..]) {
        ("return", [code, text]) => {
            (text, code.parse().ok().filter(|code| (301..=308).contains(code))?, false)
        }
        ("rewrite", [every, text, flag]) if matches!(&**every, "^" | ".*" | "^.*$" | "^(.*)$") => {
            let status = match &**flag {
                "permanent" => 301,
                "redirect" => 302,
                _ => return None,
            };
            (text, status, true)
        }
        _ => return None,
    };
    // The value stands at the end: what is before it is the same for all rows.
    let mut whole = pieces(text);
    if whole.pop() != Some(ValuePiece::Variable(name.to_owned())) {
        return None;
    }
    Some(MapRedirect { map, before: braced(whole), status, keeps_query })
}

/// Route of a row.
fn route(loads: &mut Loads, redirect: &MapRedirect<'_>, row: &Directive) -> Option<RoutePlan> {
    let status = redirect.status;
    let value = format!("{}{}", redirect.before, braced(pieces(row.arg(0))));
    let Some(text) = row.name.strip_prefix('~') else {
        let path = row.name.clone();
        // `$request_uri` has the query, which a path of weir has not.
        if path.contains('?') || loads.path("path_exact", &path).is_some() {
            return None;
        }
        let query = if redirect.keeps_query { "{query}" } else { "" };
        let to = quoted_always(&(target(&value).ok()?.0 + query));
        let action = format!("redirect: {{ to: {to}, status: {status} }}");
        let is_fine = loads.action(&action).is_none();
        let action = Some(action);
        return is_fine.then(|| RoutePlan {
            path,
            kind: PathKind::Exact,
            action,
            ..RoutePlan::default()
        });
    };
    let (ignores_case, text) = text.strip_prefix('*').map_or((false, text), |text| (true, text));
    let expression = path_expression(text, ignores_case);
    if expression.fault.is_some() || loads.path("path_regex", &expression.text).is_some() {
        return None;
    }
    let (origin, path) = split(&value);
    let origin = origin.map_or(Some("{scheme}://{host}".to_owned()), |origin| {
        target(origin).ok().map(|found| found.0)
    })?;
    // A `?` at the end drops the query, as `return` does.
    let end = if redirect.keeps_query { "" } else { "?" };
    let to = quoted_always(&(groups(path, &expression.text)? + end));
    let rewrite = format!("{{ regex: {}, to: {to} }}", single_quoted(&expression.text));
    let to = quoted_always(&format!("{origin}{{path}}{{query}}"));
    let action = format!("redirect: {{ to: {to}, status: {status} }}");
    let is_fine = loads.action(&action).or_else(|| loads.rewrite("/", &rewrite)).is_none();
    is_fine.then(|| RoutePlan {
        path: expression.text,
        kind: PathKind::Regex,
        action: Some(action),
        rewrite: Some(rewrite),
        ..RoutePlan::default()
    })
}
