//! Access by network: judged on the client address, before the limits, in every spelling of a path.

use std::rc::Rc;

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{Edge, on_edge_of, parsed, status},
    http2,
};

const GUARDED: &str = "
listeners: [ ':1' ]
client_ip: { trusted_proxies: [ 10.0.0.9 ] }
upstreams: { app: { endpoints: [ 'http://10.0.0.1:80' ] } }
zones: { all: { key: global, rate: 1r/d } }
routes:
- { path: /office, upstream: app, access: { allow: [ 192.0.2.0/24, '2001:db8::/32' ], deny: [ 192.0.2.66 ] } }
- { path: /office/open, upstream: app }
- { path: /limited, upstream: app, access: { deny: [ 192.0.2.66 ] }, limits: [ { zone: all, burst: 1, nodelay: true } ] }
- { path: /, upstream: app }
";

/// Everything that comes back for a GET from this address.
async fn get_from(edge: &Rc<Edge>, from: &str, path: &str, fields: &str) -> String {
    let mut client = edge.connect_from(from);
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an open pipe");
    response
}

async fn status_from(edge: &Rc<Edge>, from: &str, path: &str) -> u16 {
    status(&get_from(edge, from, path, "").await)
}

#[tokio::test(start_paused = true)]
async fn access_refuses_networks_with_403() {
    on_edge_of(parsed(GUARDED), |edge| async move {
        for (from, expected) in [
            ("192.0.2.1", 200),
            ("::ffff:192.0.2.1", 200),
            ("192.0.2.66", 403),
            ("198.51.100.1", 403),
            ("2001:db8::1", 200),
            ("2001:db9::1", 403),
        ] {
            assert_eq!(status_from(&edge, from, "/office/x").await, expected, "{from}");
            assert_eq!(status_from(&edge, from, "/").await, 200, "{from}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_judges_client_behind_trusted_proxy() {
    on_edge_of(parsed(GUARDED), |edge| async move {
        let of = |from: &'static str, client: &'static str| {
            let (edge, fields) = (Rc::clone(&edge), format!("x-forwarded-for: {client}\r\n"));
            async move { status(&get_from(&edge, from, "/office", &fields).await) }
        };
        assert_eq!(of("10.0.0.9", "192.0.2.1").await, 200);
        assert_eq!(of("10.0.0.9", "198.51.100.1").await, 403);
        assert_eq!(of("198.51.100.1", "192.0.2.1").await, 403, "a stranger may claim anything");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_denied_client_spends_nothing_and_is_logged() {
    on_edge_of(parsed(GUARDED), |edge| async move {
        for _ in 0..5 {
            let response = get_from(&edge, "192.0.2.66", "/limited", "").await;
            assert_eq!(status(&response), 403);
            assert!(response.contains("proxy-status: weir; error=http_request_denied"));
            let line = edge.line().await;
            assert_eq!((&line["status"], &line["route"]), (&403.into(), &"/limited".into()));
            assert_eq!(line["error"]["kind"], "http_request_denied");
            assert!(line.get("limit").is_none(), "{line}");
            // Malformed, and no limit is asked either.
            let malformed = get_from(&edge, "192.0.2.66", "/limited", "a b: c\r\n").await;
            assert_eq!(status(&malformed), 400);
            edge.line().await;
        }
        let statuses = [
            status_from(&edge, "192.0.2.1", "/limited").await,
            status_from(&edge, "192.0.2.1", "/limited").await,
            status_from(&edge, "192.0.2.1", "/limited").await,
        ];
        assert_eq!(statuses, [200, 200, 503]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_holds_for_every_spelling_of_a_path() {
    on_edge_of(parsed(GUARDED), |edge| async move {
        for path in [
            "/office",
            "//office/",
            "/%6fffice",
            "/x/../office",
            "/./office/x",
            "/office;a=b/x",
            "/office/open/%2e%2e/x",
            "/office/open/..%2fx",
            "/office/open/../x",
            "/x%2f..%2foffice",
            "/open/..;/office/x",
            "\\office",
        ] {
            let got = status_from(&edge, "198.51.100.1", path).await;
            assert!(matches!(got, 400 | 403), "{path}: {got}");
        }
        assert!(edge.seen.borrow().is_empty(), "{:?}", edge.seen.borrow());
        assert_eq!(status_from(&edge, "198.51.100.1", "/office/open").await, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_refusal_keeps_connection_and_covers_http2() {
    on_edge_of(parsed(GUARDED), |edge| async move {
        let mut client = edge.connect_from("198.51.100.1");
        let twice = "GET /office HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(twice.as_bytes()).await.expect("an open pipe");
        let mut responses = String::new();
        client.read_to_string(&mut responses).await.expect("an open pipe");
        assert_eq!(responses.matches("HTTP/1.1 ").count(), 2, "{responses}");
        let mut client = http2::over(edge.connect_from("198.51.100.1")).await;
        let response = client.send_request(http2::get("/office")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let grpc = Request::post("http://a/office").header("content-type", "application/grpc");
        let grpc = grpc.body(Full::default()).expect("a request");
        let response = client.send_request(grpc).await.expect("a response");
        assert_eq!(response.headers()["grpc-status"], "7");
        assert_eq!(edge.seen.borrow().len(), 1);
    })
    .await;
}
