//! Judge of rewriting: the path that is forwarded for any configuration and any target.

use http::uri::PathAndQuery;
use weir::{
    config,
    limit::normal_form,
    proxy::rewrite::{PrefixChange, RegexChange, Rewrite, RewritePiece},
};

/// A line with the values of `rewrite`, and one with a target: `/api /v1` are prefixes to remove and
/// to add, `~^/u/(.*)$ /x?id={1}` are an expression and a new path.
///
/// The result is a path that no reading climbs out of, below the added prefix, with the rest of the
/// path that was received; or what an expression gives in place of the whole path.
pub fn rewrite(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Some((values, target)) = text.split_once('\n') else { return };
    let Some(rewrite) = configured(values) else { return };
    let Ok(received) = PathAndQuery::try_from(target) else { return };
    let Ok(normal) = normal_form::path(received.path()) else { return };
    let Ok(result) = rewrite.target(&received, &normal) else { return };
    let path = result.path();
    assert!(path.starts_with('/') && !path.starts_with("//"), "{text}: {result}");
    match &rewrite {
        Rewrite::Prefix(change) => prefix(change, &received, &normal, &result),
        Rewrite::Regex(change) => match expected(change, &normal, received.query()) {
            Some(whole) => assert_eq!(result.as_str(), whole, "{text}"),
            None => assert_eq!(result, received, "{text}"),
        },
    }
    if result != received {
        assert!(!climbs(path), "{text}: {result}");
    }
}

/// The rewriting of a route, by the configuration that weir loads.
fn configured(values: &str) -> Option<Rewrite> {
    let (first, second) = values.split_once(' ')?;
    // Beginnings of other values in YAML: none of them is a path.
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''").replace('$', "$$"));
    let keys = match first.strip_prefix('~') {
        Some(regex) => format!("regex: {}, to: {}", quoted(regex), quoted(second)),
        None => format!("strip_prefix: {}, add_prefix: {}", quoted(first), quoted(second)),
    };
    let path = if first.starts_with('~') { "'/'".to_owned() } else { quoted(first) };
    let whole = format!(
        "listeners: [ ':1' ]\nroutes: [ {{ path: {path}, upstream: 'http://a:1', rewrite: {{ {keys} }} }} ]\n"
    );
    let loaded = config::parse("fuzz.yaml", &whole, &[]).ok()?;
    loaded.config.routes.first()?.rewrite.clone()
}

/// The rest of the path is behind the added prefix, in the same normal form.
fn prefix(change: &PrefixChange, received: &PathAndQuery, normal: &str, result: &PathAndQuery) {
    assert_eq!(received.query(), result.query(), "{received}");
    let rest = normal.strip_prefix(&*change.strip);
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        assert_eq!(result, received, "nothing to remove");
        return;
    };
    let wanted = format!("{}{rest}", change.add);
    let wanted = if wanted.is_empty() { "/".to_owned() } else { wanted };
    let form = normal_form::path(result.path()).expect("a path of a request");
    assert_eq!(form, normal_form::path(&wanted).expect("a path"), "{received} as {result}");
}

/// What the expression gives, pieced together by hand.
fn expected(change: &RegexChange, normal: &str, query: Option<&str>) -> Option<String> {
    let groups = change.regex.regex().captures(normal.as_bytes())?;
    let mut whole = String::new();
    for piece in &change.to {
        whole += &match piece {
            RewritePiece::Text(text) => text.clone(),
            RewritePiece::Group(group) => {
                let found = groups.get(*group).map_or(&b""[..], |found| found.as_bytes());
                let found = String::from_utf8_lossy(found).into_owned();
                let encoded = [("&", "%26"), ("+", "%2B"), (";", "%3B")];
                match whole.contains('?') {
                    true => {
                        encoded.iter().fold(found, |text, (sign, code)| text.replace(sign, code))
                    }
                    false => found,
                }
            }
        };
    }
    let sign = if whole.contains('?') { '&' } else { '?' };
    let query = query.filter(|_| !change.drops_query);
    Some(query.map_or(whole.clone(), |query| format!("{whole}{sign}{query}")))
}

/// Returns true if a segment is `..` for a server that decodes once, and takes `\` for a slash or
/// cuts at `;`.
fn climbs(path: &str) -> bool {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let octet = behind.get(..2).filter(|_| *first == b'%');
        let octet =
            octet.and_then(|octet| u8::from_str_radix(str::from_utf8(octet).ok()?, 16).ok());
        decoded.push(octet.unwrap_or(*first));
        rest = if octet.is_some() { &behind[2..] } else { behind };
    }
    decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| segment.split(|byte| *byte == b';').next() == Some(b".."))
}
