//! Paths of Ingress objects as routes.
//!
//! ingress-nginx makes expressions of all paths of a host once one of them is rewritten or says
//! `use-regex`, without case, the longest first. Where all of them are prefixes in disguise, like
//! `/api(/|$)(.*)` with `/$2`, the routes are prefixes; else they are expressions in that order.

use std::{cmp::Reverse, collections::HashSet};

use super::{
    objects::{Ingress, IngressPath, Objects, ServicePort, full_name},
    settings::{IngressSettings, settings},
    state::IngressState,
};
use crate::{
    config::directives::Treatment,
    tools::import::{
        expressions::{EVERY_PATH, path_expression},
        locations::closed,
        names::{free_name, name_like},
        plan::{EndpointPlan, PathKind, Remarks, RoutePlan, UpstreamPlan},
        scalar::{quoted, quoted_always, single_quoted},
        upstreams::CLOSED,
        urls::groups,
        values::{braced, pieces},
    },
};

/// Ends of a path that is a prefix in disguise, each with the group behind the prefix.
const REST: [(&str, &str); 3] = [("(/|$)(.*)", "$2"), ("/?(.*)", "$1"), ("/(.*)", "$1")];

/// Plans all routes.
pub fn routes(state: &mut IngressState<'_>, objects: &Objects) {
    let mut all = Vec::new();
    for ingress in &objects.ingresses {
        if ingress.is_on("canary") {
            let reason = "a canary is left out; `weight` of endpoints divides requests";
            state.note(ingress.place, title(ingress), Treatment::Unsupported, reason);
            continue;
        }
        let settings = settings(state, ingress);
        state.note(ingress.place, title(ingress), Treatment::Carried, "");
        all.push((ingress, settings));
    }
    let disguised = disguised_hosts(&all);
    let expressions = expression_hosts(&all, &disguised);
    let mut found: Vec<(usize, RoutePlan)> = Vec::new();
    for (ingress, settings) in &all {
        for path in &ingress.paths {
            let is_regex = expressions.contains(&path.host);
            let route = route(state, objects, ingress, settings, path, is_regex);
            let hosts = path.host.iter().chain(&settings.aliases).cloned().map(Some);
            let hosts: Vec<Option<String>> = match &path.host {
                Some(_) => hosts.collect(),
                None => vec![None],
            };
            // The older object counts in the controller; files have no age, so the first one does.
            let mut is_taken = false;
            for host in hosts {
                let route = RoutePlan { host, ..route.clone() };
                is_taken |= !push(&mut found, path.path.len(), route);
            }
            say(state, path, &route, is_taken);
        }
        app_root(state, ingress, settings, &mut found);
    }
    // The longest expression first; of prefixes the order says nothing.
    found
        .sort_by_key(|(length, route)| (route.kind == PathKind::Regex).then_some(Reverse(*length)));
    state.plan.routes = found.into_iter().map(|(_, route)| route).collect();
}

fn title(ingress: &Ingress) -> String {
    format!("Ingress {}", ingress.name)
}

/// Adds a route unless another takes the same requests.
fn push(found: &mut Vec<(usize, RoutePlan)>, length: usize, route: RoutePlan) -> bool {
    let is_new = !found.iter().any(|(_, other)| other.takes_the_same(&route));
    if is_new {
        found.push((length, route));
    }
    is_new
}

fn say(state: &mut IngressState<'_>, path: &IngressPath, route: &RoutePlan, is_taken: bool) {
    let text = format!("path: {}{}", path.host.as_deref().unwrap_or_default(), path.path);
    let reason = route.remarks.changes.join("; ");
    let (treatment, reason) = match (is_taken, route.is_closed) {
        (true, _) => (Treatment::Unsupported, "another path takes the same requests".to_owned()),
        (false, true) => (Treatment::Unsupported, reason),
        (false, false) if reason.is_empty() => (Treatment::Carried, reason),
        (false, false) => (Treatment::Noted, reason),
    };
    state.note(path.place, text, treatment, &reason);
}

/// Hosts of which ingress-nginx makes all paths expressions.
fn disguised_hosts(all: &[(&Ingress, IngressSettings)]) -> HashSet<Option<String>> {
    let has_expressions = |ingress: &Ingress, settings: &IngressSettings| {
        settings.rewrite_target.is_some() || ingress.is_on("use-regex")
    };
    all.iter()
        .filter(|(ingress, settings)| has_expressions(ingress, settings))
        .flat_map(|(ingress, _)| ingress.paths.iter().map(|path| path.host.clone()))
        .collect()
}

/// Hosts of which the paths are more than prefixes.
fn expression_hosts(
    all: &[(&Ingress, IngressSettings)],
    disguised: &HashSet<Option<String>>,
) -> HashSet<Option<String>> {
    let is_more = |path: &IngressPath, settings: &IngressSettings| {
        disguised.contains(&path.host)
            && prefix(&path.path, settings.rewrite_target.as_deref()).is_none()
    };
    all.iter()
        .flat_map(|(ingress, settings)| ingress.paths.iter().map(move |path| (path, settings)))
        .filter(|(path, settings)| is_more(path, settings))
        .map(|(path, _)| path.host.clone())
        .collect()
}

/// Prefix in place of an expression.
#[derive(Debug, PartialEq, Eq)]
struct DisguisedPrefix {
    path: String,
    /// Value of `rewrite`, if the path changes.
    rewrite: Option<String>,
}

fn prefix(path: &str, target: Option<&str>) -> Option<DisguisedPrefix> {
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte))
    };
    let bare = |text: &str| match text.trim_end_matches('/') {
        "" => "/".to_owned(),
        text => text.to_owned(),
    };
    let Some(target) = target else {
        return is_plain(path).then(|| DisguisedPrefix { path: bare(path), rewrite: None });
    };
    let (begin, group) =
        REST.iter().find_map(|(rest, group)| Some((path.strip_suffix(rest)?, *group)))?;
    let add = target.strip_suffix(group)?;
    // Signs of expressions before the rest are more than a prefix.
    if !is_plain(begin) || !is_plain(add) || !add.ends_with('/') {
        return None;
    }
    let (strip, add) = (begin.trim_end_matches('/'), add.trim_end_matches('/'));
    let keys = [("strip_prefix", strip), ("add_prefix", add)];
    let keys: Vec<String> = keys
        .iter()
        .filter(|(_, path)| !path.is_empty())
        .map(|(key, path)| format!("{key}: {}", quoted(path)))
        .collect();
    let rewrite = (strip != add).then(|| format!("{{ {} }}", keys.join(", ")));
    Some(DisguisedPrefix { path: bare(begin), rewrite })
}

/// Plans the route of a path.
fn route(
    state: &mut IngressState<'_>,
    objects: &Objects,
    ingress: &Ingress,
    settings: &IngressSettings,
    path: &IngressPath,
    is_regex: bool,
) -> RoutePlan {
    // Of the whole Ingress: each of its paths has the same one.
    let target = settings.rewrite_target.as_deref();
    let origin = state.files.short_origin(path.place);
    let mut route = settings.route.clone();
    route.remarks.origin = format!("{origin} {}", ingress.name);
    // A route is closed for the first reason that is found.
    let mut reason = settings.closed.clone();
    // `Exact` with a new path has an expression there too.
    let disguised = prefix(&path.path, target).filter(|_| path.kind != "Exact" || target.is_some());
    if is_regex {
        let expression = path_expression(&path.path, false);
        route.path = match &*expression.text {
            EVERY_PATH => EVERY_PATH.to_owned(),
            text => format!("(?i)^{text}"),
        };
        // ingress-nginx writes `~*` and `^` itself.
        route.kind = PathKind::Regex;
        reason = reason.or(expression.fault);
        match target.map(|target| change(target, &expression.text)) {
            None => {}
            Some(Some(rewrite)) => route.rewrite = Some(rewrite),
            Some(None) => reason = Some(format!("`rewrite-target: {}`", target.unwrap_or(""))),
        }
    } else if let Some(DisguisedPrefix { path: bare, rewrite }) = disguised {
        route.path = bare;
        route.rewrite = rewrite;
        if target.is_some() {
            route.remarks.add("compared with case, and in whole segments");
        } else if path.kind == "ImplementationSpecific" && route.path != "/" {
            route.remarks.add(format!("`{}x` and the like take other routes", route.path));
        }
    } else {
        let kind = if path.kind == "Exact" { PathKind::Exact } else { PathKind::Prefix };
        (route.path, route.kind) = (path.path.clone(), kind);
    }
    if let Some(refused) = state.loads.path(route.kind.key(), &route.path) {
        reason = reason.or(Some(refused));
        // Closed for all paths of the host rather than open for one of them.
        (route.path, route.kind) = (EVERY_PATH.to_owned(), PathKind::Regex);
    }
    if let Some(rewrite) = &route.rewrite {
        reason = reason.or_else(|| state.loads.rewrite("/", rewrite).filter(|_| is_regex));
    }
    let upstream = match (&reason, &route.action, &path.service) {
        (Some(reason), ..) => Err(reason.clone()),
        (None, Some(_), _) => Ok(String::new()),
        (None, None, Some(service)) => upstream(state, objects, ingress, settings, service),
        (None, None, None) => Err("it leads to no Service".to_owned()),
    };
    match upstream {
        Ok(upstream) => RoutePlan { upstream, ..route },
        Err(reason) => closed(route, &reason),
    }
}

/// Value of `rewrite` for an expression.
fn change(target: &str, expression: &str) -> Option<String> {
    let to = groups(&braced(pieces(target)), expression)?;
    let regex = single_quoted(&format!("(?i){expression}"));
    Some(format!("{{ regex: {regex}, to: {} }}", quoted_always(&to)))
}

/// Upstream of a Service.
fn upstream(
    state: &mut IngressState<'_>,
    objects: &Objects,
    ingress: &Ingress,
    settings: &IngressSettings,
    service: &ServicePort,
) -> Result<String, String> {
    let port = objects.port(&ingress.namespace, service);
    let port = port.ok_or_else(|| {
        format!("the port `{}` of the Service `{}` is in no file", service.port, service.name)
    })?;
    let host = full_name(&ingress.namespace, &service.name);
    let scheme = if settings.has_tls { "https" } else { "http" };
    let url = format!("{scheme}://{host}:{port}");
    if let Some(reason) = state.loads.endpoint(&url) {
        return Err(reason);
    }
    // Without settings the URL of the Service is the whole upstream.
    if settings.lines.is_empty() {
        return Ok(url);
    }
    let lines = lines(&settings.lines);
    let endpoints = vec![EndpointPlan::at(url)];
    // Paths of one Service with the same settings share its connections.
    let known = &state.plan.upstreams;
    if let Some(same) = known.iter().find(|one| one.endpoints == endpoints && one.lines == lines) {
        return Ok(same.name.clone());
    }
    let is_taken = |name: &str| name == CLOSED || known.iter().any(|one| one.name == name);
    let name = free_name(&name_like(&service.name), is_taken);
    let remarks = Remarks::from(state.files.short_origin(ingress.place));
    state.plan.upstreams.push(UpstreamPlan { name: name.clone(), endpoints, lines, remarks });
    Ok(name)
}

/// Lines of an upstream, its time-outs on one.
fn lines(settings: &[String]) -> Vec<String> {
    let (timeouts, mut lines): (Vec<&String>, Vec<String>) = (
        settings.iter().filter(|line| line.starts_with("timeouts.")).collect(),
        settings.iter().filter(|line| !line.starts_with("timeouts.")).cloned().collect(),
    );
    let timeouts: Vec<&str> =
        timeouts.iter().filter_map(|line| line.strip_prefix("timeouts.")).collect();
    if !timeouts.is_empty() {
        lines.push(format!("timeouts: {{ {} }}", timeouts.join(", ")));
    }
    lines
}

/// Redirects from the root of each host.
fn app_root(
    state: &mut IngressState<'_>,
    ingress: &Ingress,
    settings: &IngressSettings,
    found: &mut Vec<(usize, RoutePlan)>,
) {
    let Some(to) = settings.app_root.as_deref() else { return };
    let line = format!("redirect: {{ to: {}, status: 302 }}", quoted_always(to));
    let hosts: HashSet<&Option<String>> = ingress.paths.iter().map(|path| &path.host).collect();
    // In an order that does not change from one run to the next.
    let mut hosts: Vec<_> = hosts.into_iter().cloned().collect();
    hosts.sort();
    for host in hosts {
        if state.loads.action(&line).is_some() {
            continue;
        }
        let route = RoutePlan {
            path: "/".to_owned(),
            kind: PathKind::Exact,
            host,
            action: Some(line.clone()),
            remarks: Remarks::from(state.files.short_origin(ingress.place)),
            ..RoutePlan::default()
        };
        push(found, 1, route);
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::ingress::paths::*;

    #[test]
    fn prefix_in_disguise_is_found() {
        for (path, target, expected) in [
            ("/api", None, Some(("/api", None))),
            ("/api/", None, Some(("/api", None))),
            ("/v[0-9]", None, None),
            ("/api(/|$)(.*)", Some("/$2"), Some(("/api", Some("{ strip_prefix: /api }")))),
            ("/(.*)", Some("/$1"), Some(("/", None))),
            ("/()(.*)", Some("/$2"), None),
            ("/a/?(.*)", Some("/b/$1"), Some(("/a", Some("{ strip_prefix: /a, add_prefix: /b }")))),
            ("/a(/|$)(.*)", Some("/$1"), None),
            ("/a", Some("/"), None),
        ] {
            let found = prefix(path, target);
            let found = found.as_ref().map(|found| (&*found.path, found.rewrite.as_deref()));
            assert_eq!(found, expected, "{path} {target:?}");
        }
    }
}
