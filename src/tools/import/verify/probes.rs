//! Requests of a verification: hosts, paths in several spellings, and methods that do no harm.

use super::samples::samples;
use crate::tools::import::plan::{ImportPlan, PathKind, RoutePlan};

/// Limit on the requests of a verification.
pub const MAX_PROBES: usize = 2_000;
/// Host that no server names.
const OTHER_HOST: &str = "verify.invalid";

/// Request of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyProbe {
    /// Host.
    pub host: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Fields.
    pub fields: Vec<(String, String)>,
    /// Spelling of the path.
    pub spelling: Spelling,
    /// Path of the route, without a slash at its end.
    pub path: String,
    /// Status of a reject, where the route is limited.
    pub rejects: Option<u16>,
    /// Differences that the import lists for the route.
    pub listed: Vec<String>,
}

/// Spelling of the path of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// The path of the location, or one below it.
    Plain,
    /// The same path written otherwise: `/%61pi`, `//api`, `/x/../api`.
    Other,
    /// A path that only begins with the same letters: `/apix`.
    Sibling,
}

/// Derives the requests.
#[must_use]
pub fn probes(plan: &ImportPlan) -> Vec<VerifyProbe> {
    let mut found: Vec<VerifyProbe> = Vec::new();
    // Open routes first: a closed one beside it is for the methods that it leaves.
    let (closed, open): (Vec<_>, Vec<_>) = plan.routes.iter().partition(|route| route.is_closed);
    for route in open.into_iter().chain(closed).chain(&plan.left_out) {
        for probe in of_route(plan, route) {
            let is_known = found.iter().any(|other| {
                (&other.host, &other.method, &other.target)
                    == (&probe.host, &probe.method, &probe.target)
            });
            if !is_known && found.len() < MAX_PROBES {
                found.push(probe);
            }
        }
    }
    found
}

/// Host to ask a route at.
#[must_use]
pub fn host_of(route: &RoutePlan) -> String {
    match route.host.as_deref() {
        None => OTHER_HOST.to_owned(),
        Some(host) => host.replace('*', "verify"),
    }
}

/// Status of a reject of a limited route.
#[must_use]
pub fn rejects(plan: &ImportPlan, route: &RoutePlan) -> Option<u16> {
    let status = route.reject_status.unwrap_or(plan.reject_status);
    (!route.limits.is_empty()).then_some(status)
}

fn of_route(plan: &ImportPlan, route: &RoutePlan) -> Vec<VerifyProbe> {
    let path = &route.path;
    let bare = path.trim_end_matches('/');
    let probe = |method: &str, target: String, spelling| VerifyProbe {
        host: host_of(route),
        method: method.to_owned(),
        target,
        fields: Vec::new(),
        spelling,
        path: bare.to_owned(),
        rejects: rejects(plan, route),
        listed: route.listed(),
    };
    if route.kind == PathKind::Regex {
        let samples = samples(path).into_iter();
        return samples
            .flat_map(|path| {
                let other = format!("/{path}");
                let with_query = format!("{path}?verify=1");
                let plain = [("GET", path.clone()), ("GET", with_query), ("HEAD", path)];
                let plain = plain.map(|(method, path)| probe(method, path, Spelling::Plain));
                plain.into_iter().chain([probe("GET", other, Spelling::Other)])
            })
            .collect();
    }
    let mut found = vec![
        probe("GET", path.clone(), Spelling::Plain),
        probe("GET", format!("{path}?verify=1"), Spelling::Plain),
        probe("HEAD", path.clone(), Spelling::Plain),
        probe("OPTIONS", path.clone(), Spelling::Plain),
        probe("GET", format!("{bare}/"), Spelling::Plain),
        probe("GET", format!("{bare}/weir-verify"), Spelling::Plain),
        probe("GET", format!("/{path}"), Spelling::Other),
        probe("GET", format!("/weir-verify/..{path}"), Spelling::Other),
    ];
    if let Some(letter) = path.as_bytes().get(1).filter(|byte| byte.is_ascii_alphabetic()) {
        let target = format!("/%{letter:02x}{}", &path[2..]);
        found.push(probe("GET", target, Spelling::Other));
        found.push(probe("GET", format!("{bare}x"), Spelling::Sibling));
    }
    // Others may change something behind the server: only where the file itself speaks of methods.
    for method in &route.methods {
        found.push(probe(method, path.clone(), Spelling::Plain));
    }
    if !route.methods.is_empty() {
        found.push(probe("DELETE", path.clone(), Spelling::Plain));
    }
    found
}
