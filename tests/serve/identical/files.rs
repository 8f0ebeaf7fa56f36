//! Files, from Debian's nginx and from Python's `http.server`.

use std::fs;

use tempfile::TempDir;

use crate::{
    identical::both::{Both, Request},
    nginx::Nginx,
    python::Python,
};

/// Around the sizes of buffers, from nothing to 32 MiB.
const SIZES: [usize; 14] = [
    0,
    1,
    2,
    1000,
    4095,
    4096,
    4097,
    8193,
    65_535,
    65_536,
    131_073,
    1 << 20,
    (5 << 20) + 1,
    32 << 20,
];
const LARGE: usize = 1 << 20;

/// A folder with a file of each size, and one below.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for size in SIZES {
        let bytes: Vec<u8> =
            (0..size).map(|at| u8::try_from(at * 31 % 251).expect("below 251")).collect();
        fs::write(folder.path().join(format!("{size}.bin")), bytes).expect("a file");
    }
    fs::create_dir(folder.path().join("below")).expect("a folder");
    fs::write(folder.path().join("below/page.html"), "<p>ok\n").expect("a file");
    folder
}

fn path(folder: &TempDir) -> String {
    folder.path().to_str().expect("a path in UTF-8").to_owned()
}

/// What any file server understands.
fn plain(both: &mut Both, size: usize) {
    let target = format!("/{size}.bin");
    let whole = both.ask(&Request::new("GET", &target, ""));
    assert_eq!((whole.status, whole.body.len()), (200, size));
    assert_eq!(both.ask(&Request::new("HEAD", &target, "")).body, b"");
    let modified = whole.head.field("last-modified").expect("a date").to_owned();
    let unchanged =
        both.ask(&Request::new("GET", &target, &format!("if-modified-since: {modified}")));
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    for missing in [format!("/{size}.nil"), format!("/below/{size}?x=%20&y"), format!("/%7e{size}")]
    {
        assert_eq!(both.ask(&Request::new("GET", &missing, "")).status, 404);
        assert_eq!(both.ask(&Request::new("HEAD", &missing, "")).status, 404);
    }
}

fn ranges(both: &mut Both, size: usize) {
    let target = format!("/{size}.bin");
    let etag =
        both.ask(&Request::new("HEAD", &target, "")).head.field("etag").expect("a tag").to_owned();
    let mut asked =
        vec!["bytes=0-0".to_owned(), "bytes=-1".into(), "bytes=1-".into(), "bytes=x".into()];
    asked.extend([size / 2, size, size + 1].map(|at| format!("bytes={at}-")));
    asked.extend(
        [1, 7, 4096, 65_537].map(|length| format!("bytes={}-{}", size / 3, size / 3 + length)),
    );
    for range in asked {
        for method in ["GET", "HEAD"] {
            let part = both.ask(&Request::new(method, &target, &format!("range: {range}")));
            assert!([200, 206, 416].contains(&part.status), "{range} of {size}: {}", part.status);
        }
        both.ask(&Request::new("GET", &target, &format!("range: {range}\nif-range: {etag}")));
        both.ask(&Request::new("GET", &target, &format!("range: {range}\nif-range: \"another\"")));
    }
    assert_eq!(
        both.ask(&Request::new("GET", &target, &format!("if-none-match: {etag}"))).status,
        304
    );
    assert_eq!(
        both.ask(&Request::new("HEAD", &target, &format!("if-none-match: {etag}"))).status,
        304
    );
    // nginx closes after this one without having said so.
    let unmet = Request::new("GET", &target, "if-match: \"another\"\nconnection: close");
    assert_eq!(both.ask(&unmet).status, 412);
}

#[test]
fn nginx_serves_files() {
    let folder = folder();
    let nginx =
        Nginx::start("", &format!("server_name files.test; root {}; autoindex on;", path(&folder)));
    let mut both = Both::before(nginx.address);
    for size in SIZES {
        plain(&mut both, size);
        if size <= LARGE {
            ranges(&mut both, size);
        }
    }
    assert_eq!(both.ask(&Request::new("GET", "/below", "")).status, 301);
    assert_eq!(both.ask(&Request::new("GET", "/below/../below//page.html", "")).status, 200);
    assert_eq!(
        both.ask(&Request::new("GET", "/below/", "")).head.field("transfer-encoding"),
        Some("chunked")
    );
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(both.ask(&Request::new(method, "/1.bin", "content-length: 0")).status, 405);
    }
    assert!(both.asked > 600, "{}", both.asked);
}

#[test]
fn python_serves_files_over_http_1_0() {
    let folder = folder();
    let python = Python::start(&[
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        &path(&folder),
    ]);
    let mut both = Both::before(python.address);
    for size in SIZES {
        plain(&mut both, size);
    }
    assert_eq!(both.ask(&Request::new("GET", "/below", "")).status, 301);
    assert_eq!(both.ask(&Request::new("POST", "/1.bin", "content-length: 0")).status, 501);
}

/// The same over connections that are kept; the stock command line of older Pythons does not offer
/// it.
const KEPT: &str = "
import functools, http.server, sys
class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Files, directory=sys.argv[1]))
print('serving on port', server.server_port, flush=True)
server.serve_forever()
";

#[test]
fn python_serves_files_over_http_1_1() {
    let folder = folder();
    let python = Python::start(&["-c", KEPT, &path(&folder)]);
    let mut both = Both::before(python.address);
    for size in SIZES {
        plain(&mut both, size);
    }
    assert_eq!(both.ask(&Request::new("GET", "/below/", "")).status, 200);
}
