//! Patterns of routes: the host, path and methods they take.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use http::Method;

use super::{collector::Collector, location::Location};
use crate::{
    config::schema::RouteSpec,
    limit::normal_form,
    proxy::route::{HostPattern, PathMatching, PathPattern, Pattern},
    runtime::hint::{HintedError, hinted},
};

/// Usual methods (RFC 9110, RFC 5789); others are accepted too, in upper case.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/// Characters of pattern languages. Patterns are not supported, and a path with one of these would
/// match no real request.
const PATTERN: &str = "*()|^{}\\[]";

/// Resolves the requests that a route takes.
pub fn pattern(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    matching: PathMatching,
) -> Pattern {
    Pattern {
        host: host(judge, spot.key("host"), route.host.as_deref()),
        path: path(judge, spot, route, matching),
        methods: methods(judge, spot.key("methods"), route.methods.as_deref()),
    }
}

/// Names of routes: host and path as written. If two would have one name, and so share a bucket of
/// a key with `route`, the methods come first, and `=` before an exact path: `POST /login`,
/// `= /api`.
#[must_use]
pub fn names(routes: &[RouteSpec]) -> Vec<Arc<str>> {
    let short: Vec<String> = routes.iter().map(name).collect();
    // Counted, not compared in pairs: a file may have thousands of routes.
    let mut routes_of = HashMap::<&str, usize>::new();
    short.iter().for_each(|name| *routes_of.entry(name).or_default() += 1);
    let named = routes.iter().zip(&short);
    named
        .map(
            |(route, name)| {
                if routes_of[&**name] > 1 { long_name(route, name) } else { (**name).into() }
            },
        )
        .collect()
}

fn name(route: &RouteSpec) -> String {
    let path = route.path.as_deref().or(route.path_exact.as_deref());
    format!("{}{}", route.host.as_deref().unwrap_or(""), path.unwrap_or(""))
}

fn long_name(route: &RouteSpec, name: &str) -> Arc<str> {
    let methods = route.methods.as_ref().map(|methods| methods.join(","));
    let exact = route.path_exact.as_ref().map(|_| "=".to_owned());
    let words: Vec<String> = methods.into_iter().chain(exact).chain([name.to_owned()]).collect();
    words.join(" ").into()
}

fn path(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    matching: PathMatching,
) -> PathPattern {
    let (key, text) = match (&route.path, &route.path_exact) {
        (Some(path), None) => ("path", path),
        (None, Some(path)) => ("path_exact", path),
        (Some(path), Some(_)) => {
            let hint = "keep `path` to match all below it too, or `path_exact` to match it alone";
            judge.refuse(spot.key("path_exact"), hinted("both `path` and `path_exact`", hint));
            ("path", path)
        }
        (None, None) => {
            let hint = "add `path: /` for every path";
            judge.refuse(spot, hinted("an entry of `routes` has no `path`", hint));
            return PathPattern::Prefix("/".to_owned());
        }
    };
    // The shape first: a pattern should be reported as such and not as a strange path.
    let path = check_path(text).and_then(|()| form_of(text, matching));
    let path = judge.take(spot.key(key), path).unwrap_or_else(|| text.clone());
    if key == "path" { PathPattern::Prefix(path) } else { PathPattern::Exact(path) }
}

/// Path in the form that requests are compared with.
fn form_of(text: &str, matching: PathMatching) -> Result<String, HintedError> {
    match matching {
        PathMatching::Raw => Ok(text.to_owned()),
        PathMatching::Normal => match normal_form::path(text) {
            Ok(path) => Ok(path.into_owned()),
            Err(error) => Err(hinted(
                format!("`{text}` is never requested because {error}"),
                "write the path that is meant",
            )),
        },
    }
}

/// Form of a path in a configuration.
const PATH_RULE: &str = "a path begins with `/` and has no pattern, query or fragment, like `/api`";

fn check_path(text: &str) -> Result<(), HintedError> {
    if let Some(path) = text.strip_prefix('=') {
        let hint = format!("write `path_exact: {}`", path.trim_start());
        let message = format!("`{text}` does not begin with a slash");
        return Err(hinted(message, hint).with_rule(PATH_RULE));
    }
    // `~` begins an expression in nginx, but is an ordinary character within a path, as in
    // `/~user`.
    let begins = |sign: &char| *sign == '~' && text.starts_with('~');
    if let Some(sign) = text.chars().find(|sign| PATTERN.contains(*sign) || begins(sign)) {
        let hint =
            "a path matches all below it and is compared literally; write one route for each path";
        return Err(looks_like_a_pattern(text, sign, hint));
    }
    if !text.starts_with('/') {
        let hint = format!("write `/{text}`");
        let message = format!("`{text}` does not begin with a slash");
        return Err(hinted(message, hint).with_rule(PATH_RULE));
    }
    // Segments like `/:id` are parameters in many frameworks, and would match no real request here.
    if text.contains("/:") {
        let hint = format!("a path matches all below it: write `{}`", before(text, "/:"));
        return Err(looks_like_a_pattern(text, ':', hint).with_rule(PATH_RULE));
    }
    if let Some(end) = text.find(['?', '#']) {
        let hint = format!("write `{}`; queries are not matched", &text[..end]);
        return Err(hinted(format!("`{text}` has more than a path"), hint).with_rule(PATH_RULE));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{text}` can never be requested as it is");
        return Err(hinted(message, "write it as sent, percent-encoded"));
    }
    Ok(())
}

fn looks_like_a_pattern(text: &str, sign: char, hint: impl Into<Cow<'static, str>>) -> HintedError {
    hinted(format!("`{text}` looks like a pattern, which is not supported: `{sign}`"), hint)
}

/// Part of a path before a piece of it; the root if that is all.
fn before<'a>(path: &'a str, piece: &str) -> &'a str {
    path.find(piece).map(|at| &path[..at]).filter(|path| !path.is_empty()).unwrap_or("/")
}

fn host(judge: &mut Collector<'_>, spot: Location<'_>, text: Option<&str>) -> HostPattern {
    let Some(text) = text else { return HostPattern::Any };
    judge.take(spot, read_host(text)).unwrap_or(HostPattern::Any)
}

fn read_host(text: &str) -> Result<HostPattern, HintedError> {
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

fn methods(judge: &mut Collector<'_>, spot: Location<'_>, texts: Option<&[String]>) -> Vec<Method> {
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
