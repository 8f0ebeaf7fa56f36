//! Routes that serve files: which file a path leads to, what is said of it, and how it is read.

use std::{fs, path::Path, rc::Rc};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, sleep},
};
use weir::{
    compress::negotiate::Coding,
    config::Config,
    files::{body::READ_BYTES, settings::FilesSettings},
    proxy::action::Action,
};

use crate::{
    harness::{Edge, on_edge_of, parsed, status},
    http2,
};

/// A folder with these files in `root`, and a secret beside it.
fn site(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("secret"), "secret").expect("a file");
    fs::create_dir(folder.path().join("root")).expect("a folder");
    for (name, content) in files {
        write(&folder, name, content.as_bytes());
    }
    folder
}

fn write(site: &TempDir, name: &str, content: &[u8]) {
    let path = site.path().join("root").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("a file");
}

/// Routes, where `ROOT` stands for the root.
fn routes(site: &TempDir, routes: &str) -> Config {
    let root = site.path().join("root").display().to_string();
    let routes = routes.replace("ROOT", &root);
    parsed(&format!(
        "listeners: [ ':1' ]\nzones: {{ z: {{ key: client_ip, rate: 1r/s }} }}\nroutes: {routes}\n"
    ))
}

/// One route for everything, with these keys of `files` beside `root`.
fn serving(site: &TempDir, keys: &str) -> Config {
    routes(site, &format!("[ {{ path: /, files: {{ root: 'ROOT'{keys} }} }} ]"))
}

/// Response to a request on a connection of its own.
async fn ask(edge: &Rc<Edge>, line: &str, fields: &str) -> String {
    let fields = format!("host: a.test\r\nconnection: close\r\n{fields}");
    edge.exchange(&format!("{line} HTTP/1.1\r\n{fields}\r\n")).await
}

/// Value of a field of a raw response.
fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test(start_paused = true)]
async fn file_has_type_length_and_validators() {
    let site = site(&[("a/page.html", "<p>a</p>"), ("b.unknown", "b"), ("empty.js", "")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        for (path, media, length) in [
            ("/a/page.html", "text/html", "8"),
            ("/b.unknown", "application/octet-stream", "1"),
            ("/empty.js", "text/javascript", "0"),
        ] {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!(status(&response), 200, "{response}");
            assert_eq!(field(&response, "content-type"), Some(media));
            assert_eq!(field(&response, "content-length"), Some(length));
            assert_eq!(field(&response, "accept-ranges"), Some("bytes"));
            assert!(field(&response, "last-modified").is_some_and(|date| date.ends_with("GMT")));
            let etag = field(&response, "etag").expect("a tag").trim_matches('"');
            assert!(etag.ends_with(&format!("-{length}")), "{etag}");
            let line = edge.line().await;
            assert_eq!((&line["status"], &line["route"]), (&200.into(), &"/".into()));
            assert_eq!(line["bytes_out"].to_string(), length);
            assert!(line["upstream"].is_null() && line["error"].is_null(), "{line}");
            // HEAD says the same and sends nothing.
            let head = ask(&edge, &format!("HEAD {path}"), "").await;
            let same = |response: &str| response.split("date: ").next().map(str::to_owned);
            assert_eq!((same(&head), body(&head)), (same(&response), ""));
            assert!(edge.line().await["error"].is_null());
        }
    })
    .await;
}

/// A root with hidden files, and links out of it and within it.
fn tricky_site() -> TempDir {
    let site = site(&[
        ("a.txt", "a"),
        (".env", "hidden"),
        (".git/config", "hidden"),
        ("b/.htpasswd", "hidden"),
        (".well-known/acme-challenge/t", "token"),
        ("%2e%2e", "literally"),
        ("caf\u{e9}", "utf8"),
    ]);
    for (name, to) in
        [("out", "../secret"), ("up", ".."), ("proc", "/proc/self/root"), ("in", "a.txt")]
    {
        std::os::unix::fs::symlink(to, site.path().join("root").join(name)).expect("a link");
    }
    site
}

#[tokio::test(start_paused = true)]
async fn path_spellings_lead_to_one_file() {
    let site = tricky_site();
    on_edge_of(serving(&site, ""), |edge| async move {
        for (path, content) in [
            ("/a.txt", "a"),
            ("/%61.txt", "a"),
            ("/./b/../a.txt", "a"),
            ("//a.txt", "a"),
            ("/a.txt;v=1", "a"),
            ("/a.txt?x=/../secret", "a"),
            ("/in", "a"),
            ("/.well-known/acme-challenge/t", "token"),
            ("/%252e%252e", "literally"),
            ("/caf%C3%A9", "utf8"),
        ] {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!((status(&response), body(&response)), (200, content), "{path}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn path_tricks_reach_nothing_else() {
    let site = tricky_site();
    on_edge_of(serving(&site, ""), |edge| async move {
        let missing = [
            "/secret",
            "/a.txt;x=/../secret",
            "/..%5csecret",
            "/a.txt%5c",
            "/out",
            "/up",
            "/up/secret",
            "/proc",
            "/proc/etc/passwd",
            "/.env",
            "/%2eenv",
            "/x/../.env",
            "/.git/config",
            "/.well-known/../.env",
            "/b/.htpasswd",
            "/a.txt/",
            "/%ff%fe",
            "/~root/a.txt",
        ];
        let malformed = [
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/b/../../secret",
            "/%2e%2e%2fsecret",
            "/..\\secret",
            "/a.txt%00.html",
        ];
        let missing = missing.map(|path| (path, 404));
        for (path, expected) in missing.into_iter().chain(malformed.map(|path| (path, 400))) {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!(status(&response), expected, "{path}: {response}");
            assert!(!response.contains("hidden") && !response.contains("root:"), "{path}");
        }
        let long = format!("GET /{}", "x".repeat(5_000));
        assert_eq!(status(&ask(&edge, &long, "").await), 404);
    })
    .await;
}

/// The spelling decides the route there, so it decides the file too.
#[tokio::test(start_paused = true)]
async fn raw_paths_reach_files_in_one_spelling_only() {
    let site = site(&[("open/a", "open"), ("closed/b", "closed"), ("a b", "space")]);
    let mut config = routes(
        &site,
        "[ { path: /, files: { root: 'ROOT' } }, { path: /closed, respond: { status: 403 } } ]",
    );
    config.path_matching = weir::proxy::route::PathMatching::Raw;
    on_edge_of(config, |edge| async move {
        for (path, expected) in [
            ("/open/a", 200),
            ("/a%20b", 200),
            ("/closed/b", 403),
            ("/%63losed/b", 404),
            ("/open/../closed/b", 404),
            ("//closed/b", 404),
            ("/open/%2e%2e/closed/b", 404),
            ("/closed%2fb", 404),
            ("/closed;x/b", 404),
        ] {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!(status(&response), expected, "{path}: {response}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn missing_file_is_404_and_keeps_the_connection() {
    let site = site(&[("a", "a"), ("d/x", "x")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        let mut client = edge.connect();
        for (path, expected, kind) in
            [("/none", 404, "file_not_found"), ("/d/", 403, "file_forbidden")]
        {
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("an open pipe");
            let mut response = vec![0; 4096];
            let length = client.read(&mut response).await.expect("an open pipe");
            let response = String::from_utf8_lossy(&response[..length]).into_owned();
            assert_eq!(status(&response), expected);
            assert!(field(&response, "proxy-status").is_some_and(|it| it.contains(kind)));
            assert_eq!(field(&response, "cache-control"), Some("no-store"));
            assert_eq!(field(&response, "connection"), None);
            let line = edge.line().await;
            assert_eq!(line["error"]["kind"], kind);
            assert_eq!(line["error"]["side"], "proxy");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_methods_are_refused_with_the_list() {
    let site = site(&[("a", "a")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND"] {
            let response = ask(&edge, &format!("{method} /a"), "content-length: 0\r\n").await;
            assert_eq!(status(&response), 405, "{method}");
            assert_eq!(field(&response, "allow"), Some("GET, HEAD"), "{method}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn directory_without_slash_is_redirected_on_the_same_host() {
    let site = site(&[("d/index.html", "index"), ("evil.test/index.html", "")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        for (path, location) in [
            ("/d", "/d/"),
            ("/d?x=1&y", "/d/?x=1&y"),
            ("//evil.test", "/evil.test/"),
            ("/%2fevil.test", "/evil.test/"),
            ("/./evil.test", "/evil.test/"),
        ] {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!(status(&response), 301, "{path}: {response}");
            assert_eq!(field(&response, "location"), Some(location), "{path}");
        }
        assert_eq!(body(&ask(&edge, "GET /d/", "").await), "index");
    })
    .await;
}

/// `rewrite` makes the name of the file, and the client keeps its path.
#[tokio::test(start_paused = true)]
async fn rewritten_path_is_the_name_of_the_file() {
    let site = site(&[("a.js", "a"), ("d/index.html", "index"), (".env", "hidden")]);
    let config = routes(
        &site,
        "[ { path: /static, rewrite: { strip_prefix: /static }, files: { root: 'ROOT' } } ]",
    );
    on_edge_of(config, |edge| async move {
        for (path, expected, content) in [
            ("/static/a.js", 200, "a"),
            ("/static/%61.js", 200, "a"),
            ("/%73tatic//a.js", 200, "a"),
            ("/static/d/", 200, "index"),
            ("/a.js", 404, ""),
            ("/static/static/a.js", 404, ""),
            ("/static/.env", 404, ""),
            ("/static%2f.env", 404, ""),
            ("/static/../secret", 404, ""),
            ("/static/..%2f..%2fsecret", 400, ""),
        ] {
            let response = ask(&edge, &format!("GET {path}"), "").await;
            assert_eq!(status(&response), expected, "{path}: {response}");
            assert!(expected != 200 || body(&response) == content, "{path}");
        }
        let response = ask(&edge, "GET /static/d?x", "").await;
        assert_eq!((status(&response), field(&response, "location")), (301, Some("/static/d/?x")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn fallback_is_served_for_paths_without_a_file() {
    let site = site(&[("index.html", "app"), ("a.js", "script"), (".env", "hidden")]);
    on_edge_of(serving(&site, ", fallback: /index.html"), |edge| async move {
        for (line, expected, content) in [
            ("GET /", 200, "app"),
            ("GET /users/7", 200, "app"),
            ("GET /users/7/", 200, "app"),
            ("HEAD /users/7", 200, ""),
            ("GET /a.js", 200, "script"),
            ("GET /none.js", 200, "app"),
            ("POST /users/7", 405, ""),
            ("GET /.env", 404, ""),
        ] {
            let response = ask(&edge, line, "").await;
            assert_eq!(status(&response), expected, "{line}");
            if expected == 200 {
                assert_eq!(body(&response), content, "{line}");
                let media = field(&response, "content-type");
                let script = line == "GET /a.js";
                assert_eq!(media, Some(if script { "text/javascript" } else { "text/html" }));
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conditions_are_evaluated() {
    let site = site(&[("a.css", "0123456789")]);
    on_edge_of(serving(&site, ", cache_control: 'public, max-age=60'"), |edge| async move {
        let first = ask(&edge, "GET /a.css", "").await;
        let of = |name| field(&first, name).expect("a validator").to_owned();
        let (etag, date) = (of("etag"), of("last-modified"));
        for (fields, expected) in [
            (format!("if-none-match: {etag}"), 304),
            (format!("if-none-match: \"x\", W/{etag}"), 304),
            ("if-none-match: \"x\"".to_owned(), 200),
            (format!("if-modified-since: {date}"), 304),
            ("if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), 200),
            (format!("if-match: {etag}"), 200),
            ("if-match: \"x\"".to_owned(), 412),
            (format!("if-unmodified-since: {date}"), 200),
            ("if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), 412),
            (format!("range: bytes=2-3\r\nif-range: {etag}"), 206),
            ("range: bytes=2-3\r\nif-range: \"x\"".to_owned(), 200),
        ] {
            let response = ask(&edge, "GET /a.css", &format!("{fields}\r\n")).await;
            assert_eq!(status(&response), expected, "{fields}");
            let is_own = expected == 412;
            assert_eq!(field(&response, "etag"), (!is_own).then_some(&*etag), "{fields}");
            let policy = (!is_own).then_some("public, max-age=60");
            assert_eq!(field(&response, "cache-control"), policy, "{fields}");
            let has_body = matches!(expected, 200 | 206);
            assert_eq!(field(&response, "content-type").is_some(), has_body, "{fields}");
            assert_eq!(body(&response).is_empty(), !has_body, "{fields}");
            assert!(edge.line().await["error"].is_null(), "{fields}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn range_is_a_part_over_both_protocols() {
    let site = site(&[("a", "0123456789")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        let mut client = http2::client(&edge).await;
        for (range, expected, part, content) in [
            ("bytes=0-0", 206, Some("bytes 0-0/10"), "0"),
            ("bytes=8-", 206, Some("bytes 8-9/10"), "89"),
            ("bytes=-3", 206, Some("bytes 7-9/10"), "789"),
            ("bytes=10-", 416, Some("bytes */10"), ""),
            ("bytes=0-1,3-4", 200, None, "0123456789"),
            ("bytes=x", 200, None, "0123456789"),
        ] {
            let response = ask(&edge, "GET /a", &format!("range: {range}\r\n")).await;
            assert_eq!((status(&response), body(&response)), (expected, content), "{range}");
            assert_eq!(field(&response, "content-range"), part, "{range}");
            let length = content.len().to_string();
            assert_eq!(field(&response, "content-length"), Some(&*length), "{range}");
            let request = Request::get("http://a/a").header("range", range);
            let request = request.body(Full::default()).expect("a request");
            let response = client.send_request(request).await.expect("a response");
            let fields = response.headers().clone();
            assert_eq!(response.status().as_u16(), expected, "{range}");
            let value = fields.get("content-range").and_then(|value| value.to_str().ok());
            assert_eq!((value, &*http2::text(response).await), (part, content), "{range}");
        }
        let head = ask(&edge, "HEAD /a", "range: bytes=0-0\r\n").await;
        assert_eq!((status(&head), field(&head, "content-length")), (200, Some("10")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn precompressed_file_is_sent_to_those_who_accept_it() {
    let site = site(&[("a.js", "plain"), ("a.js.br", "brotli"), ("a.js.gz", "gzip")]);
    on_edge_of(serving(&site, ", precompressed: [ br, gzip ]"), |edge| async move {
        let mut tags = std::collections::HashSet::new();
        for (accepted, coding, content) in [
            ("gzip, br", Some("br"), "brotli"),
            ("gzip", Some("gzip"), "gzip"),
            ("br;q=0, gzip;q=0.1", Some("gzip"), "gzip"),
            ("zstd", None, "plain"),
            ("identity, gzip;q=0.5", None, "plain"),
        ] {
            let fields = format!("accept-encoding: {accepted}\r\n");
            let response = ask(&edge, "GET /a.js", &fields).await;
            assert_eq!((status(&response), body(&response)), (200, content), "{accepted}");
            assert_eq!(field(&response, "content-encoding"), coding, "{accepted}");
            assert_eq!(field(&response, "content-type"), Some("text/javascript"), "{accepted}");
            assert_eq!(field(&response, "vary"), Some("accept-encoding"), "{accepted}");
            let etag = field(&response, "etag").expect("a tag").to_owned();
            let again = format!("{fields}if-none-match: {etag}\r\n");
            let held = ask(&edge, "GET /a.js", &again).await;
            assert_eq!((status(&held), field(&held, "etag")), (304, Some(&*etag)));
            assert_eq!(field(&held, "vary"), Some("accept-encoding"));
            let part = ask(&edge, "GET /a.js", &format!("{fields}range: bytes=1-2\r\n")).await;
            assert_eq!((status(&part), body(&part)), (206, &content[1..3]));
            assert_eq!(field(&part, "content-encoding"), coding, "{accepted}");
            tags.insert(etag);
        }
        assert_eq!(tags.len(), 3, "one for each form: {tags:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn file_is_compressed_as_an_upstreams_response() {
    let page = "<p>line</p>\n".repeat(1_000);
    let site = site(&[("a.html", &page)]);
    let mut config = serving(&site, "");
    config.routes[0].compress = vec![Coding::Gzip];
    on_edge_of(config, |edge| async move {
        let mut client = http2::client(&edge).await;
        let request = Request::get("http://a/a.html").header("accept-encoding", "gzip");
        let request = request.body(Full::default()).expect("a request");
        let response = client.send_request(request).await.expect("a response");
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["content-encoding"], "gzip");
        assert_eq!(head.headers["vary"], "accept-encoding");
        assert!(!head.headers.contains_key("accept-ranges"));
        assert!(!head.headers.contains_key("content-length"));
        let etag = head.headers["etag"].to_str().expect("text").to_owned();
        assert!(etag.starts_with("W/"), "{etag}");
        let body = body.collect().await.expect("a whole body").to_bytes();
        let decoded = crate::decode::decode("gzip", &body).expect("gzip");
        assert!(decoded == page.as_bytes());
        let fields = format!("accept-encoding: gzip\r\nif-none-match: {etag}\r\n");
        let held = ask(&edge, "GET /a.html", &fields).await;
        assert_eq!((status(&held), field(&held, "etag")), (304, Some(&*etag)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limits_and_edits_apply_to_files() {
    let site = site(&[("a", "a")]);
    let config = routes(
        &site,
        "[ { path: /, files: { root: 'ROOT' }, limits: [ { zone: z } ],
             response: { headers: { set: { x-route: '{route}' }, remove: [ etag ] } } } ]",
    );
    on_edge_of(config, |edge| async move {
        let response = ask(&edge, "GET /a", "").await;
        assert_eq!(status(&response), 200);
        assert_eq!(field(&response, "x-route"), Some("/"));
        assert_eq!(field(&response, "etag"), None);
        assert_eq!(status(&ask(&edge, "GET /none", "").await), 503, "a miss is charged too");
    })
    .await;
}

fn long_content(length: usize) -> Vec<u8> {
    (0..length).map(|index| b'a' + u8::try_from(index / 1_000 % 26).expect("a letter")).collect()
}

#[tokio::test(start_paused = true)]
async fn long_file_is_sent_whole_over_both_protocols() {
    let site = site(&[]);
    let content = long_content(10 * READ_BYTES + 7);
    write(&site, "long", &content);
    on_edge_of(serving(&site, ""), |edge| async move {
        let request = "GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let response = edge.exchange_bytes(request).await;
        assert!(response.ends_with(&content) && response.len() < content.len() + 1_000);
        assert_eq!(edge.line().await["bytes_out"], content.len());
        let mut client = http2::client(&edge).await;
        let response = client.send_request(http2::get("/long")).await.expect("a response");
        assert_eq!(response.headers()["content-length"], content.len().to_string());
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        assert_eq!(body.len(), content.len());
        assert!(body == content);
    })
    .await;
}

/// Bytes that a client has not taken are not read: a change of the file behind them is seen.
#[tokio::test(start_paused = true)]
async fn slow_client_has_little_of_a_file_in_memory() {
    let site = site(&[]);
    let length = 32 * READ_BYTES;
    write(&site, "long", &vec![b'a'; length]);
    let path = site.path().join("root/long");
    on_edge_of(serving(&site, ""), |edge| async move {
        let mut client = edge.connect();
        let request = b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.expect("an open pipe");
        sleep(Duration::from_secs(5)).await;
        let file = fs::OpenOptions::new().write(true).open(&path).expect("the file");
        let changed = vec![b'b'; length];
        std::os::unix::fs::FileExt::write_all_at(&file, &changed, 0).expect("a change");
        let mut response = Vec::new();
        client.read_to_end(&mut response).await.expect("an end");
        let begin = response.len() - length;
        let old = response[begin..].iter().filter(|byte| **byte == b'a').count();
        // The pipe holds 64 KiB, and weir one piece and what its writer holds.
        assert!((1..=4 * READ_BYTES).contains(&old), "{old}");
        assert!(response[begin + old..].iter().all(|byte| *byte == b'b'));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn file_that_becomes_shorter_cuts_its_response() {
    let site = site(&[]);
    write(&site, "long", &vec![b'a'; 32 * READ_BYTES]);
    let path = site.path().join("root/long");
    on_edge_of(serving(&site, ""), |edge| async move {
        let mut client = edge.connect();
        client.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
        sleep(Duration::from_secs(1)).await;
        let file = fs::OpenOptions::new().write(true).open(&path).expect("the file");
        file.set_len(READ_BYTES as u64).expect("a change");
        let mut response = Vec::new();
        client.read_to_end(&mut response).await.expect("an end");
        assert!(response.len() < 8 * READ_BYTES, "{}", response.len());
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"]),
            (&200.into(), &"file_unreadable".into())
        );
        let detail = line["error"]["detail"].as_str().expect("a text");
        assert!(detail.contains("became shorter"), "{detail}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_leave_give_their_reads_back() {
    let site = site(&[("a", "a")]);
    write(&site, "long", &vec![b'a'; 32 * READ_BYTES]);
    on_edge_of(serving(&site, ""), |edge| async move {
        // More than may read at a time.
        for _ in 0..2 * weir::files::blocking::MAX_READS {
            let mut client = edge.connect();
            client.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("a pipe");
            let mut some = [0; 1_000];
            client.read_exact(&mut some).await.expect("a beginning");
            drop(client);
            let line = edge.line_within(Duration::from_secs(1)).await;
            assert_eq!(line["error"]["kind"], "client_gone", "{line}");
        }
        assert_eq!(body(&ask(&edge, "GET /a", "").await), "a");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_of_a_request_for_a_file_is_left() {
    let site = site(&[("a", "a")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        let mut client = edge.connect();
        let request = "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nxyz";
        let next = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(format!("{request}{next}").as_bytes()).await.expect("an open pipe");
        let mut responses = String::new();
        client.read_to_string(&mut responses).await.expect("an end");
        assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 2, "{responses}");
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upgrade_to_a_file_is_ignored() {
    let site = site(&[("a", "a")]);
    on_edge_of(serving(&site, ""), |edge| async move {
        let fields = "host: a\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n";
        let response = edge.exchange(&format!("GET /a HTTP/1.1\r\n{fields}\r\n")).await;
        assert_eq!((status(&response), body(&response)), (200, "a"));
        let mut client = http2::client(&edge).await;
        let request = Request::builder().method(Method::POST).uri("http://a/a");
        let request = request.body(Full::from("x")).expect("a request");
        let response = client.send_request(request).await.expect("a response");
        assert_eq!(response.status().as_u16(), 405);
    })
    .await;
}

#[test]
fn files_have_one_index_by_default() {
    let site = site(&[]);
    let config = serving(&site, "");
    let Action::Files(FilesSettings { index, root, fallback, .. }) = &config.routes[0].action
    else {
        panic!("{:?}", config.routes[0].action);
    };
    assert_eq!((index, fallback), (&vec!["index.html".to_owned()], &None));
    assert_eq!(root, Path::new(&site.path().join("root")));
}
