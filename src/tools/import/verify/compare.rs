//! Comparison of two responses.

use super::{
    client::ProbeResponse,
    probes::{Spelling, VerifyProbe},
    report::Difference,
};

/// Fields that belong to a server or a connection, and not to what was asked for.
const OWN_FIELDS: [&str; 11] = [
    "accept-ranges",
    "alt-svc",
    "connection",
    "content-length",
    "date",
    "etag",
    "keep-alive",
    "proxy-status",
    "server",
    "transfer-encoding",
    "via",
];

/// Compares the responses to a probe: two of the old server, so that what changes with each request
/// does not count, and one of the new.
#[must_use]
pub fn compare(
    probe: &VerifyProbe,
    old: [&ProbeResponse; 2],
    new: &ProbeResponse,
) -> Option<Difference> {
    // A key may be shared by all probes: verdicts are compared by bursts.
    let is_reject = |got: &ProbeResponse| probe.rejects.is_some() && got.status == probe.rejects;
    if is_reject(old[0]) || is_reject(new) {
        return None;
    }
    let what = difference(old, new)?;
    Some(Difference {
        request: format!("{} http://{}{}", probe.method, probe.host, probe.target),
        expected: reason(probe, old[0], new),
        what,
    })
}

fn difference(old: [&ProbeResponse; 2], new: &ProbeResponse) -> Option<String> {
    let [first, again] = old;
    if first.status != new.status {
        return Some(format!("{}, now {}", status(first), status(new)));
    }
    // The page of an error is the server's own.
    if first.status.is_none_or(|status| status >= 300) {
        return None;
    }
    let names = first.fields.iter().chain(&new.fields).map(|(name, _)| name.as_str());
    for name in names.filter(|name| !OWN_FIELDS.contains(name)) {
        let values = |of: &ProbeResponse| -> Vec<String> {
            let fields = of.fields.iter().filter(|(known, _)| known == name);
            fields.map(|(_, value)| value.clone()).collect()
        };
        let (before, now) = (values(first), values(new));
        if before == values(again) && before != now {
            return Some(format!("`{name}` is {before:?}, now {now:?}"));
        }
    }
    if first.body == again.body && first.body != new.body {
        return Some(format!("another body: {} bytes, now {}", first.body.len(), new.body.len()));
    }
    None
}

fn status(of: &ProbeResponse) -> String {
    of.status
        .map_or_else(|| "closed without a response".to_owned(), |status| format!("status {status}"))
}

/// Reason of a difference, where the import or docs/from-nginx.md lists it.
fn reason(probe: &VerifyProbe, old: &ProbeResponse, new: &ProbeResponse) -> Option<String> {
    if !probe.listed.is_empty() {
        return Some(probe.listed.join("; "));
    }
    let adds_slash = old.status == Some(301)
        && old.field("location").is_some_and(|location| {
            let location = location.split('?').next().unwrap_or_default();
            location.ends_with(&format!("{}/", probe.path))
        });
    let known = if adds_slash {
        "nginx adds the slash"
    } else if probe.spelling == Spelling::Sibling {
        "a path is made of segments"
    } else if probe.spelling == Spelling::Other && new.status == Some(400) {
        "a path that can be read in two ways is refused"
    } else if old.status == Some(403) && matches!(new.status, Some(405 | 502)) {
        "a method that is not allowed is 405, or 502 where another route takes the path"
    } else {
        return None;
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::tools::import::verify::{client::response, compare::*};

    fn probe(target: &str, spelling: Spelling) -> VerifyProbe {
        VerifyProbe {
            host: "a".to_owned(),
            method: "GET".to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            spelling,
            path: target.trim_end_matches('/').to_owned(),
            rejects: None,
            listed: Vec::new(),
        }
    }

    fn told(probe: &VerifyProbe, old: [&str; 2], new: &str) -> Option<String> {
        let [first, again, new] = [old[0], old[1], new].map(|text| response(text.as_bytes()));
        compare(probe, [&first, &again], &new).map(|difference| difference.to_string())
    }

    #[test]
    fn what_changes_with_each_request_is_no_difference() {
        let of = |id: &str, x: &str| format!("HTTP/1.1 200 OK\r\nId: {id}\r\nX: {x}\r\n\r\nok");
        let plain = probe("/", Spelling::Plain);
        assert_eq!(told(&plain, [&of("1", "a"), &of("2", "a")], &of("3", "a")), None);
        let expected = "different: GET http://a/: `x` is [\"a\"], now [\"b\"]";
        assert_eq!(
            told(&plain, [&of("1", "a"), &of("2", "a")], &of("3", "b")).as_deref(),
            Some(expected)
        );
    }

    #[test]
    fn listed_difference_has_its_reason() {
        let ok = "HTTP/1.1 200 OK\r\n\r\n";
        let moved = "HTTP/1.1 301 Moved\r\nLocation: http://a/api/\r\n\r\n";
        let expected =
            "expected: GET http://a/api: status 301, now status 200: nginx adds the slash";
        assert_eq!(
            told(&probe("/api", Spelling::Plain), [moved, moved], ok).as_deref(),
            Some(expected)
        );
        let refused = "HTTP/1.1 400 Bad\r\n\r\n";
        let told = told(&probe("//api", Spelling::Other), [ok, ok], refused);
        assert!(told.is_some_and(|told| told.starts_with("expected: ")));
    }
}
