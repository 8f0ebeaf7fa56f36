//! Actions that need no upstream: redirects, responses of weir's own, closed connections.

use std::rc::Rc;

use weir::config::{Config, parse};

use crate::{
    harness::{Edge, on_edge_of, parsed, status},
    http2,
};

/// Routes, and zones with one request a second for each client.
fn routes(routes: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nzones: {{ z: {{ key: client_ip, rate: 1r/s }} }}\nroutes:\n{routes}\n"
    ))
}

/// Response to a request on a connection of its own.
async fn ask(edge: &Rc<Edge>, line: &str) -> String {
    edge.exchange(&format!("{line} HTTP/1.1\r\nhost: A.test:80\r\nconnection: close\r\n\r\n")).await
}

/// Value of a field of a raw response.
fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test(start_paused = true)]
async fn redirect_keeps_path_and_query_as_received() {
    let config = routes("- { path: /, redirect: { to: 'https://{host}{path}{query}' } }");
    on_edge_of(config, |edge| async move {
        for (target, location) in [
            ("/a/b?x=1&y", "https://a.test/a/b?x=1&y"),
            ("/%61//b%2Fc", "https://a.test/%61//b%2Fc"),
            ("/", "https://a.test/"),
            ("/?", "https://a.test/?"),
        ] {
            let response = ask(&edge, &format!("GET {target}")).await;
            assert_eq!((status(&response), field(&response, "location")), (308, Some(location)));
        }
        let mut client = http2::client(&edge).await;
        let response = client.send_request(http2::get("/x?y")).await.expect("a response");
        assert_eq!(
            (response.status().as_u16(), response.headers()["location"].as_bytes()),
            (308, &b"https://a.test/x?y"[..])
        );
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[test]
fn redirect_never_leads_to_a_host_of_the_path() {
    let with = |to: &str| {
        let route = format!("{{ path: /, redirect: {{ to: '{to}', status: 302 }} }}");
        parse("test", &format!("listeners: [ ':1' ]\nroutes: [ {route} ]"), &[]).is_ok()
    };
    for to in [
        "{path}",
        "/{path}",
        "//{host}/",
        "https://{path}",
        "https://",
        "https:///x",
        "x",
        "{query}",
    ] {
        assert!(!with(to), "{to}");
    }
    for to in
        ["/new", "/new{path}", "https://a{path}", "{scheme}://{host}:8443{path}", "http://[::1]/"]
    {
        assert!(with(to), "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn respond_sends_status_body_and_headers() {
    let config = routes(
        "- { path_exact: /health, respond: { status: 200, body: ok, headers: { x-for: '{client_ip}' } } }\n\
         - { path: /gone, respond: { status: 410 }, response: { headers: { set: { x-edit: '1' } } } }\n\
         - { path: /none, respond: { status: 204 } }",
    );
    on_edge_of(config, |edge| async move {
        let response = ask(&edge, "GET /health").await;
        assert_eq!(status(&response), 200);
        assert_eq!(field(&response, "content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(field(&response, "x-for"), Some("192.0.2.1"));
        assert!(
            response.ends_with("\r\n\r\nok") && field(&response, "content-length") == Some("2")
        );
        let response = ask(&edge, "HEAD /health").await;
        assert!(response.ends_with("\r\n\r\n") && field(&response, "content-length") == Some("2"));
        let response = ask(&edge, "POST /gone").await;
        assert_eq!((status(&response), field(&response, "x-edit")), (410, Some("1")));
        let response = ask(&edge, "GET /none").await;
        assert_eq!((status(&response), field(&response, "content-length")), (204, None));
        assert_eq!(status(&ask(&edge, "GET /other").await), 404);
        let line = edge.line().await;
        assert!(line["status"] == 200 && line["upstream"].is_null(), "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn respond_to_an_unread_body_leaves_the_connection_whole() {
    let config = routes("- { path: /, respond: { status: 200, body: ok } }");
    on_edge_of(config, |edge| async move {
        let first = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
        let second = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let responses = edge.exchange(&format!("{first}{second}")).await;
        assert_eq!(responses.matches("HTTP/1.1 200").count(), 2, "{responses}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limit_comes_before_every_action() {
    for action in ["respond: { status: 200 }", "redirect: { to: /x }", "close: true"] {
        let config = routes(&format!("- {{ path: /, {action}, limits: [ {{ zone: z }} ] }}"));
        on_edge_of(config, |edge| async move {
            ask(&edge, "GET /").await;
            assert_eq!(status(&ask(&edge, "GET /").await), 503, "{action}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_connection_without_a_response() {
    let config = routes("- { path: /, close: true }");
    on_edge_of(config, |edge| async move {
        assert_eq!(ask(&edge, "GET /").await, "");
        let line = edge.line().await;
        assert_eq!(line["status"], 444, "{line}");
        let mut client = http2::client(&edge).await;
        let ended = client.send_request(http2::get("/")).await;
        assert!(ended.is_err(), "{ended:?}");
    })
    .await;
}
