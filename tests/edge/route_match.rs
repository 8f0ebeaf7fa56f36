//! Routes with `match`: the requests they take, those that fall through, and what a client cannot do
//! about them.

use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use weir::config::Config;

use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    harness::{Edge, on_edge_of, parsed, status},
};

/// Routes that respond with their status, a line each.
fn routes(lines: &[(&str, u16)]) -> Config {
    let line = |(route, status): &(&str, u16)| {
        format!("- {{ {route}, respond: {{ status: {status} }} }}\n")
    };
    let lines: String = lines.iter().map(line).collect();
    parsed(&format!(
        "listeners: [ ':1' ]\nclient_ip: {{ trusted_proxies: [ 192.0.2.1 ] }}\n\
         zones: {{ z: {{ key: global, rate: 1r/h }} }}\nroutes:\n{lines}"
    ))
}

/// Status of a GET of a target with these header lines.
async fn get(edge: &Rc<Edge>, target: &str, fields: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    status(&edge.exchange(&request).await)
}

#[tokio::test(start_paused = true)]
async fn match_chooses_among_routes_of_one_path_in_file_order() {
    let config = routes(&[
        ("path: /, match: { headers: { x-plan: gold } }", 201),
        ("path: /, match: { cookies: { canary: true } }", 202),
        ("path: /, match: { query: { v: '2*' } }", 203),
        ("path: /, match: { clients: [ 198.51.100.0/24 ] }", 204),
        ("path: /", 200),
    ]);
    on_edge_of(config, |edge| async move {
        for (target, fields, expected) in [
            ("/", "", 200),
            ("/x", "x-plan: gold\r\n", 201),
            ("/", "x-plan: silver\r\n", 200),
            ("/", "cookie: a=b; canary=\r\n", 202),
            ("/?a=1&%76=%32.1", "", 203),
            ("/?v=1", "", 200),
            ("/", "x-forwarded-for: 198.51.100.7\r\n", 204),
            ("/", "x-forwarded-for: 198.51.101.7\r\n", 200),
            ("/?v=2", "x-plan: gold\r\ncookie: canary=1\r\n", 201),
            ("/?v=2", "cookie: canary=1\r\n", 202),
        ] {
            assert_eq!(get(&edge, target, fields).await, expected, "{target} {fields:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn match_that_fails_falls_through_to_a_less_specific_route() {
    let config = routes(&[
        ("path: /", 200),
        ("host: a, path: /api, match: { headers: { x-a: true } }", 201),
        ("path: /api", 202),
        ("path_regex: 'y$', match: { headers: { x-a: true } }", 203),
        ("path_exact: /api/y, match: { headers: { x-b: true } }", 204),
        ("host: a, path: /post, match: { headers: { x-a: true } }, methods: [ POST ]", 205),
        ("host: b, path: /alone, match: { headers: { x-a: true } }", 206),
    ]);
    on_edge_of(config, |edge| async move {
        for (target, fields, expected) in [
            ("/api", "x-a: 1\r\n", 201),
            ("/api", "", 202),
            ("/api/y", "x-b: 1\r\n", 204),
            ("/api/y", "x-a: 1\r\n", 201),
            ("/y", "x-a: 1\r\n", 203),
            ("/y", "", 200),
            ("/post", "x-a: 1\r\n", 200),
        ] {
            assert_eq!(get(&edge, target, fields).await, expected, "{target} {fields:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn match_without_another_route_is_404_and_a_method_is_405_only_where_it_holds() {
    let config = routes(&[
        ("path: /a, match: { headers: { x-a: true } }, methods: [ POST ]", 200),
        ("path: /a, match: { headers: { x-b: true } }, methods: [ PUT ]", 200),
    ]);
    on_edge_of(config, |edge| async move {
        assert_eq!(get(&edge, "/a", "").await, 404);
        let request = "GET /a HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nconnection: close\r\n\r\n";
        let response = edge.exchange(request).await;
        assert_eq!(status(&response), 405);
        assert!(response.contains("\r\nallow: POST\r\n"), "no method of another one: {response}");
    })
    .await;
}

/// A field with two values could choose the route without a limit here and the other one there.
#[tokio::test(start_paused = true)]
async fn match_in_doubt_is_refused_where_a_limit_could_be_avoided() {
    let limited = "limits: [ { zone: z, burst: 100, nodelay: true } ]";
    let config = routes(&[
        ("path: /free, match: { headers: { x-plan: gold } }", 201),
        (&format!("path: /free, {limited}"), 202),
        (&format!("path: /strict, match: {{ query: {{ q: all }} }}, {limited}"), 203),
        ("path: /strict", 204),
        (&format!("path: /both, match: {{ cookies: {{ c: a }} }}, {limited}"), 205),
        (&format!("path: /both, {limited}"), 206),
        ("path: /three, match: { headers: { x-plan: gold } }", 207),
        (&format!("path: /three, match: {{ headers: {{ x-plan: free }} }}, {limited}"), 208),
        ("path: /three", 209),
    ]);
    on_edge_of(config, |edge| async move {
        let two = "x-plan: gold\r\nx-plan: free\r\n";
        for (target, fields, expected) in [
            ("/free", "x-plan: gold\r\n", 201),
            ("/free", two, 400),
            ("/free", "x-plan: gold\r\nx-plan: gold\r\n", 201),
            ("/strict?q=all&q=none", "", 203),
            ("/strict?q=none", "", 204),
            ("/both", "cookie: c=a; c=b\r\n", 205),
            ("/both", "cookie: c=a\r\ncookie: c=b\r\n", 205),
            ("/three", two, 400),
            ("/three", "x-plan: gold\r\nx-plan: other\r\n", 207),
        ] {
            assert_eq!(get(&edge, target, fields).await, expected, "{target} {fields:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn match_is_not_avoided_by_the_spelling_of_a_field_or_path() {
    let config = routes(&[
        ("path: /a, match: { headers: { x-plan: free } }, limits: [ { zone: z } ]", 201),
        ("path: /a", 202),
        ("path: /b", 203),
    ]);
    on_edge_of(config, |edge| async move {
        for (target, fields, expected) in [
            ("/%61", "X-PLAN:  free \r\n", 201),
            ("/a", "x-plan: free\r\n", 503),
            ("/a", "x_plan: free\r\n", 400),
            ("/a", "x.plan: free\r\n", 400),
            ("/a", "x-plan: free\r\nconnection: x-plan\r\n", 400),
            ("/a", "x-plan: gold\r\nx-plan: free\r\n", 503),
            ("/b", "x_plan: free\r\n", 203),
            ("/b/../%61", "x-plan: free\r\n", 400),
            ("/a", "", 202),
        ] {
            assert_eq!(get(&edge, target, fields).await, expected, "{target} {fields:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn match_holds_over_http_2_as_over_http_1() {
    let config = parsed(
        "listeners: [ ':1' ]\nroutes:\n\
         - { path: /, match: { headers: { host: h.test, x-a: '1' }, cookies: { c: '2' } },\
         upstream: 'http://10.0.0.1:80' }\n\
         - { path: /, close: true }\n",
    );
    on_edge_of(config, |edge| async move {
        let get =
            [(":method", "GET"), (":scheme", "http"), (":authority", "H.test:80"), (":path", "/")];
        let ask = |stream, more: &[(&str, &str)]| {
            let fields = frames::fields(&[&get[..], more].concat());
            frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
        };
        let mut client = edge.connect();
        let asked = [
            frames::hello(&[]),
            ask(1, &[("x-a", "1"), ("cookie", "b=1"), ("cookie", "c=2")]),
            ask(3, &[("x-a", "1"), ("cookie", "c=3")]),
            ask(5, &[("x-a", "1")]),
            ask(7, &[("x_a", "1"), ("cookie", "c=2")]),
        ];
        client.write_all(&asked.concat()).await.expect("an open pipe");
        frames::until(&mut client, HEADERS).await.expect("a response");
        assert_eq!(edge.seen.borrow().len(), 1, "the others were closed or refused");
    })
    .await;
}
