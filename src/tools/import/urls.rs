//! URLs with variables of nginx, as weir's placeholders.

use super::values::{ValuePiece, pieces};

/// Target of a redirect with the placeholders of weir.
///
/// # Errors
/// The reason why weir has no such target.
pub fn target(text: &str) -> Result<(String, Option<&'static str>), String> {
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
                // Both together are one query with its sign.
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

/// Cuts a URL into its scheme and host, and its path.
#[must_use]
pub fn split(text: &str) -> (Option<&str>, &str) {
    let schemes = ["http://", "https://", "${scheme}://"];
    let Some(scheme) = schemes.iter().find(|scheme| text.starts_with(**scheme)) else {
        return (None, text);
    };
    // A variable of the path may follow the host directly, which then is no host of its own.
    let end = text[scheme.len()..].find(['/', '?']).map_or(text.len(), |end| end + scheme.len());
    (Some(&text[..end]), &text[end..])
}

/// A path with variables of groups as weir has them; none where another variable stands.
#[must_use]
pub fn groups(path: &str, expression: &str) -> Option<String> {
    let mut to = String::new();
    for piece in pieces(path) {
        match piece {
            // Braces are groups in weir, and have no escape.
            ValuePiece::Text(plain) if plain.contains(['{', '}']) => return None,
            ValuePiece::Text(plain) => to += &plain,
            ValuePiece::Variable(name) => {
                // `$0` is none of nginx.
                let is_number = name.parse::<u8>().is_ok_and(|number| number > 0);
                if !is_number && !expression.contains(&format!("(?<{name}>")) {
                    return None;
                }
                to += &format!("{{{name}}}");
            }
        }
    }
    Some(to)
}
