//! Paths of routes: prefixes, exact paths, expressions and endings.

use std::borrow::Cow;

use super::{collector::Collector, location::Location};
use crate::{
    config::schema::RouteSpec,
    limit::normal_form,
    proxy::route::{PathMatching, PathPattern},
    runtime::{
        expression::Expression,
        hint::{HintedError, hinted},
    },
};

/// Characters of pattern languages. Patterns are not supported, and a path with one of these would
/// match no real request.
const PATTERN: &str = "*()|^{}\\[]";

/// Keys that name paths, in the order of their description.
pub const PATH_KEYS: [&str; 5] = ["path", "paths", "path_exact", "path_regex", "path_suffix"];

/// Resolves the paths of a route.
pub fn paths(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    matching: PathMatching,
) -> Vec<PathPattern> {
    let mut written = PATH_KEYS.into_iter().filter(|key| spot.has(key));
    let Some(key) = written.next() else {
        let hint = "add `path: /` for every path";
        judge.refuse(spot, hinted("an entry of `routes` has no `path`", hint));
        return vec![PathPattern::Prefix("/".to_owned())];
    };
    if let Some(other) = written.next() {
        let hint = match (key, other) {
            ("path", "path_exact") => {
                "keep `path` to match all below it too, or `path_exact` to match it alone"
            }
            _ => "keep one of them; another route may have the same settings",
        };
        judge.refuse(spot.name(other), hinted(format!("both `{key}` and `{other}`"), hint));
    }
    if route.over_regex && !matches!(key, "path" | "paths") {
        let hint = "remove it: an exact path comes first, and expressions in the order of the file";
        let message = format!("`over_regex` means nothing with `{key}`");
        judge.refuse(spot.name("over_regex"), hinted(message, hint));
    }
    let read = |text: &String| match key {
        "path_exact" => literal(text, matching).map(PathPattern::Exact),
        "path_regex" => regex(text).map(PathPattern::Regex),
        "path_suffix" => suffix(text).map(PathPattern::Suffix),
        _ => literal(text, matching).map(PathPattern::Prefix),
    };
    let texts = match key {
        "paths" => route.paths.as_deref().unwrap_or_default(),
        "path_exact" => route.path_exact.as_slice(),
        "path_regex" => route.path_regex.as_slice(),
        "path_suffix" => route.path_suffix.as_deref().unwrap_or_default(),
        _ => route.path.as_slice(),
    };
    let spot = spot.key(key);
    match key {
        "paths" | "path_suffix" => judge.listed(spot, key, texts, read),
        _ => texts.iter().filter_map(|text| judge.take(spot, read(text))).collect(),
    }
}

/// Parses an expression over paths.
///
/// # Errors
/// The reason why it is not one.
pub fn regex(text: &str) -> Result<Expression, HintedError> {
    let nginx = ["~* ", "~ ", "^~ "].into_iter().find(|operator| text.starts_with(operator));
    if let Some(operator) = nginx {
        let rest = text[operator.len()..].trim_start();
        let hint = match operator {
            "~* " => format!("write `(?i){rest}`"),
            "~ " => format!("write `{rest}`"),
            _ => format!("write `path: {rest}` and `over_regex: true`"),
        };
        return Err(hinted(format!("`{text}` begins with an operator of nginx"), hint));
    }
    if text.is_empty() {
        return Err(hinted("the expression is empty", "write `path: /` to match every path"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = "paths are compared percent-encoded: write `%20` for a space, `%C3%A9` for `é`";
        return Err(hinted(format!("`{text}` can match no path"), hint));
    }
    Expression::new(text, false).map_err(|error| {
        // The last line of the library's message says what is wrong, the others draw the place.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let message = format!("`{text}` is not an expression: {why}");
        hinted(message, "write it as Rust's `regex` does: no look-around and no back-references")
    })
}

/// Parses an end of paths.
fn suffix(text: &str) -> Result<String, HintedError> {
    if let Some(rest) = text.strip_prefix('*').filter(|rest| !rest.is_empty()) {
        let hint = format!("write `{rest}`; it matches whatever comes before");
        return Err(hinted(format!("`{text}` looks like a pattern"), hint));
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"%?#;*|^{}[]()\\".contains(&byte);
    if text.is_empty() || text == "/" || !text.bytes().all(is_plain) {
        let hint = "write the last letters of a path, like `.css`";
        return Err(hinted(format!("`{text}` is not an end of paths"), hint));
    }
    Ok(text.to_owned())
}

/// Parses a path that is compared as it is.
///
/// # Errors
/// The reason why it is not one.
pub fn literal(text: &str, matching: PathMatching) -> Result<String, HintedError> {
    // The shape first: a pattern should be reported as such and not as a strange path.
    check_path(text)?;
    form_of(text, matching)
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
