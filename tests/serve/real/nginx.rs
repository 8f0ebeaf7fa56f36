//! What docs/from-nginx.md says of messages that weir refuses and nginx takes, beside a real nginx.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::{
    http1::{Client, Framing, Head, read_body},
    nginx::Nginx,
    process::Weir,
    upstream::upstream,
};

/// A line of the page, a request, and the status that weir, and nginx where all of its versions
/// agree, respond with.
type Row = (&'static str, &'static str, &'static [u8], u16, Option<u16>);

/// Requests; `CLOSE` stands for the fields of a good one, and the end of the head.
const REQUESTS: [Row; 25] = [
    (
        "a bare LF as the end of a line, in a request",
        "LF",
        b"GET / HTTP/1.1\nHost: a\nConnection: close\n\n",
        400,
        Some(200),
    ),
    ("HTTP/0.9", "0.9", b"GET /\r\n", 400, None),
    ("a version above HTTP/1.1 in a request line", "1.2", b"GET / HTTP/1.2\r\nCLOSE", 400, Some(200)),
    ("more than one space in a request line", "spaces", b"GET  / HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("two empty lines before a request", "lines", b"\r\n\r\nGET / HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("a control byte in a field", "control", b"GET / HTTP/1.1\r\nX: a\x01b\r\nCLOSE", 400, Some(200)),
    ("a target that is no UTF-8", "latin", b"GET /caf\xe9 HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("`\"`, `<` or `>` in a query", "quote", b"GET /?a=\"x\" HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("or a grave accent in a path", "accent", b"GET /`a HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("a backslash in a path", "backslash", b"GET /a\\b HTTP/1.1\r\nCLOSE", 400, Some(200)),
    ("a fragment", "fragment", b"GET /a#b HTTP/1.1\r\nCLOSE", 400, Some(200)),
    (
        "a `Host` with bytes above 127",
        "host",
        b"GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\nConnection: close\r\n\r\n",
        400,
        Some(200),
    ),
    ("a list, an empty label", "list", b"GET / HTTP/1.1\r\nHost: a,b\r\nConnection: close\r\n\r\n", 400, Some(200)),
    ("an empty label or `[v1.x]`", "label", b"GET / HTTP/1.1\r\nHost: .a\r\nConnection: close\r\n\r\n", 400, Some(200)),
    ("`[v1.x]`", "future", b"GET / HTTP/1.1\r\nHost: [v1.x]\r\nConnection: close\r\n\r\n", 400, Some(200)),
    ("a field whose name is no token", "name", b"GET / HTTP/1.1\r\nX(: y\r\nCLOSE", 400, Some(200)),
    (
        "`Transfer-Encoding: identity`",
        "identity",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nCLOSE",
        400,
        Some(501),
    ),
    (
        "a request whose `Via` names weir more than eight times",
        "loop",
        b"GET / HTTP/1.1\r\nVia: 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir, 1.1 weir\r\nCLOSE",
        508,
        Some(200),
    ),
    (
        "white space behind a chunk's size",
        "space",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nCLOSE2 ;a=b\r\nhi\r\n0\r\n\r\n",
        400,
        Some(200),
    ),
    (
        "a chunk size of 16 digits",
        "digits",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nCLOSE0000000000000002\r\nhi\r\n0\r\n\r\n",
        400,
        Some(200),
    ),
    ("`TRACE` is forwarded", "trace", b"TRACE / HTTP/1.1\r\nCLOSE", 200, Some(405)),
    ("A method in lower case is forwarded", "method", b"get / HTTP/1.1\r\nCLOSE", 200, Some(400)),
    ("`CONNECT`", "connect", b"CONNECT a:80 HTTP/1.1\r\nCLOSE", 400, None),
    ("two `Host` lines", "hosts", b"GET / HTTP/1.1\r\nHost: a\r\nCLOSE", 400, Some(400)),
    ("folded lines", "folded", b"GET / HTTP/1.1\r\nX: y\r\n z\r\nCLOSE", 400, Some(400)),
];

/// Responses of an endpoint, which sends them for a path.
const RESPONSES: [Row; 7] = [
    ("the same in a response", "/lf", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 502, Some(200)),
    ("the same in a response", "/control", b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok", 502, Some(200)),
    (
        "two equal lengths in a response",
        "/lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        502,
        None,
    ),
    (
        "both a length and chunks in a response",
        "/both",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        502,
        None,
    ),
    (
        "a coding other than `chunked` in a response",
        "/identity",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: identity\r\n\r\nok",
        502,
        None,
    ),
    ("a status above 599", "/status", b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", 502, Some(999)),
    (
        "a 101 that names no protocol",
        "/101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        502,
        Some(101),
    ),
];

const CLOSE: &[u8] = b"Host: a\r\nConnection: close\r\n\r\n";

/// What a server of the test responds to bytes: the status, or none where what came has none.
fn status(server: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut client = Client::connect(server);
    client.send(bytes).expect("an open connection");
    let mut line = [0; 12];
    client.stream.read_exact(&mut line).ok()?;
    str::from_utf8(&line[9..]).ok()?.parse().ok()
}

fn endpoint() -> SocketAddr {
    upstream(|mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
            let row = RESPONSES.iter().find(|(_, path, ..)| *path == head.second());
            wire.get_mut().write_all(row.map_or(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                |(_, _, bytes, ..)| bytes,
            ))?;
            if row.is_some() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    })
}

#[test]
fn nginx_takes_what_the_page_says_and_weir_does_not() {
    let endpoint = endpoint();
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: 'http://{endpoint}' }} ]\naccess_log: {{ to: none }}\n"
    ));
    let nginx = Nginx::start(
        "",
        &format!("location / {{ proxy_pass http://{endpoint}; proxy_http_version 1.1; }}"),
    );
    let page = include_str!("../../../docs/from-nginx.md");
    let asked = RESPONSES.map(|(line, path, _, weir, nginx)| {
        let get = if path == "/101" {
            "Upgrade: x\r\nConnection: upgrade\r\nHost: a\r\n\r\n"
        } else {
            "CLOSE"
        };
        (line, path, format!("GET {path} HTTP/1.1\r\n{get}").into_bytes(), weir, nginx)
    });
    let requests =
        REQUESTS.map(|(line, name, bytes, weir, nginx)| (line, name, bytes.to_vec(), weir, nginx));
    for (line, name, bytes, by_weir, by_nginx) in requests.into_iter().chain(asked) {
        assert!(page.contains(line), "the page does not say `{line}`");
        let at = bytes.windows(5).position(|five| five == b"CLOSE");
        let bytes =
            at.map_or_else(|| bytes.clone(), |at| [&bytes[..at], CLOSE, &bytes[at + 5..]].concat());
        assert_eq!(status(weir.address, &bytes), Some(by_weir), "{name}: weir");
        if by_nginx.is_some() {
            assert_eq!(status(nginx.address, &bytes), by_nginx, "{name}: nginx");
        }
    }
}
