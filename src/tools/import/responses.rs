//! Responses of nginx's own: `return` in a location.

use super::{
    levels::Level,
    loads::Loads,
    scalar::{quoted_always, single_quoted},
    tree::Directive,
    urls::{groups, split, target},
    values::{ValuePiece, braced, pieces, with_set},
};

/// Response of a location, as weir's file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponsePlan {
    /// Line with the action.
    pub line: String,
    /// Value of `rewrite`, where a redirect has groups of the path.
    pub rewrite: Option<String>,
    /// Difference from nginx.
    pub change: Option<&'static str>,
}

/// Plans the response of a `return`.
///
/// # Errors
/// The reason why weir has no such response.
pub fn response(
    loads: &mut Loads,
    directive: &Directive,
    level: &Level<'_>,
) -> Result<ResponsePlan, String> {
    let (code, text) = match &directive.args[..] {
        [url] if url.parse::<u16>().is_err() => (302, &**url),
        [code] => (number(code)?, ""),
        [code, text] => (number(code)?, &**text),
        _ => return Err("not a status and a text".to_owned()),
    };
    let text = with_set(text, level);
    let plan = match code {
        444 => ResponsePlan::of("close: true".to_owned(), None),
        301 | 302 | 303 | 307 | 308 => {
            let (to, change) = target(&text)?;
            let to = quoted_always(&to);
            ResponsePlan::of(format!("redirect: {{ to: {to}, status: {code} }}"), change)
        }
        204 | 304 => ResponsePlan::of(format!("respond: {{ status: {code} }}"), None),
        _ if text.is_empty() => {
            let change = (code >= 400).then_some("the body is empty, nginx sends a page");
            ResponsePlan::of(format!("respond: {{ status: {code} }}"), change)
        }
        _ => ResponsePlan::of(with_body(code, &text, level)?, None),
    };
    match loads.action(&plan.line) {
        Some(reason) => Err(reason),
        None => Ok(plan),
    }
}

/// Plans a redirect with groups of the expression of its location.
pub fn with_groups(
    loads: &mut Loads,
    directive: &Directive,
    expression: &str,
) -> Option<ResponsePlan> {
    let (code, text) = match &directive.args[..] {
        [url] => (302, url),
        [code, text] => (number(code).ok().filter(|code| (301..=308).contains(code))?, text),
        _ => return None,
    };
    let text = braced(pieces(text));
    // Groups are of the path, so the host has to be known without them.
    let (origin, path) = split(&text);
    let origin =
        origin.map_or(Ok(String::new()), |origin| target(origin).map(|found| found.0)).ok()?;
    let with_query = path.strip_suffix("${is_args}${args}");
    let to = groups(with_query.unwrap_or(path), expression)?;
    // nginx sends the text alone, and weir appends the query unless `to` ends in a `?`.
    let end = if with_query.is_some() { "" } else { "?" };
    let (expression, to) = (single_quoted(expression), quoted_always(&(to + end)));
    let rewrite = format!("{{ regex: {expression}, to: {to} }}");
    let origin = if origin.is_empty() { "{scheme}://{host}".to_owned() } else { origin };
    let place = quoted_always(&format!("{origin}{{path}}{{query}}"));
    let line = format!("redirect: {{ to: {place}, status: {code} }}");
    match loads.action(&line).or_else(|| loads.rewrite("/", &rewrite)) {
        Some(_) => None,
        None => Some(ResponsePlan { line, rewrite: Some(rewrite), change: None }),
    }
}

impl ResponsePlan {
    fn of(line: String, change: Option<&'static str>) -> Self {
        Self { line, rewrite: None, change }
    }
}

fn number(code: &str) -> Result<u16, String> {
    code.parse().map_err(|_| format!("`{code}` is not a status"))
}

fn with_body(code: u16, text: &str, level: &Level<'_>) -> Result<String, String> {
    if pieces(text).iter().any(|piece| matches!(piece, ValuePiece::Variable(_))) {
        return Err(format!("`{text}` is only known with the request"));
    }
    // The default of weir has a charset, that of nginx has none.
    let media = level.one("default_type").map_or("text/plain", |media| media.arg(0));
    let (body, media) = (quoted_always(text), quoted_always(media));
    let headers = format!("headers: {{ content-type: {media} }}");
    Ok(format!("respond: {{ status: {code}, body: {body}, {headers} }}"))
}
