//! Other spellings of a path or host: they take the same route, spend the same bucket, and are
//! forwarded as they came.

use std::rc::Rc;

use http::Request;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use weir::config::Config;

use crate::{
    frames::{END_HEADERS, END_STREAM, HEADERS, fields, frame, hello},
    harness::{Edge, on_edge_of, parsed, status},
    http2,
};

const LIMITED: &str = "
listeners: [ ':1' ]
upstreams: { app: { endpoints: [ 'http://10.0.0.1:80' ] } }
zones: { login: { key: global, rate: 1r/m }, path: { key: path, rate: 1r/m }, host: { key: host, rate: 1r/m } }
routes:
- { path: /login, upstream: app, limits: [ { zone: login } ] }
- { path: /private, upstream: app }
- { path: /private/open, upstream: app }
- { path: '/a%20b', upstream: app, limits: [ { zone: login } ] }
- { path: '//twice/../written', upstream: app, limits: [ { zone: login } ] }
- { path: /paths, upstream: app, limits: [ { zone: path } ] }
- { path: /hosts, upstream: app, limits: [ { zone: host } ] }
- { host: Admin.Test., path: /, upstream: app, limits: [ { zone: login } ] }
- { path: /, upstream: app }
";

fn limited(more: &str) -> Config {
    parsed(&format!("{LIMITED}{more}"))
}

/// The status of a GET, and what the upstream was asked for, if it was.
async fn ask(edge: &Rc<Edge>, target: &str, host: &str) -> (u16, Option<String>) {
    let before = edge.seen.borrow().len();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let response = edge.exchange(&request).await;
    (status(&response), edge.seen.borrow().get(before).map(|seen| seen.target.clone()))
}

/// Each of these spends the bucket that the first has spent, over both protocols.
async fn are_one(more: &str, spellings: &[(&str, &str)], is_one: bool) {
    for (target, host) in &spellings[1..] {
        on_edge_of(limited(more), |edge| async move {
            assert_eq!(
                ask(&edge, target, host).await,
                (200, Some((*target).to_owned())),
                "{target} {host}"
            );
            let second = ask(&edge, spellings[0].0, spellings[0].1).await.0;
            assert_eq!(second, if is_one { 503 } else { 200 }, "{target} {host}");
        })
        .await;
        on_edge_of(limited(more), |edge| async move {
            assert_eq!(ask(&edge, spellings[0].0, spellings[0].1).await.0, 200);
            let request =
                Request::builder().uri(format!("http://{host}{target}")).body(Full::default());
            let mut client = http2::client(&edge).await;
            let status = client
                .send_request(request.expect("a request"))
                .await
                .expect("a response")
                .status();
            assert_eq!(status, if is_one { 503 } else { 200 }, "{target} {host} over HTTP/2");
        })
        .await;
    }
}

const LOGIN: [(&str, &str); 12] = [
    ("/login", "a"),
    ("/%6cogin", "a"),
    ("/%6Cogin", "a"),
    ("//login", "a"),
    ("/./login", "a"),
    ("/x/../login", "a"),
    ("/x/%2e%2E/login", "a"),
    ("/x%2f..%2flogin", "a"),
    ("/login;x=1", "a"),
    ("/a/..;/login", "a"),
    ("/login/", "a"),
    ("/%6c%6f%67%69%6e/x?y=/private", "a"),
];

#[tokio::test(start_paused = true)]
async fn path_in_another_spelling_spends_the_limit_of_its_route() {
    are_one("", &LOGIN, true).await;
    are_one("", &[("/a%20b", "a"), ("//a%20b", "a"), ("/%61%20%62", "a")], true).await;
    are_one(
        "",
        &[("/written", "a"), ("/twice/../written", "a"), ("//twice/..//written", "a")],
        true,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn path_key_is_one_bucket_for_all_spellings() {
    let spellings = [
        ("/paths/x", "a"),
        ("//paths/x", "a"),
        ("/paths/%78", "a"),
        ("/paths/./x", "a"),
        ("/paths/x;y", "a"),
        ("/paths/y/../x", "a"),
    ];
    are_one("", &spellings, true).await;
    are_one("", &[("/paths/x", "a"), ("/paths/y", "a"), ("/paths/x%2f", "a")], false).await;
}

#[tokio::test(start_paused = true)]
async fn host_in_another_spelling_spends_the_limit_of_its_route_and_key() {
    let spellings =
        [("/", "admin.test"), ("/", "admin.test."), ("/", "ADMIN.test"), ("/", "admin.test.:80")];
    are_one("", &spellings, true).await;
    let spellings = [("/hosts", "b.test"), ("/hosts", "b.test."), ("/hosts", "B.TEST:8080")];
    are_one("", &spellings, true).await;
    are_one("", &[("/hosts", "[::1]"), ("/hosts", "[0:0:0:0:0:0:0:1]")], true).await;
}

#[tokio::test(start_paused = true)]
async fn path_matching_raw_compares_bytes() {
    let spellings = [
        ("/login", "a"),
        ("/%6cogin", "a"),
        ("//login", "a"),
        ("/x/../login", "a"),
        ("/login;x=1", "a"),
    ];
    are_one("path_matching: raw", &spellings, false).await;
    are_one("path_matching: raw", &[("/paths", "a"), ("/paths/", "a"), ("/paths/%78", "a")], false)
        .await;
    on_edge_of(limited("path_matching: raw"), |edge| async move {
        for target in ["/private/%2e%2e/open", "/../x", "/a%00"] {
            assert_eq!(ask(&edge, target, "a").await, (200, Some(target.to_owned())));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn path_that_can_be_read_as_another_route_is_refused() {
    on_edge_of(limited(""), |edge| async move {
        for (target, detail) in [
            ("/private/%2e%2e/open", "ambiguous path"),
            ("/private/../open", "ambiguous path"),
            ("/login/..", "ambiguous path"),
            ("/%6cogin/../open", "ambiguous path"),
            ("/%6cogin/..;/open", "ambiguous path"),
            ("/../login", "the path climbs above the root"),
            ("/%2e%2e/login", "the path climbs above the root"),
            ("/login%00", "the path has a NUL"),
            // Without an authority, with dots resolved before slashes are merged, and with a
            // backslash as a slash.
            ("//x/login", "ambiguous path"),
            ("///x/login", "ambiguous path"),
            ("//x/%6cogin", "ambiguous path"),
            ("/login//../open", "ambiguous path"),
            ("/x//../../login/y", "the path climbs above the root"),
            ("/login//%2e%2e/open", "ambiguous path"),
            ("/x%2fy/../login", "ambiguous path"),
            ("/private/x%2fy/../open", "ambiguous path"),
            ("/login%5cx", "ambiguous path"),
            ("/x%5C..%5Clogin", "ambiguous path"),
            ("/private\\open", "the path has a backslash"),
            ("/x\\..\\login", "the path has a backslash"),
            ("/\\x/login", "the path has a backslash"),
        ] {
            assert_eq!(ask(&edge, target, "a").await, (400, None), "{target}");
            let line = edge.line().await;
            assert_eq!((&line["error"]["detail"], &line["path"]), (&detail.into(), &target.into()));
            assert_eq!((&line["error"]["side"], line.get("route")), (&"client".into(), None));
        }
        // A route above the chosen one is no other route.
        for target in [
            "/private/x/../open",
            "/x/../private",
            "/private//open",
            "/privat%65/open",
            "//private/open",
            "/x%5Cy",
        ] {
            assert_eq!(ask(&edge, target, "a").await, (200, Some(target.to_owned())));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn path_that_can_be_read_as_another_route_is_refused_over_http2() {
    on_edge_of(limited(""), |edge| async move {
        let mut client = http2::client(&edge).await;
        for target in
            ["//x/login", "/login//../open", "/x%5c..%5clogin", "/login\\x", "/private/%2e%2e/open"]
        {
            let request = Request::builder()
                .uri(format!("http://a{target}"))
                .body(Full::default())
                .expect("a request");
            assert_eq!(
                client.send_request(request).await.expect("a response").status(),
                400,
                "{target}"
            );
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

const BENEATH: &str = "
listeners: [ ':1' ]
upstreams: { app: { endpoints: [ 'http://10.0.0.1:80' ] } }
zones:
  site: { key: client_ip, rate: 1r/m }
  own: { key: client_ip, rate: 1r/m }
  named: { key: [ client_ip, route ], rate: 1r/m }
  paths: { key: path, rate: 1r/m }
routes:
- { path: /, upstream: app, limits: [ { zone: site } ] }
- { path: /static, upstream: app }
- { path: /login, upstream: app, limits: [ { zone: own } ] }
- { path: /both, upstream: app, limits: [ { zone: own }, { zone: site } ] }
- { path: /large, upstream: app, limits: [ { zone: site, burst: 9, nodelay: true } ] }
- { path: /trial, upstream: app, limits: [ { zone: site, dry_run: true } ] }
- { host: b, path: /, upstream: app, limits: [ { zone: site, dry_run: true } ] }
- { host: b, path: /login, upstream: app, limits: [ { zone: own } ] }
- { host: c, path: /, upstream: app, limits: [ { zone: named } ] }
- { host: c, path: /below, upstream: app, limits: [ { zone: named } ] }
- { host: d, path: /, upstream: app, limits: [ { zone: paths } ] }
- { host: d, path: /below, upstream: app, limits: [ { zone: paths } ] }
";

/// A server that takes the path as received for its route runs what a route above guards.
#[tokio::test(start_paused = true)]
async fn path_that_can_be_read_as_a_route_above_needs_its_limit() {
    for (target, host, expected) in [
        ("/search/../static/x", "a", 400),
        ("//static/x", "a", 400),
        ("/static/../%73tatic/x", "a", 400),
        ("/static/../static%2fx", "a", 400),
        ("/static//x", "a", 200),
        ("/static/x/../y", "a", 200),
        ("/%6cogin", "a", 400),
        ("/%62oth", "a", 200),
        ("/%6carge", "a", 400),
        ("/%74rial", "a", 400),
        ("/%6cogin", "b", 200),
        ("/%62elow", "c", 400),
        ("/x/../y", "c", 200),
        ("/%62elow", "d", 200),
        ("/x/../below", "d", 200),
        // Each of these would have a bucket of its own, and some server reads `/y` or below.
        ("//1/y", "d", 400),
        ("/1%5C..%5Cy", "d", 400),
        ("/y//../x", "d", 400),
    ] {
        on_edge_of(parsed(BENEATH), |edge| async move {
            assert_eq!(ask(&edge, target, host).await.0, expected, "{target} of {host}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn host_with_an_empty_label_is_refused() {
    on_edge_of(limited(""), |edge| async move {
        for host in [
            ".admin.test",
            "..admin.test",
            "admin..test",
            "admin.test..",
            ".",
            ".admin.test:80",
            ".admin.test.",
        ] {
            assert_eq!(ask(&edge, "/", host).await, (400, None), "{host}");
        }
        let request = "GET http://.admin.test/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(request).await), 400);
        let mut client = http2::client(&edge).await;
        let request =
            Request::builder().uri("http://.admin.test/").body(Full::default()).expect("a request");
        assert_eq!(client.send_request(request).await.expect("a response").status(), 400);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_line_has_the_route_of_the_normal_form_and_the_path_as_received() {
    on_edge_of(limited(""), |edge| async move {
        ask(&edge, "//%6cogin?x=%61", "A.TEST.:80").await;
        let line = edge.line().await;
        let fields = ["route", "path", "host"]
            .map(|field| line[field].as_str().unwrap_or_default().to_owned());
        assert_eq!(fields, ["/login", "//%6cogin?x=%61", "a.test"]);
        assert_eq!(edge.seen.borrow()[0].headers["host"], "A.TEST.:80");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn asterisk_has_no_normal_form_and_needs_none() {
    on_edge_of(limited(""), |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .expect("a pipe");
        assert_eq!(edge.line().await["status"], 200);
    })
    .await;
}

/// A fragment is refused in either protocol, whatever stands before it.
#[tokio::test(start_paused = true)]
async fn fragment_over_http2_hides_no_path() {
    on_edge_of(limited(""), |edge| async move {
        for path in ["/login#x", "/#/login", "/login?x#y"] {
            let fields = fields(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", path),
            ]);
            let mut client = edge.connect();
            let request =
                [hello(&[]), frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields)].concat();
            client.write_all(&request).await.expect("an open pipe");
            let line = edge.line().await;
            let told = (&line["status"], &line["path"], &line["error"]["detail"]);
            assert_eq!(
                told,
                (&400.into(), &path.into(), &"the target has a fragment".into()),
                "{path}: {line}"
            );
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}
