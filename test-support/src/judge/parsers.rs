//! Properties that hold for any bytes. The fuzz targets call these, and `tests/edge/corpus.rs`
//! runs them over what was kept.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    rc::Rc,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use weir::{
    compress::{
        media::is_compressible,
        negotiate::{Coding, choose},
    },
    config::{self, interpolate::Outside},
    downstream::proxy_protocol::{self, ProxiedPeer},
    http::{
        condition::{Condition, ConditionField, Fit, ValueTest},
        framing::{HeaderLimits, body::Piece, response},
        header_list::HeaderList,
        request_id::RequestId,
        target::{LastHost, Target},
    },
    limit::{
        Rate,
        client_ip::{Forwarding, Trust},
        normal_form,
    },
    log::{
        entry::{AccessEntry, Asked, LoggedFields},
        line_format::{Escape, LineFormat, LineFormatError},
    },
    proxy::route::{
        HostPattern, NoRoute, PathPattern, Pattern, Reading, RouteCandidate, RouteCondition,
        RouteTable,
    },
    runtime::expression::Expression,
};

use crate::accepted::accepted;

const LIMITS: HeaderLimits = HeaderLimits { size: 4096, count: 64 };

/// A connection: however it comes in pieces, the same heads are accepted; and what is handed on is
/// framed just so by a parser of another hand, whichever of two conflicting framings that would
/// believe.
pub fn framing(bytes: &[u8]) {
    let (whole, heads) = accepted(bytes, bytes.len().max(1), LIMITS);
    for pieces in [1, 2, 7] {
        let (some, same) = accepted(bytes, pieces, LIMITS);
        assert_eq!(same, heads, "in pieces of {pieces}");
        assert_eq!(count_heads(&some), heads, "heads in what is handed on in pieces of {pieces}");
    }
    assert_eq!(count_heads(&whole), heads);
}

/// Counts the requests of a stream by httparse and the two lengths it may have.
fn count_heads(mut bytes: &[u8]) -> u64 {
    let mut heads = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = request.parse(bytes) else { return heads };
        heads += 1;
        bytes = &bytes[length..];
        let all = |name: &str| {
            let fields =
                request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            fields.map(|field| field.value.trim_ascii().to_ascii_lowercase()).collect::<Vec<_>>()
        };
        let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            ([], []) => Some(0),
            ([length], []) => str::from_utf8(length)
                .expect("digits")
                .parse()
                .ok()
                .filter(|length| *length <= bytes.len()),
            ([], [coding]) if coding == b"chunked" => chunks(bytes).map(|(length, _)| length),
            framing => panic!("framed in two ways: {framing:?}"),
        };
        match body {
            Some(length) => bytes = &bytes[length..],
            None => return heads,
        }
    }
}

/// Length of a whole body in chunks, with its trailers, and the data in it.
fn chunks(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut at, mut data) = (0, Vec::new());
    loop {
        // httparse stops at 16 digits. A size may have any number of them (RFC 9112, section 7.1),
        // and zeros before it say nothing.
        at += bytes[at..].iter().take_while(|digit| **digit == b'0').count().saturating_sub(1);
        // What is wrong is no end either: nothing behind it may have been handed on.
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..])
        else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        let crlf = bytes.get(end..end.checked_add(2)?)?;
        assert_eq!(crlf, b"\r\n", "a chunk goes on behind its size");
        data.extend_from_slice(&bytes[at..end]);
        at = end + 2;
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    match httparse::parse_headers(&bytes[at..], &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => Some((at + length, data)),
        Ok(httparse::Status::Partial) | Err(_) => None,
    }
}

/// A response as far as it comes in these bytes, and how many of them it takes; nothing where it is
/// refused.
fn answered(bytes: &[u8], pieces: usize) -> Option<(u16, Vec<u8>, Option<usize>)> {
    let (mut buffer, mut begun, mut body, mut came) = (BytesMut::new(), None, Vec::new(), 0);
    for piece in bytes.chunks(pieces.max(1)) {
        buffer.extend_from_slice(piece);
        came += piece.len();
        if begun.is_none() {
            begun =
                response::head(&mut buffer, false, HeaderLimits { size: 32 * 1024, count: 100 })
                    .ok()?;
        }
        let Some(begun) = &mut begun else { continue };
        loop {
            match begun.body.take(&mut buffer).ok()? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(_) | Piece::End => {
                    return Some((begun.parts.status.as_u16(), body, Some(came - buffer.len())));
                }
                Piece::More => break,
            }
        }
    }
    let mut begun = begun?;
    let end = begun.body.close().then_some(bytes.len());
    Some((begun.parts.status.as_u16(), body, end))
}

/// An endpoint's response: the same however it comes in pieces, and where it is accepted a parser
/// of another hand finds the same head, the same body and the same end.
pub fn endpoint_answer(bytes: &[u8]) {
    let whole = answered(bytes, bytes.len());
    for pieces in [1, 2, 7] {
        assert_eq!(answered(bytes, pieces), whole, "in pieces of {pieces}");
    }
    let Some((status, body, end)) = whole else { return };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = other.parse(bytes) else {
        panic!("a head is accepted that is none")
    };
    assert_eq!(other.code, Some(status));
    let all = |name: &str| {
        let fields = other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value.trim_ascii().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let rest = &bytes[head..];
    let of_length = |length: usize| rest.get(..length).map(|data| (length, data.to_vec()));
    let found = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        _ if matches!(status, 100..200 | 204 | 304) => of_length(0),
        ([], []) => of_length(rest.len()),
        ([length], []) => str::from_utf8(length).expect("digits").parse().ok().and_then(of_length),
        ([], [coding]) if coding == b"chunked" => chunks(rest),
        framing => panic!("framed in two ways: {framing:?}"),
    };
    assert_eq!(end, found.as_ref().map(|(length, _)| head + length));
    if let Some((_, data)) = found {
        assert_eq!(body, data);
    }
}

/// Forwarding fields: from an untrusted peer nothing is believed, and nobody trusted is passed over
/// for what stands before it. A field of one address never takes a second one.
pub fn client(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    single_client(&value);
    let network = |text: &str| text.parse().expect("a network");
    for header in [Forwarding::XForwardedFor, Forwarding::Forwarded] {
        let proxies = vec![network("10.0.0.0/8"), network("2001:db8::/32")];
        let told_as = header.clone();
        let trust = Trust { proxies, header, recursive: true };
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", value.clone());
        headers.append("forwarded", value.clone());
        let stranger = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(trust.client(stranger, &headers), Ok(stranger));
        let client = trust.client(IpAddr::from([10, 0, 0, 9]), &headers).expect("a list");
        assert_eq!(client, client.to_canonical());
        // What comes last is written by our own proxy: it is the client unless it is a proxy
        // itself.
        let last = IpAddr::from([198, 51, 100, 7]);
        let told = [
            bytes,
            if told_as == Forwarding::Forwarded { b",for=198.51.100.7" } else { b",198.51.100.7" },
        ]
        .concat();
        let Ok(told) = HeaderValue::from_bytes(&told) else { continue };
        headers.insert("x-forwarded-for", told.clone());
        headers.insert("forwarded", told);
        assert_eq!(trust.client(IpAddr::from([10, 0, 0, 9]), &headers), Ok(last));
    }
}

fn single_client(value: &HeaderValue) {
    let trust = Trust {
        proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        header: "x-client".parse().expect("a name"),
        recursive: true,
    };
    let mut headers = HeaderMap::new();
    headers.append("x-client", value.clone());
    let (stranger, proxy) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([10, 0, 0, 9]));
    assert_eq!(trust.client(stranger, &headers), Ok(stranger));
    if let Ok(client) = trust.client(proxy, &headers) {
        assert_eq!(client, client.to_canonical());
        assert!(!value.as_bytes().contains(&b','), "no list is one address");
    }
    headers.append("x-client", HeaderValue::from_static("198.51.100.7"));
    assert!(trust.client(proxy, &headers).is_err());
}

/// A PROXY header: taken whole, or not yet, or not at all; and what was taken whole is not taken
/// earlier.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Some((source, length))) = proxy_protocol::parse(bytes) else { return };
    assert!(length <= bytes.len());
    for short in 0..length {
        assert_eq!(proxy_protocol::parse(&bytes[..short]), Ok(None), "{short} of {length}");
    }
    assert_eq!(proxy_protocol::parse(&bytes[..length]), Ok(Some((source, length))));
    if let (ProxiedPeer::Behind(client), true) = (source, bytes.starts_with(b"PROXY ")) {
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(said.contains(&client.port().to_string()), "{client} of {said:?}");
        let _: SocketAddr = client;
    }
}

/// A target and a host on two lines: what passes names one host and one path, and takes the route a
/// naive look finds.
pub fn target(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(target), Some(host)) = (lines.next(), lines.next()) else { return };
    let Ok(host) = HeaderValue::from_bytes(host) else { return };
    let Ok(request) = Request::builder().uri(target).header(header::HOST, host).body(()) else {
        return;
    };
    let Ok(target) = Target::of(&request.into_parts().0.into(), &LastHost::default()) else {
        return;
    };
    assert!(!target.host.contains(['@', ',', ' ', '/', '%', '#', '?', '\\']), "{}", target.host);
    assert!(
        !target.host.contains(|c: char| c.is_ascii_uppercase() || c.is_control()),
        "{}",
        target.host
    );
    let path = target.path_and_query.path();
    assert!(path.starts_with('/') && !path.contains(['?', '#', ' ']), "{path}");
    let prefixes = ["/", "/api", "/api/v1", "/api/v1/"];
    let pattern = |path: &&str| Pattern {
        host: HostPattern::Any,
        path: PathPattern::Prefix((*path).into()),
        over_regex: false,
        methods: Vec::new(),
    };
    let table = RouteTable::new(prefixes.iter().map(|path| (pattern(path), *path)).collect());
    let below = |prefix: &&&str| {
        path == **prefix || path.starts_with(&format!("{}/", prefix.trim_end_matches('/')))
    };
    let longest = prefixes.iter().filter(below).max_by_key(|prefix| prefix.len());
    assert_eq!(table.find(&target.host, path, &Method::GET).ok(), longest, "{path}");
}

/// A path: its normal form is what a look at its segments finds, and that of every other spelling
/// of the same bytes; a route is missed by no reading that leaves steps out, but for those that lie
/// above it.
pub fn path_form(bytes: &[u8]) {
    let Some(path) = str::from_utf8(bytes).ok().filter(|path| path.starts_with('/')) else {
        return;
    };
    let (form, expected) =
        (normal_form::path(path), by_segments(&octets(path)).filter(|_| !path.contains('\\')));
    let Ok(form) = form else { return assert_eq!(expected, None, "{path}") };
    assert_eq!(Some(octets(&form)), expected, "{path} is {form}");
    assert_eq!(normal_form::path(&form).as_deref(), Ok(&*form), "{path}");
    assert!(
        form.bytes().all(|byte| byte.is_ascii_graphic()) && !form.contains([';', '?', '#']),
        "{form}"
    );
    let spelled: String = octets(path)[1..].iter().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(normal_form::path(&format!("/{spelled}")).as_deref(), Ok(&*form), "{path}");
    let prefix = |path: &&str| Pattern {
        host: HostPattern::Any,
        path: PathPattern::Prefix((*path).into()),
        over_regex: false,
        methods: Vec::new(),
    };
    let table = RouteTable::new(
        ["/", "/a", "/a/b", "/c"].iter().map(|path| (prefix(path), *path)).collect(),
    );
    let route = table.find("", &form, &Method::GET).expect("`/` takes everything");
    let strays = |reading: &str| {
        let mut readings =
            table.readings("", &form, reading, &Method::GET, |_: &Rc<RouteCondition>| Fit::Holds);
        readings.any(|reading| reading == Reading::Beside)
    };
    let is_taken =
        normal_form::other_readings(path).is_ok_and(|mut all| !all.any(|reading| strays(&reading)));
    if is_taken {
        for reading in [path, &String::from_utf8_lossy(&octets(path)), &pathname(path)] {
            let other = table.find("", reading, &Method::GET).expect("`/` takes everything");
            assert!(route.starts_with(other), "{path}: {route}, and {other} as {reading}");
        }
    }
}

/// The path a URL parser of the WHATWG finds in a target: an authority is cut off, and dot segments
/// are resolved in what has not been decoded.
fn pathname(target: &str) -> String {
    let path = match target.strip_prefix("//") {
        Some(rest) => rest.trim_start_matches('/').split_once('/').map_or("", |(_, path)| path),
        None => &target[1..],
    };
    let mut kept = Vec::new();
    let segments: Vec<&str> = path.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        match &*dots {
            ".." => drop(kept.pop()),
            "." => {}
            _ => kept.push(*segment),
        }
        if index + 1 == segments.len() && matches!(&*dots, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// The bytes of a path with its percent-octets decoded.
fn octets(path: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), path.as_bytes());
    while let Some(first) = rest.first() {
        let pair = rest.get(1..3).and_then(|pair| str::from_utf8(pair).ok());
        let pair = pair.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(octet) if *first == b'%' => {
                octets.push(octet);
                rest = &rest[3..];
            }
            _ => {
                octets.push(*first);
                rest = &rest[1..];
            }
        }
    }
    octets
}

/// The normal form of decoded bytes, from the segments that are left of them.
fn by_segments(octets: &[u8]) -> Option<Vec<u8>> {
    let (mut kept, mut ends_with_slash) = (Vec::new(), false);
    for segment in octets[1..].split(|byte| *byte == b'/') {
        let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        ends_with_slash = true;
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop()?;
            }
            segment => {
                kept.push(segment);
                ends_with_slash = false;
            }
        }
    }
    let end = if ends_with_slash && !kept.is_empty() { &b"/"[..] } else { b"" };
    (!octets.contains(&0)).then(|| [b"/", &*kept.join(&b'/'), end].concat())
}

/// Routes, a line each (`*.a.test /x GET,PUT`, `- =/x -`, `- ~x+$ -`, `- $.css -`, `- ^/x -`), with a
/// condition as a fourth word (`+` holds, `!` fails, `?` is in doubt), and a request on the last line:
/// it takes the route a look at all of them finds, no route that covers it would have been passed
/// over, and the routes that are possible are those of each way to settle the doubts.
pub fn routes(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let lines: Vec<Vec<&str>> =
        text.lines().take(40).map(|line| line.split(' ').collect()).collect();
    let Some(([host, path, method], routes)) =
        lines.split_last().map(|(last, rest)| (&last[..], rest))
    else {
        return;
    };
    // A target without a path has no route to find.
    let Ok(method) = method.parse::<Method>() else { return };
    if !path.starts_with('/') {
        return;
    }
    let routes: Vec<(Pattern, Fit)> = routes.iter().filter_map(|words| route(words)).collect();
    let asked = [&method, if method == Method::HEAD { &Method::GET } else { &method }];
    let has_method = |pattern: &Pattern| {
        pattern.methods.is_empty() || asked.iter().any(|method| pattern.methods.contains(method))
    };
    let chosen = |holds: &dyn Fn(usize, Fit) -> bool| {
        let routes = routes.iter().enumerate();
        let fitting = routes
            .filter(|(index, (pattern, fit))| fits(pattern, host, path) && holds(*index, *fit));
        let fitting: Vec<_> = fitting.map(|(index, (pattern, _))| (index, pattern)).collect();
        let none = if fitting.is_empty() { NoRoute::NotFound } else { NoRoute::MethodNotAllowed };
        let taking: Vec<_> =
            fitting.into_iter().filter(|(_, pattern)| has_method(pattern)).collect();
        best(&taking).ok_or(none)
    };
    let table = table_of(&routes);
    let found = table.entry(host, path, &method, judged);
    let expected = chosen(&|_, fit| fit != Fit::Fails);
    assert_eq!(found.map(|candidate| candidate.route), expected, "{text}");
    let takes = |pattern: &Pattern| has_method(pattern) && fits(pattern, host, path);
    for (narrow, _) in routes.iter().filter(|(pattern, _)| takes(pattern)) {
        for (wide, _) in routes.iter().filter(|(wide, _)| wide.covers(narrow)) {
            assert!(takes(wide), "{wide:?} does not cover {narrow:?} at {host}{path}");
        }
    }
    let doubts =
        |(index, (_, fit)): (usize, &(Pattern, Fit))| (*fit == Fit::InDoubt).then_some(index);
    let doubts: Vec<usize> = routes.iter().enumerate().filter_map(doubts).collect();
    if doubts.len() > MOST_DOUBTS {
        return;
    }
    let settled = (0..1_u32 << doubts.len()).filter_map(|bits| {
        let is_set = |index| {
            doubts.iter().position(|doubt| *doubt == index).is_some_and(|bit| bits >> bit & 1 == 1)
        };
        chosen(&|index, fit| fit == Fit::Holds || fit == Fit::InDoubt && is_set(index)).ok()
    });
    let possible = table.possible(host, path, &method, judged).into_iter();
    let possible: BTreeSet<usize> = possible.map(|candidate| candidate.route).collect();
    assert_eq!(possible, settled.collect(), "{text}");
}

/// Doubts of which each way to settle them is tried.
const MOST_DOUBTS: usize = 6;

/// Outcome of a condition of [`table_of`], by the name of its field.
fn judged(condition: &Rc<RouteCondition>) -> Fit {
    match condition.fields[0].as_str() {
        "holds" => Fit::Holds,
        "in-doubt" => Fit::InDoubt,
        _ => Fit::Fails,
    }
}

/// Routes whose conditions have these outcomes; one that holds is left out.
fn table_of(routes: &[(Pattern, Fit)]) -> RouteTable<usize> {
    let condition = |fit: &Fit| {
        let name = HeaderName::from_static(match fit {
            Fit::Holds => "holds",
            Fit::InDoubt => "in-doubt",
            Fit::Fails => "fails",
        });
        let headers = vec![ConditionField { name, tests: vec![ValueTest::Present] }];
        Rc::new(Condition { headers, ..Condition::default() }.into())
    };
    let candidates = routes.iter().enumerate().map(|(route, (pattern, fit))| RouteCandidate {
        pattern: pattern.clone(),
        condition: Some(condition(fit)).filter(|_| *fit != Fit::Holds || route % 2 == 0),
        route,
    });
    RouteTable::of(candidates.collect())
}

/// Pattern of a line, and the outcome of its condition.
fn route(words: &[&str]) -> Option<(Pattern, Fit)> {
    let (words, fit) = match words {
        [words @ .., "!"] => (words, Fit::Fails),
        [words @ .., "?"] => (words, Fit::InDoubt),
        [words @ .., "+"] => (words, Fit::Holds),
        words => (words, Fit::Holds),
    };
    pattern(words).map(|pattern| (pattern, fit))
}

fn pattern(words: &[&str]) -> Option<Pattern> {
    let [host, path, methods] = words else { return None };
    let host = match host.strip_prefix('*') {
        _ if *host == "-" => HostPattern::Any,
        Some(below) => HostPattern::Below(below.to_owned()),
        None => HostPattern::Exact((*host).to_owned()),
    };
    let over_regex = path.starts_with('^');
    let path = match path.split_at_checked(1) {
        Some(("=", exact)) => PathPattern::Exact(exact.to_owned()),
        Some(("~", regex)) => PathPattern::Regex(Expression::new(regex, false).ok()?),
        Some(("$", suffix)) => PathPattern::Suffix(suffix.to_owned()),
        Some(("^", prefix)) => PathPattern::Prefix(prefix.to_owned()),
        _ => PathPattern::Prefix((*path).to_owned()),
    };
    let methods =
        methods.split(',').filter(|method| *method != "-").filter_map(|method| method.parse().ok());
    Some(Pattern { host, path, over_regex, methods: methods.collect() })
}

/// Returns true if a pattern takes a host and a path.
fn fits(pattern: &Pattern, host: &str, path: &str) -> bool {
    let takes_host = match &pattern.host {
        HostPattern::Any => true,
        HostPattern::Below(suffix) => host != suffix && host.ends_with(&**suffix),
        HostPattern::Exact(name) => name == host,
    };
    takes_host
        && match &pattern.path {
            PathPattern::Exact(exact) => exact == path,
            PathPattern::Prefix(prefix) => {
                let bare = prefix.strip_suffix('/').unwrap_or(prefix);
                path == prefix || path.starts_with(&format!("{bare}/"))
            }
            PathPattern::Regex(regex) => regex.regex().is_match(path.as_bytes()),
            PathPattern::Suffix(suffix) => path.ends_with(&**suffix),
        }
}

/// The best of the patterns that take a request, step by step as nginx documents it.
fn best(taking: &[(usize, &Pattern)]) -> Option<usize> {
    let rank = |pattern: &Pattern| match &pattern.host {
        HostPattern::Any => (0, 0),
        HostPattern::Below(suffix) => (1, suffix.len()),
        HostPattern::Exact(_) => (2, 0),
    };
    let most = taking.iter().map(|(_, pattern)| rank(pattern)).max()?;
    let of_host: Vec<_> = taking.iter().filter(|(_, pattern)| rank(pattern) == most).collect();
    let exact = of_host.iter().find(|(_, pattern)| matches!(pattern.path, PathPattern::Exact(_)));
    let length = |pattern: &Pattern| match &pattern.path {
        PathPattern::Prefix(prefix) => Some(prefix.len()),
        _ => None,
    };
    let longest = of_host.iter().filter_map(|(_, pattern)| length(pattern)).max();
    let prefix =
        of_host.iter().find(|(_, pattern)| longest.is_some() && length(pattern) == longest);
    let first = of_host.iter().find(|(_, pattern)| pattern.path.is_expression());
    let over = prefix.filter(|(_, pattern)| pattern.over_regex);
    exact.or(over).or(first).or(prefix).map(|(index, _)| *index)
}

/// What a client accepts: nobody gets what he did not name, nor what he refused anywhere, and lines
/// are one list.
pub fn accept(bytes: &[u8]) {
    let said = |lines: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_bytes(line).ok()?);
        }
        Some(choose(Coding::ALL, &HeaderList::from(&headers)))
    };
    let Some(chosen) = said(&[bytes]) else { return };
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    assert!(
        chosen.is_none_or(|coding| text.contains(coding.name()) || text.contains('*')),
        "{text}: {chosen:?}"
    );
    for coding in Coding::ALL.iter().copied() {
        let refusal = format!("{};q=0", coding.name());
        assert_ne!(said(&[bytes, refusal.as_bytes()]), Some(Some(coding)), "{text}");
    }
    if let Some(comma) = bytes.iter().position(|byte| *byte == b',') {
        assert_eq!(said(&[&bytes[..comma], &bytes[comma + 1..]]), Some(chosen), "{text}");
    }
    assert_eq!(is_compressible(bytes), is_compressible(&bytes.to_ascii_uppercase()), "{text}");
}

/// A rate: what is read is written so that it reads the same.
pub fn rate(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(rate) = text.parse::<Rate>() else { return };
    assert_eq!(rate.to_string().parse::<Rate>().ok(), Some(rate), "{text} is {rate}");
}

/// A format on the first line, and a value that stands for whatever a client sends: the line is one
/// line of printable bytes, and a value within quotation marks is a JSON string where that is asked
/// for.
pub fn log_format(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (format, value) = (str::from_utf8(&bytes[..end]), bytes.get(end + 1..).unwrap_or_default());
    let Ok(format) = format else { return };
    let entry = entry_of(value);
    let written = |format: &str, escape| {
        let mut line = Vec::new();
        LineFormat::parse(format, escape).map(|format| format.write(&entry, &mut line))?;
        Ok::<_, LineFormatError>(line)
    };
    for escape in [Escape::Default, Escape::Json] {
        let Ok(line) = written(format, escape) else { continue };
        let (last, text) = line.split_last().expect("a newline");
        assert!(*last == b'\n' && !text.iter().any(|byte| *byte == b'\n' || *byte == b'\r'));
        let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t';
        assert!(!text.iter().any(is_control), "{}", text.escape_ascii());
        assert!(text.len() <= format.len() + (format.matches('$').count() * 7 * 1024));
    }
    let fields = "[\"$http_x_a\",\"$request_uri\",\"$host\",\"$route\",\"$remote_user\"]";
    let line = written(fields, Escape::Json).expect("a format");
    let read: Vec<String> = serde_json::from_slice(&line).expect("JSON");
    let cut = String::from_utf8_lossy(&value[..value.len().min(1_024)]).into_owned();
    assert_eq!(read[0], cut);
}

/// An entry whose texts are all the same.
fn entry_of(value: &[u8]) -> AccessEntry {
    let text = String::from_utf8_lossy(value).into_owned();
    let address = IpAddr::from([192, 0, 2, 1]);
    let fields = LoggedFields {
        user: Some(value.to_vec()),
        request: vec![(HeaderName::from_static("x-a"), value.into())],
        response: vec![(HeaderName::from_static("x-a"), value.into())],
        ..LoggedFields::default()
    };
    AccessEntry {
        at: SystemTime::UNIX_EPOCH,
        took: Duration::ZERO,
        id: RequestId::Received(HeaderValue::from_static("0")),
        client: address,
        peer: address,
        method: Some(Method::GET),
        host: Some(text.as_str().into()),
        path: Some(Asked::Other(text.as_str().into())),
        proto: Version::HTTP_11,
        status: StatusCode::OK,
        bytes_in: 0,
        bytes_out: 0,
        route: Some(text.into()),
        limit: None,
        dry_run: None,
        auth: None,
        upstream: None,
        error: None,
        fields: Some(Box::new(fields)),
    }
}

/// An outside in which there is nothing.
struct Nothing;

impl Outside for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A configuration: it loads, and what is shown of it loads to the same; or every problem has a
/// place.
pub fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    // Certificates are read where they are.
    if text.contains("tls") {
        return;
    }
    match config::load::parse_with("fuzz.yaml", text, &[], &Nothing) {
        Ok(loaded) => {
            let shown = config::show(&loaded);
            let again = config::load::parse_with("shown.yaml", &shown, &[], &Nothing);
            let again = again.unwrap_or_else(|problems| panic!("{shown}\n{problems}"));
            assert_eq!(config::show(&again), shown);
        }
        Err(problems) => {
            assert!(problems.has_errors() && !problems.to_string().is_empty());
            assert!(problems.iter().all(|problem| problems.place(problem).1 > 0));
        }
    }
}
