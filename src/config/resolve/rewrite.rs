//! Rewriting of paths.

use super::{collector::Collector, location::Location, path};
use crate::{
    config::schema::{RewriteSpec, RouteSpec},
    limit::normal_form,
    proxy::{
        rewrite::{PrefixChange, RegexChange, Rewrite, RewritePiece},
        route::{PathMatching, PathPattern, Pattern, below},
    },
    runtime::{
        expression::Expression,
        hint::{HintedError, hinted},
    },
};

/// Resolves the rewriting of a route that takes these patterns.
pub fn rewrite(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    patterns: &[Pattern],
    matching: PathMatching,
) -> Option<Rewrite> {
    let written = route.rewrite.as_ref()?;
    if route.respond.is_some() || route.close {
        let hint = "remove it: this action has no use for the path";
        judge.refuse(spot, hinted("`rewrite` on a route that forwards nothing", hint));
    }
    let RewriteSpec { strip_prefix, add_prefix, regex, to, responses } = written;
    let has_prefix = strip_prefix.is_some() || add_prefix.is_some();
    match (regex, to) {
        (None, None) if !has_prefix => {
            let hint = "write `strip_prefix: /api`, `add_prefix: /v1`, or `regex` and `to`";
            judge.refuse(spot, hinted("`rewrite` changes nothing", hint));
            None
        }
        (None, None) => {
            let strip = prefix(judge, spot.key("strip_prefix"), strip_prefix.as_deref(), matching);
            let add = prefix(judge, spot.key("add_prefix"), add_prefix.as_deref(), matching);
            check_strip(judge, spot.key("strip_prefix"), &strip, patterns);
            Some(Rewrite::Prefix(PrefixChange { strip, add, responses: *responses }))
        }
        (Some(_), Some(_)) if has_prefix => {
            let hint = "keep the prefixes or the expression";
            judge.refuse(spot.name("regex"), hinted("both `regex` and a prefix", hint));
            None
        }
        (Some(regex), Some(to)) => {
            if *responses {
                let hint = "an expression has no way back; edit the headers of responses instead";
                judge.refuse(spot.key("responses"), hinted("`responses` with `regex`", hint));
            }
            let regex = judge.take(spot.key("regex"), path::regex(regex))?;
            let (to, drops_query) = judge.take(spot.key("to"), pieces(to, &regex))?;
            Some(Rewrite::Regex(RegexChange { regex, to, drops_query }))
        }
        (Some(_), None) => {
            let hint = "add the new path, like `to: /new/{1}`";
            judge.refuse(spot.name("regex"), hinted("`regex` without `to`", hint));
            None
        }
        (None, Some(_)) => {
            let hint = "add the expression, like `regex: ^/old/(.*)`";
            judge.refuse(spot.name("to"), hinted("`to` without `regex`", hint));
            None
        }
    }
}

/// Prefix in the form that is compared, without a slash at its end; empty for none and for the root.
fn prefix(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    text: Option<&str>,
    matching: PathMatching,
) -> String {
    let Some(text) = text else { return String::new() };
    let read = path::literal(text, matching).and_then(|path| {
        let is_plain = normal_form::path(&path).is_ok_and(|form| form == path);
        let hint = "write the path without `.`, `..`, `;` and `//`";
        is_plain.then_some(path).ok_or_else(|| hinted(format!("`{text}` is not a prefix"), hint))
    });
    let path = judge.take(spot, read).unwrap_or_default();
    path.strip_suffix('/').unwrap_or(&path).to_owned()
}

/// A prefix that the paths of the route do not have would never be removed.
fn check_strip(judge: &mut Collector<'_>, spot: Location<'_>, strip: &str, patterns: &[Pattern]) {
    let other = patterns.iter().find_map(|pattern| match &pattern.path {
        PathPattern::Prefix(path) | PathPattern::Exact(path) => {
            below(path, strip).is_none().then_some(path)
        }
        PathPattern::Regex(_) | PathPattern::Suffix(_) => None,
    });
    if let Some(path) = other {
        let message = format!("`{path}`, which this route takes, does not begin with `{strip}`");
        judge.refuse(spot, hinted(message, "remove what all paths of the route have in common"));
    }
}

/// Parses a new path with groups; true if it drops the query of the request.
fn pieces(text: &str, regex: &Expression) -> Result<(Vec<RewritePiece>, bool), HintedError> {
    let wrong = |message: String| hinted(message, "write a path like `/new/{1}` or `/x?id={id}`");
    let (text, drops_query) = match text.strip_suffix('?') {
        Some(path) => (path, true),
        None => (text, false),
    };
    if !text.starts_with('/') || text.starts_with("//") {
        return Err(wrong(format!("`{text}` does not begin with a slash")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
        return Err(wrong(format!("`{text}` is not a path")));
    }
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((plain, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}') else {
            return Err(wrong("unmatched `{`".to_owned()));
        };
        let group = match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < regex.regex().captures_len()),
            Err(_) => regex.regex().capture_names().position(|known| known == Some(name)),
        };
        let Some(group) = group else {
            return Err(hinted(
                format!("the expression has no group `{name}`"),
                "groups are counted from 1: `(...)`; `{0}` is the whole match, `(?<id>...)` has a name",
            ));
        };
        if !plain.is_empty() {
            pieces.push(RewritePiece::Text(plain.to_owned()));
        }
        pieces.push(RewritePiece::Group(group));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(RewritePiece::Text(rest.to_owned()));
    }
    Ok((pieces, drops_query))
}
