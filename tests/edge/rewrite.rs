//! Rewriting: the path that reaches the upstream, and the way back in responses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::config::Config;

use crate::harness::{on_edge_of, on_raw_edge, parsed, status};

/// One route with this pattern and this rewriting, to 10.0.0.1.
fn route(pattern: &str, rewrite: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nupstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         routes:\n- {{ {pattern}, upstream: app, rewrite: {{ {rewrite} }} }}\n- {{ path: /, respond: {{ status: 404 }} }}\n"
    ))
}

/// Targets that reach the upstream for these of clients; the status where none does.
async fn forwarded(config: Config, targets: &[&str]) -> Vec<String> {
    let (send, receive) = std::sync::mpsc::channel();
    let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
    on_edge_of(config, |edge| async move {
        for target in targets {
            let before = edge.seen.borrow().len();
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let response = edge.exchange(&request).await;
            let seen = edge.seen.borrow().get(before).map(|seen| seen.target.clone());
            send.send(seen.unwrap_or_else(|| status(&response).to_string())).expect("a channel");
        }
    })
    .await;
    receive.try_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn rewrite_strips_and_adds_a_prefix_of_whole_segments() {
    let config = || route("path: /api", "strip_prefix: /api");
    let targets =
        ["/api", "/api?x", "/api/", "/api/x/y?q=/api", "/apiary", "/%61pi/x", "/api/a%2Fb;v=1"];
    assert_eq!(
        forwarded(config(), &targets).await,
        ["/", "/?x", "/", "/x/y?q=/api", "404", "400", "/a%2Fb;v=1"]
    );
    let both = route("path: /api", "strip_prefix: /api/, add_prefix: /v1/");
    assert_eq!(forwarded(both, &["/api", "/api/x", "/api/x/"]).await, ["/v1", "/v1/x", "/v1/x/"]);
    let added = route("path: /", "add_prefix: /tenant");
    assert_eq!(
        forwarded(added, &["/", "/x?y", "/%7Ea"]).await,
        ["/tenant/", "/tenant/x?y", "/tenant/%7Ea"]
    );
}

#[tokio::test(start_paused = true)]
async fn rewrite_never_climbs_out_of_the_added_prefix() {
    let targets = [
        "/..",
        "/a/../..",
        "/%2e%2e/x",
        "/a/..;/../x",
        "/..%2fx",
        "/..%5cx",
        "/a%5c..%5c..%5cx",
        "/..;/x",
        "/a/..%3b/x",
        "/x/%2e%2e%5cy",
        "//a/..//x",
        "//evil.test/x",
        "/%2f/evil.test",
        "/a/..%5c..%5cb/../x",
    ];
    let config = route("path: /", "add_prefix: /tenant");
    for (target, seen) in targets.iter().zip(forwarded(config, &targets).await) {
        let plain = seen.to_lowercase().replace("%2e", ".").replace("%5c", "/").replace("%2f", "/");
        let climbs = plain.split('/').any(|segment| segment.split(';').next() == Some(".."));
        assert!(
            seen == "400" || (seen.starts_with("/tenant") && !climbs),
            "{target} became {seen}"
        );
    }
    let stripped = route("path: /api", "strip_prefix: /api");
    for (target, seen) in targets
        .iter()
        .zip(forwarded(stripped, &["/api//evil.test/x", "/api/%2Fevil", "/api/..%5c"]).await)
    {
        assert!(!seen.starts_with("//") && !seen.contains(".."), "{target} became {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn rewrite_by_regex_replaces_the_whole_path() {
    let config =
        route("path: /", r#"regex: "^/u/([^/]+)/(?P<tab>.*)$", to: "/user?id={1}&tab={tab}""#);
    let targets = ["/u/7/x", "/u/a&admin=1/x?y=2", "/other?z", "/u/%37/a+b"];
    assert_eq!(
        forwarded(config, &targets).await,
        ["/user?id=7&tab=x", "/user?id=a%26admin=1&tab=x&y=2", "/other?z", "/user?id=7&tab=a%2Bb"]
    );
    let dropped = route("path: /", "regex: ^/old/(.*)$, to: '/new/{1}?'");
    assert_eq!(forwarded(dropped, &["/old/x?y", "/new?y"]).await, ["/new/x", "/new?y"]);
    let dots = route("path: /", "regex: ^/f(.*)$, to: '/files/{1}'");
    assert_eq!(forwarded(dots, &["/fx", "/f..", "/f..%5cx"]).await, ["/files/x", "400", "400"]);
}

#[tokio::test(start_paused = true)]
async fn rewrite_gives_responses_the_way_back() {
    let config = route("path: /api", "strip_prefix: /api, add_prefix: /v1, responses: true");
    for (said, told) in [
        ("location: /v1/x?y#z", "location: /api/x?y#z"),
        ("location: http://10.0.0.1:80/v1/x", "location: /api/x"),
        ("location: http://10.0.0.1", "location: http://10.0.0.1"),
        ("location: https://A/v1", "location: https://A/api"),
        ("location: https://other.test/v1/x", "location: https://other.test/v1/x"),
        ("location: //a/v1/x", "location: //a/v1/x"),
        ("location: x", "location: x"),
        ("location: /v10", "location: /v10"),
        ("set-cookie: sid=1; Path=/v1/; HttpOnly", "set-cookie: sid=1; Path=/api; HttpOnly"),
        ("set-cookie: path=/v1; Domain=10.0.0.1; Secure", "set-cookie: path=/v1; Secure"),
        ("set-cookie: a=1; path=/x", "set-cookie: a=1; path=/x"),
    ] {
        on_raw_edge(config.clone(), |edge, mut pipes| async move {
            let mut client = edge.connect();
            let request = b"GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.expect("an open pipe");
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut head = [0; 1024];
            let read = upstream.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"GET /v1/x HTTP/1.1"));
            let response = format!("HTTP/1.1 302 Found\r\n{said}\r\ncontent-length: 0\r\n\r\n");
            upstream.write_all(response.as_bytes()).await.expect("an open pipe");
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("a response");
            assert!(
                text.lines().any(|line| line.eq_ignore_ascii_case(told)),
                "{said} became {text}"
            );
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn rewrite_changes_the_path_of_a_redirect() {
    let config = parsed(
        "listeners: [ ':1' ]\nroutes: [ { path: /old, redirect: { to: 'https://b.test{path}{query}' }, \
         rewrite: { strip_prefix: /old, add_prefix: /new } } ]",
    );
    on_edge_of(config, |edge| async move {
        let request = "GET /old/x?y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let response = edge.exchange(request).await;
        assert!(response.contains("\r\nlocation: https://b.test/new/x?y\r\n"), "{response}");
    })
    .await;
}
