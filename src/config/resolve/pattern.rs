//! Patterns of routes: the hosts, paths and methods they take, and their names.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use super::{collector::Collector, location::Location, path};
use crate::{
    config::schema::RouteSpec,
    limit::normal_form,
    proxy::route::{HostPattern, PathMatching, Pattern},
    runtime::hint::{HintedError, hinted},
};

/// Usual methods (RFC 9110, RFC 5789); others are accepted too, in upper case.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/// Limit on the patterns of one route: each is compared with every request that is not its own.
const MAX_PATTERNS: usize = 4_096;

/// Resolves the requests that a route takes: one pattern for each host and path.
pub fn patterns(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    matching: PathMatching,
) -> Vec<Pattern> {
    let hosts = hosts(judge, spot, route);
    let paths = path::paths(judge, spot, route, matching);
    let methods = methods(judge, spot.key("methods"), route.methods.as_deref());
    if hosts.len() * paths.len() > MAX_PATTERNS {
        let message = format!("{} hosts and {} paths on one route", hosts.len(), paths.len());
        let hint = format!("a route takes at most {MAX_PATTERNS} pairs of a host and a path");
        judge.refuse(spot, hinted(message, hint));
    }
    let pairs = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)));
    pairs
        .take(MAX_PATTERNS)
        .map(|(host, path)| Pattern {
            host: host.clone(),
            path: path.clone(),
            over_regex: route.over_regex,
            methods: methods.clone(),
        })
        .collect()
}

/// Names of routes: host and path as written, of a list the first and the number of the others:
/// `a.test/x +2`. If two would have one name, and so share a bucket of a key with `route`, the methods
/// come first, and `=` before an exact path: `POST /login`, `= /api`. If they still would, all but the
/// first have a number: `/api #2`.
#[must_use]
pub fn names(routes: &[RouteSpec]) -> Vec<Arc<str>> {
    let short: Vec<String> = routes.iter().map(name).collect();
    // Counted, not compared in pairs: a file may have thousands of routes.
    let mut routes_of = HashMap::<&str, usize>::new();
    short.iter().for_each(|name| *routes_of.entry(name).or_default() += 1);
    let long = routes.iter().zip(&short).map(|(route, name)| {
        if routes_of[&**name] > 1 { long_name(route, name) } else { name.clone() }
    });
    let mut times = HashMap::<String, usize>::new();
    long.map(|name| {
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        if *time == 1 { name.into() } else { format!("{name} #{time}").into() }
    })
    .collect()
}

/// Host and path of a route as written.
#[must_use]
pub fn name(route: &RouteSpec) -> String {
    let host = route.host.as_ref().or_else(|| route.hosts.iter().flatten().next());
    let path = route.path.as_ref().or(route.path_exact.as_ref());
    let lists = [&route.paths, &route.path_suffix].into_iter().flatten();
    let path = path.or(route.path_regex.as_ref()).or_else(|| lists.flatten().next());
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let count = |list: &Option<Vec<String>>| list.as_ref().map_or(1, |list| list.len().max(1));
    match count(&route.hosts) * count(&route.paths) * count(&route.path_suffix) {
        1 => text(host) + &text(path),
        pairs => format!("{}{} +{}", text(host), text(path), pairs - 1),
    }
}

fn long_name(route: &RouteSpec, name: &str) -> String {
    let methods = route.methods.as_ref().map(|methods| methods.join(","));
    let exact = route.path_exact.as_ref().map(|_| "=".to_owned());
    let words: Vec<String> = methods.into_iter().chain(exact).chain([name.to_owned()]).collect();
    words.join(" ")
}

fn hosts(judge: &mut Collector<'_>, spot: Location<'_>, route: &RouteSpec) -> Vec<HostPattern> {
    if route.host.is_some() && route.hosts.is_some() {
        let hint = "write all of them in `hosts`";
        judge.refuse(spot.name("hosts"), hinted("both `host` and `hosts`", hint));
    }
    match (&route.hosts, &route.host) {
        (Some(texts), _) => judge.listed(spot.key("hosts"), "hosts", texts, |text| read_host(text)),
        (None, Some(text)) => judge.take(spot.key("host"), read_host(text)).into_iter().collect(),
        (None, None) => vec![HostPattern::Any],
    }
}

/// Parses the host of a route.
///
/// # Errors
/// The reason why it is not one.
pub fn read_host(text: &str) -> Result<HostPattern, HintedError> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" || lower == "_" {
        let hint = "remove `host` to match every host";
        return Err(hinted(format!("`{text}` is not a host"), hint));
    }
    // Two colons are an IPv6 address without brackets, not a port.
    if let Some((host, port)) = lower.rsplit_once(':').filter(|_| !lower.starts_with('[')) {
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if digits && !host.contains(':') {
            let hint = format!("write `{host}`; it matches on every port");
            let rule = "write a host without a port; it matches on every port";
            return Err(hinted(format!("`{text}` has a port"), hint).with_rule(rule));
        }
    }
    let below = lower.strip_prefix("*.");
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let name = below.unwrap_or(&lower);
    let address = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // `normal_form::host` accepts any text without an empty label. A host of a route is stricter.
    let plain = !name.starts_with('.') && name.bytes().all(letter);
    let normal = normal_form::host(name).filter(|_| plain || address.is_some());
    let Some(name) = normal else {
        let hint = "write `example.com`, or `*.example.com` for all below it";
        return Err(hinted(format!("`{text}` is not a host"), hint));
    };
    Ok(match below {
        Some(_) => HostPattern::Below(format!(".{name}")),
        None => HostPattern::Exact(name),
    })
}

/// Parses the methods of a route or a condition; no list takes every method.
pub(super) fn methods(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    texts: Option<&[String]>,
) -> Vec<Method> {
    let Some(texts) = texts else { return Vec::new() };
    if texts.is_empty() {
        judge.refuse(spot, hinted("`methods` is empty", "remove it to match every method"));
    }
    let mut methods = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        methods.extend(judge.take(spot.item(index), method(text)));
    }
    methods
}

fn method(text: &str) -> Result<Method, HintedError> {
    let upper = text.to_ascii_uppercase();
    if upper != text && METHODS.contains(&upper.as_str()) {
        let hint = format!("did you mean `{upper}`?");
        return Err(hinted(format!("`{text}` is not in upper case"), hint));
    }
    if text == "*" {
        return Err(hinted("`*` is not a method", "remove `methods` to match every method"));
    }
    if text == "CONNECT" {
        let hint = "remove it; such a request gets 400";
        return Err(hinted("`CONNECT` is never forwarded", hint));
    }
    let wrong = || {
        let hint = format!("use one like {}", METHODS.join(", "));
        hinted(format!("`{text}` is not a method"), hint)
    };
    // Methods are matched in upper case, so one in lower case would match nothing.
    Method::from_bytes(text.as_bytes()).ok().filter(|_| upper == text).ok_or_else(wrong)
}
