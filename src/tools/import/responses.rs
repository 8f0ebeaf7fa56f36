//! Responses of nginx's own: `return` in a location.

use super::{
    levels::Level,
    loads::Loads,
    scalar::quoted_always,
    tree::Directive,
    values::{ValuePiece, pieces, with_set},
};

/// Response of a location, as weir's file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponsePlan {
    /// Line with the action.
    pub line: String,
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
        444 => ResponsePlan { line: "close: true".to_owned(), change: None },
        301 | 302 | 303 | 307 | 308 => {
            let (to, change) = target(&text)?;
            let to = quoted_always(&to);
            ResponsePlan { line: format!("redirect: {{ to: {to}, status: {code} }}"), change }
        }
        204 | 304 => ResponsePlan { line: format!("respond: {{ status: {code} }}"), change: None },
        _ if text.is_empty() => {
            let change = (code >= 400).then_some("the body is empty, nginx sends a page");
            ResponsePlan { line: format!("respond: {{ status: {code} }}"), change }
        }
        _ => ResponsePlan { line: with_body(code, &text, level)?, change: None },
    };
    match loads.action(&plan.line) {
        Some(reason) => Err(reason),
        None => Ok(plan),
    }
}

fn number(code: &str) -> Result<u16, String> {
    code.parse().map_err(|_| format!("`{code}` is not a status"))
}

fn with_body(code: u16, text: &str, level: &Level<'_>) -> Result<String, String> {
    if pieces(text).iter().any(|piece| matches!(piece, ValuePiece::Variable(_))) {
        return Err(format!("`{text}` is only known with the request"));
    }
    let media = level.one("default_type").map(|media| media.arg(0));
    let media = media.filter(|media| *media != "text/plain").map(quoted_always);
    let headers = media.map(|media| format!(", headers: {{ content-type: {media} }}"));
    let body = quoted_always(text);
    Ok(format!("respond: {{ status: {code}, body: {body}{} }}", headers.unwrap_or_default()))
}

/// Target of a redirect with the placeholders of weir.
fn target(text: &str) -> Result<(String, Option<&'static str>), String> {
    let (mut to, mut change) = (String::new(), None);
    let mut rest = pieces(text).into_iter().peekable();
    while let Some(piece) = rest.next() {
        let name = match piece {
            ValuePiece::Text(plain) => {
                to += &plain.replace('{', "{{").replace('}', "}}");
                continue;
            }
            ValuePiece::Variable(name) => name,
        };
        to += match &*name {
            "scheme" => "{scheme}",
            "host" => "{host}",
            "http_host" => {
                change = Some("the host is without its port");
                "{host}"
            }
            "request_uri" => "{path}{query}",
            "uri" | "document_uri" => "{path}",
            "is_args" => {
                let is_query = |next: &ValuePiece| matches!(next, ValuePiece::Variable(name) if name == "args" || name == "query_string");
                if rest.next_if(is_query).is_none() {
                    return Err(format!("`{text}` has `$is_args` without `$args`"));
                }
                "{query}"
            }
            name => return Err(format!("`${name}` has no placeholder")),
        };
    }
    Ok((to, change))
}
