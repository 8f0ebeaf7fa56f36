//! Requests that a route takes: lists of hosts and paths, expressions, endings.

use std::rc::Rc;

use weir::config::Config;

use crate::harness::{Edge, on_edge_of, parsed};

/// Routes that respond with their status, a line each: its pattern.
fn routes(patterns: &[(&str, u16)]) -> Config {
    let line = |(pattern, status): &(&str, u16)| {
        format!("- {{ {pattern}, respond: {{ status: {status} }} }}\n")
    };
    let lines: String = patterns.iter().map(line).collect();
    parsed(&format!("listeners: [ ':1' ]\nroutes:\n{lines}"))
}

/// Status of a GET of this host and path.
async fn get(edge: &Rc<Edge>, host: &str, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    crate::harness::status(&edge.exchange(&request).await)
}

#[tokio::test(start_paused = true)]
async fn route_takes_each_of_its_hosts_and_paths() {
    let config = routes(&[
        ("hosts: [ a.test, '*.b.test' ], paths: [ /x, /y ]", 201),
        ("hosts: [ c.test ], path: /", 202),
    ]);
    on_edge_of(config, |edge| async move {
        for (host, path, expected) in [
            ("a.test", "/x", 201),
            ("a.test", "/y/z", 201),
            ("A.test:80", "/%79", 201),
            ("w.b.test", "/x/", 201),
            ("b.test", "/x", 404),
            ("a.test", "/xy", 404),
            ("c.test", "/x", 202),
        ] {
            assert_eq!(get(&edge, host, path).await, expected, "{host}{path}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn route_by_regex_sees_the_normal_form() {
    let config = routes(&[
        ("path: /", 200),
        ("path: /static, over_regex: true", 201),
        ("path_regex: '\\.php$'", 202),
        ("path_suffix: [ .css, .js ]", 203),
        ("path_regex: '(?i)^/img/.*\\.(png|jpg)$'", 204),
        ("path_exact: /index.php", 205),
        ("path_regex: '^/u/[0-9]+$'", 206),
    ]);
    on_edge_of(config, |edge| async move {
        for (path, expected) in [
            ("/a.php", 202),
            ("/a.php/", 200),
            ("/a.ph%70", 202),
            ("/a.php?x=.css", 202),
            ("/x/../a.php", 202),
            ("/index.php", 205),
            ("/static/a.php", 201),
            ("/static/../a.php", 400),
            ("/a.css", 203),
            ("/a.CSS", 200),
            ("/IMG/a.PNG", 204),
            ("/u/12", 206),
            ("/u/12a", 200),
        ] {
            assert_eq!(get(&edge, "a", path).await, expected, "{path}");
        }
    })
    .await;
}

/// A request that a route refuses reaches no upstream in another spelling of a path below it.
#[tokio::test(start_paused = true)]
async fn route_that_refuses_guards_as_a_limit_does() {
    let config = routes(&[("path: /", 403), ("path: /open", 200)]);
    on_edge_of(config, |edge| async move {
        for (path, expected) in [
            ("/open/x", 200),
            ("/open/a%2Fb", 200),
            ("/%6fpen", 400),
            ("/secret/../open", 400),
            ("/secret/..%2fopen", 400),
            ("/%73ecret", 403),
        ] {
            assert_eq!(get(&edge, "a", path).await, expected, "{path}");
        }
    })
    .await;
}

/// A path that a server may read in another way is refused where another route would take it then.
#[tokio::test(start_paused = true)]
async fn route_by_regex_is_not_slipped_past_by_a_second_reading() {
    let config =
        routes(&[("path: /", 200), ("path_regex: '^/admin'", 403), ("path_suffix: [ .css ]", 203)]);
    on_edge_of(config, |edge| async move {
        for path in [
            "/admin;x.css",
            "/x/..;/admin",
            "//admin",
            "/a.css;/../admin",
            "/x%2f..%2fadmin",
            "/admin%5c..%5ca.css",
        ] {
            let status = get(&edge, "a", path).await;
            assert!([400, 403].contains(&status), "{path}: {status}");
        }
    })
    .await;
}
