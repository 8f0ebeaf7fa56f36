//! What must hold of the fields that cross, whatever they were.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use weir::http::{
    forwarded::{ForwardedFields, Identity},
    forwarding_names::is_claim,
    header_list::HeaderList,
    request_id::RequestId,
};

/// Fields about one connection.
const CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"];
/// What a client says about its body, its expectations, and CGI's proxy.
const CLAIMS: [&str; 4] = ["content-length", "transfer-encoding", "expect", "proxy"];
/// What weir says itself.
const OURS: [&str; 7] = [
    "host",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
];

/// Fields, a line each, behind a byte that says whether the peer is trusted: what is made of them
/// has no framing, nothing that is about one connection, one Host and one identity, and all other
/// lines in their order; made again, it stays what it is.
pub fn fields(bytes: &[u8]) {
    let Some((first, lines)) = bytes.split_first() else { return };
    let mut received = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        received.append(name, value);
    }
    // More than one is refused before (RFC 9112, section 3.2).
    if received.get_all(header::HOST).iter().nth(1).is_some() {
        return;
    }
    let identity = Identity {
        peer: &HeaderValue::from_static("192.0.2.1"),
        client: None,
        trusted: first % 2 == 1,
        claim: None,
        authority: &HeaderValue::from_static("a.test"),
        host: &HeaderValue::from_static("a.test"),
        version: Version::HTTP_11,
        scheme: "http",
        request_id: &RequestId::Received(HeaderValue::from_static("id")),
    };
    let crossing = |received: &HeaderMap| {
        let received = HeaderList::from(received);
        let crossing = ForwardedFields::of(&received, &identity, None);
        let (list, mut written) = (crossing.to_list(), Vec::new());
        crossing.write(&mut written);
        assert_eq!(lines_of(&written), fields_of(&list));
        list.to_map()
    };
    let mut sent = crossing(&received);
    says_who(&sent, identity.trusted);
    crosses(&received, &sent, identity.trusted);
    let mut again = crossing(&sent);
    for grown in ["via", "x-forwarded-for"] {
        again.remove(grown);
        sent.remove(grown);
    }
    assert_eq!(again, sent);
}

/// Lines of a list, one each.
fn fields_of(list: &HeaderList) -> Vec<Vec<u8>> {
    list.iter().map(|field| [field.name, b": ", field.value].concat()).collect()
}

/// Lines of written fields.
fn lines_of(written: &[u8]) -> Vec<Vec<u8>> {
    let text = written.strip_suffix(b"\r\n").expect("a last line");
    let mut lines = vec![Vec::new()];
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(text.get(at + 1), Some(&b'\n')),
            b'\n' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("a line").push(*byte),
        }
    }
    lines
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

fn says_who(sent: &HeaderMap, trusted: bool) {
    let last = |name: &str| {
        all(sent, name)
            .concat()
            .rsplit(|byte| *byte == b',')
            .next()
            .expect("a part")
            .trim_ascii()
            .to_vec()
    };
    assert_eq!(
        (all(sent, "host"), all(sent, "x-real-ip")),
        (vec![&b"a.test"[..]], vec![&b"192.0.2.1"[..]])
    );
    assert_eq!(
        (last("via"), last("x-forwarded-for")),
        (b"1.1 weir".to_vec(), b"192.0.2.1".to_vec())
    );
    assert_eq!((all(sent, "via").len(), all(sent, "x-forwarded-for").len()), (1, 1));
    for (name, value) in
        [("x-forwarded-proto", "http"), ("x-forwarded-host", "a.test"), ("x-request-id", "id")]
    {
        assert!(
            sent.contains_key(name) && (trusted || all(sent, name) == [value.as_bytes()]),
            "{name}"
        );
    }
    let claims = sent
        .keys()
        .filter(|name| is_claim(name.as_str()) && !OURS.contains(&name.as_str()))
        .count();
    assert!(trusted || (all(sent, "x-forwarded-for") == [b"192.0.2.1"] && claims == 0));
}

fn crosses(received: &HeaderMap, sent: &HeaderMap, trusted: bool) {
    for never in CLAIMS.iter().chain(&CONNECTION) {
        assert!(!sent.contains_key(*never), "{never} crossed");
    }
    let named = all(received, "connection").join(&b',').to_ascii_lowercase();
    let named: Vec<&[u8]> = named
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| *name != b"close")
        .collect();
    for name in received
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| !OURS.contains(name) && *name != "trailer")
    {
        let dashed = name.replace('_', "-");
        let read_as = |names: &[&str]| names.contains(&&*dashed);
        let read_as_claim = read_as(&OURS)
            || read_as(&CLAIMS[..2])
            || dashed.starts_with("remote-")
            || is_claim(&dashed);
        let never = CLAIMS.contains(&name)
            || name.starts_with("remote-")
            || (dashed != name && read_as_claim);
        // A proxy that says so does not take it back by `Connection`.
        let gone =
            never || if is_claim(name) { !trusted } else { named.contains(&name.as_bytes()) };
        let gone = gone || CONNECTION.contains(&name);
        assert_eq!(all(sent, name), if gone { Vec::new() } else { all(received, name) }, "{name}");
    }
}
