//! Spellings of paths that hide what they name, over real sockets and both protocols: no file, no
//! guarded path and no upstream is reached that the matched route does not own.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    frames::{ACK, END_HEADERS, END_STREAM, HEADERS, SETTINGS, fields, frame, hello},
    http1::Head,
    process::Weir,
    upstream::answering,
};

/// Text of every file that no request without credentials may get.
const MARK: &str = "KEPT-FROM-CLIENTS";

/// A site with a guarded folder for each kind of guard, and what is beside it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        "site/admin/plan.txt",
        "site/office/plan.txt",
        "site/asked/plan.txt",
        "site/shut/plan.txt",
        "site/dump/plan.sql",
        "site/.git/plan.txt",
        "outside/plan.txt",
    ];
    for name in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, MARK).expect("a file");
    }
    fs::write(folder.path().join("site/index.html"), "page").expect("a file");
    symlink("../outside", folder.path().join("site/link")).expect("a link");
    // `open sesame`
    let users = "ada:$apr1$abcdefgh$T64oOxnD8c28.dQa.2Lty1\n";
    fs::write(folder.path().join("users"), users).expect("a file");
    folder
}

fn serving(folder: &TempDir, endpoint: SocketAddr) -> Weir {
    let root = folder.path().display();
    Weir::run(&format!(
        "routes:\n\
         - {{ path: /, files: {{ root: '{root}/site' }} }}\n\
         - {{ path: /admin, files: {{ root: '{root}/site' }}, basic_auth: {{ file: '{root}/users' }} }}\n\
         - {{ path: /office, files: {{ root: '{root}/site' }}, access: {{ allow: [ 192.0.2.0/24 ] }} }}\n\
         - {{ path: /asked, files: {{ root: '{root}/site' }}, auth: {{ url: 'http://127.0.0.1:1/v' }} }}\n\
         - {{ path: /shut, close: true, over_regex: true }}\n\
         - {{ path_regex: '(?i)\\.sql$', respond: {{ status: 403 }} }}\n\
         - {{ path: /api, upstream: 'http://{endpoint}', rewrite: {{ strip_prefix: /api, add_prefix: /v1 }} }}\n\
         - {{ path_regex: '^/u/', upstream: 'http://{endpoint}', rewrite: {{ regex: '^/u/(.*)$', to: '/v1/{{1}}' }} }}\n"
    ))
}

/// Other spellings of `/FOLDER/NAME`, and what some server takes for one.
const SPELLINGS: [&str; 57] = [
    "/{path}",
    "//{path}",
    "///{path}",
    "/%{code}{rest}/{name}",
    "/%25{code}{rest}/{name}",
    "/%u00{code}{rest}/{name}",
    "/./{path}",
    "/%2e/{path}",
    "/x/../{path}",
    "/x/%2e%2E/{path}",
    "/x/%252e%252e/{path}",
    "/x%2f..%2f{path}",
    "/x/..%2f{path}",
    "/x/..%5c{path}",
    "/x/..\\{path}",
    "/x/..;/{path}",
    "/x/..;y=z/{path}",
    "/;/{path}",
    "/;x/{path}",
    "/%3b/{path}",
    "/{folder};x/{name}",
    "/{folder}%3bx/{name}",
    "/{folder}%2f{name}",
    "/{folder}%252f{name}",
    "/{folder}%5c{name}",
    "/{folder}\\{name}",
    "/{folder}%c0%af{name}",
    "/{folder}%ef%bc%8f{name}",
    "/x/%c0%ae%c0%ae/{path}",
    "/%c1%a1{rest}/{name}",
    "/{folder}//{name}",
    "/{folder}/./{name}",
    "/{folder}/x/../{name}",
    "/{folder}/../{path}",
    "/{folder}/../index.html/../{path}",
    "/{upper}/{name}",
    "/{folder}/{upper_name}",
    "/{folder}./{name}",
    "/{folder}%20/{name}",
    "/{folder}%09/{name}",
    "/{path}%00",
    "/{path}%00.html",
    "/{path}%20",
    "/{path}.",
    "/{path}/",
    "/{path};x",
    "/{path}?x",
    "/{path}%3fx",
    "/{path}%23x",
    "/{path}#x",
    "/index.html/../{path}",
    "/link/../{path}",
    "/u/../{path}",
    "/api/../{path}",
    "http://a/{path}",
    "http://{path}",
    "/a@b/../{path}",
];

fn spellings(folder: &str, name: &str) -> Vec<String> {
    let (first, rest) = folder.split_at(1);
    let values = [
        ("{path}", format!("{folder}/{name}")),
        ("{folder}", folder.to_owned()),
        ("{name}", name.to_owned()),
        ("{code}", format!("{:02x}", first.as_bytes()[0])),
        ("{rest}", rest.to_owned()),
        ("{upper}", folder.to_uppercase()),
        ("{upper_name}", name.to_uppercase()),
    ];
    let filled = |spelling: &str| {
        let replaced = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        values.iter().fold(spelling.to_owned(), replaced)
    };
    SPELLINGS.into_iter().map(filled).collect()
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("a listener");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    stream
}

/// All that comes for a request, until weir ends the connection.
fn http1(server: SocketAddr, target: &str, field: &str) -> String {
    let mut stream = connect(server);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n");
    stream.write_all(request.as_bytes()).expect("an open connection");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("a response or an end");
    String::from_utf8_lossy(&received).into_owned()
}

/// All frames that come for a request, until its stream or the connection ends.
fn http2(server: SocketAddr, target: &str) -> String {
    let mut stream = connect(server);
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target)];
    let headers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&get));
    let acknowledged = frame(SETTINGS, ACK, 0, &[]);
    let request = [hello(&[]), acknowledged, headers].concat();
    stream.write_all(&request).expect("an open connection");
    let mut received = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("the whole frame");
        received.extend_from_slice(&payload);
        let (kind, flags, of) = (head[3], head[4], head[8]);
        // A reset, or the end of the connection, is a response too.
        let is_end = kind == 3 || kind == 7 || (kind < 2 && flags & END_STREAM != 0);
        if of == 1 && is_end || kind == 7 {
            break;
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

#[test]
fn path_tricks_reach_nothing_that_another_route_guards() {
    let folder = folder();
    let endpoint =
        answering(|_: &Head| b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream".to_vec());
    let weir = serving(&folder, endpoint);
    // With credentials the file is there: without them nothing else keeps it.
    let password = "Authorization: Basic YWRhOm9wZW4gc2VzYW1l\r\n";
    let open = http1(weir.address, "/admin/plan.txt", password);
    assert!(open.ends_with(MARK), "{open}");
    assert!(http2(weir.address, "/").contains("page"));
    for (guarded, name) in [
        ("admin", "plan.txt"),
        ("office", "plan.txt"),
        ("asked", "plan.txt"),
        ("shut", "plan.txt"),
        ("dump", "plan.sql"),
        (".git", "plan.txt"),
        ("link", "plan.txt"),
        ("../outside", "plan.txt"),
    ] {
        for path in spellings(guarded, name) {
            let received = http1(weir.address, &path, "");
            assert!(!received.contains(MARK), "{path}: {received}");
            let received = http2(weir.address, &path);
            assert!(!received.contains(MARK), "{path} over HTTP/2: {received}");
        }
    }
}

#[test]
fn path_tricks_stay_below_the_prefix_that_is_added() {
    let folder = folder();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let endpoint = {
        let seen = Arc::clone(&seen);
        answering(move |head: &Head| {
            let target = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().expect("a list").push(target);
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream".to_vec()
        })
    };
    let weir = serving(&folder, endpoint);
    let plain = http1(weir.address, "/api/x?y", "");
    assert!(plain.ends_with("upstream"), "{plain}");
    let mut asked = 0;
    for begin in ["/api", "/u", "/%61pi", "//api", "/x/../u"] {
        for path in spellings("admin", "plan.txt").into_iter().chain(spellings("..", "plan.txt")) {
            let target = format!("{begin}{path}");
            http1(weir.address, &target, "");
            http2(weir.address, &target);
            asked += 2;
        }
    }
    let seen = seen.lock().expect("a list");
    assert!(seen.len() > asked / 4, "only {} of {asked} were forwarded", seen.len());
    for target in seen.iter() {
        let path = target.split('?').next().expect("a path");
        assert!(path == "/v1" || path.starts_with("/v1/"), "{target}");
        // As servers read it that decode once, and take `\` for a slash or cut at `;`.
        let decoded = path.to_lowercase().replace("%2e", ".").replace("%2f", "/");
        let decoded = decoded.replace("%5c", "/").replace("%3b", ";").replace('\\', "/");
        let climbs = decoded.split('/').any(|segment| segment.split(';').next() == Some(".."));
        assert!(!climbs, "{target}");
    }
}
