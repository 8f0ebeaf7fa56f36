//! Users with passwords: who gets in, what a refused request costs, and what is forwarded.

use std::{fs, rc::Rc};

use http::{Request, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::config::{Config, parse};

use crate::{
    harness::{Edge, on_edge_of, parsed, status},
    http2,
};

/// `ada` with `secret`, and `bob` with `open sesame`.
const USERS: &str = "# ours
ada:$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/
bob:$2y$04$IY4KiLH3vx8WvOSKOrJmZOZ8DSyIZrDk2LcY794Nhnb0K1nzBgA0C
";
const ADA: &str = "authorization: Basic YWRhOnNlY3JldA==\r\n";
const BOB: &str = "authorization: basic Ym9iOm9wZW4gc2VzYW1l\r\n";
/// `ada` with `Secret`.
const WRONG: &str = "authorization: Basic YWRhOlNlY3JldA==\r\n";
/// `eve` with `secret`.
const UNKNOWN: &str = "authorization: Basic ZXZlOnNlY3JldA==\r\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("users"), USERS).expect("a file");
    folder
}

/// Routes with these users; the file stays only while the configuration is read.
fn guarded() -> Config {
    let folder = folder();
    let file = folder.path().join("users");
    let users = format!("basic_auth: {{ file: '{}', realm: 'The \"shop\"' }}", file.display());
    parsed(&format!(
        "listeners: [ ':1' ]
upstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}
zones: {{ guesses: {{ key: client_ip, rate: 1r/d }} }}
routes:
- {{ path: /, upstream: app, {users} }}
- {{ path: /limited, upstream: app, {users}, limits: [ {{ zone: guesses, burst: 1, nodelay: true }} ] }}
- {{ path: /either, upstream: app, {users}, access: {{ allow: [ 198.51.100.0/24 ], deny: [ 198.51.100.66 ], satisfy: any }} }}
- {{ path: /both, upstream: app, {users}, access: {{ allow: [ 198.51.100.0/24 ] }} }}
- {{ path: /named, upstream: app, {users}, request: {{ headers: {{ set: {{ x-user: '{{user}}' }} }} }} }}
- {{ path: /open, upstream: app, request: {{ headers: {{ set: {{ x-user: '{{user}}' }} }} }} }}
"
    ))
}

async fn exchange(edge: &Edge, from: &str, line: &str, fields: &str) -> String {
    let mut client = edge.connect_from(from);
    let request = format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an open pipe");
    response
}

async fn get(edge: &Edge, path: &str, fields: &str) -> u16 {
    status(&exchange(edge, "192.0.2.1", &format!("GET {path}"), fields).await)
}

#[tokio::test(start_paused = true)]
async fn basic_auth_lets_users_in_and_forwards_their_field() {
    on_edge_of(guarded(), |edge| async move {
        for (fields, user) in [(ADA, "ada"), (BOB, "bob"), (ADA, "ada")] {
            assert_eq!(get(&edge, "/", fields).await, 200, "{fields}");
            assert_eq!(edge.line().await["auth"]["user"], user);
            let seen = edge.seen.borrow().last().expect("a request").headers.clone();
            assert!(fields.contains(seen["authorization"].to_str().expect("text")));
        }
        let named = ["x-user: root\r\n", ADA].concat();
        assert_eq!(get(&edge, "/named", &named).await, 200);
        assert_eq!(edge.seen.borrow()[3].headers["x-user"], "ada");
        assert_eq!(get(&edge, "/open", &["x-user: root\r\n", WRONG].concat()).await, 200);
        assert!(!edge.seen.borrow()[4].headers.contains_key("x-user"), "nobody was verified");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_refuses_everyone_else_with_401() {
    on_edge_of(guarded(), |edge| async move {
        for fields in [
            "",
            WRONG,
            UNKNOWN,
            "authorization: Bearer YWRhOnNlY3JldA==\r\n",
            "authorization: Basic YWRhOnNlY3JldA\r\n",
            "proxy-authorization: Basic YWRhOnNlY3JldA==\r\n",
        ] {
            let response = exchange(&edge, "192.0.2.1", "GET /x", fields).await;
            assert_eq!(status(&response), 401, "{fields}");
            let challenge =
                "www-authenticate: Basic realm=\"The \\\"shop\\\"\", charset=\"UTF-8\"\r\n";
            assert!(response.contains(challenge), "{response}");
            let line = edge.line().await;
            assert_eq!(line["error"]["kind"], "http_request_denied");
            assert!(line.get("auth").is_none(), "{line}");
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_refuses_two_fields() {
    on_edge_of(guarded(), |edge| async move {
        for fields in [[ADA, ADA], [ADA, WRONG], [WRONG, ADA]] {
            assert_eq!(get(&edge, "/", &fields.concat()).await, 400);
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_guesses_are_limited() {
    on_edge_of(guarded(), |edge| async move {
        let mut statuses = Vec::new();
        for fields in [WRONG, UNKNOWN, WRONG, ADA] {
            statuses.push(get(&edge, "/limited", fields).await);
        }
        assert_eq!(statuses, [401, 401, 503, 503]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_comes_before_100_continue() {
    on_edge_of(guarded(), |edge| async move {
        let expects = "content-length: 2\r\nexpect: 100-continue\r\n";
        let refused = exchange(&edge, "192.0.2.1", "POST /", &[WRONG, expects].concat()).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        let mut client = edge.connect();
        let request =
            format!("POST / HTTP/1.1\r\nhost: a\r\n{ADA}{expects}connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("an open pipe");
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.expect("an interim response");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hi").await.expect("an open pipe");
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("an open pipe");
        assert_eq!((status(&response), &*edge.seen.borrow()[0].body), (200, &b"hi"[..]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_beside_networks() {
    on_edge_of(guarded(), |edge| async move {
        for (path, from, fields, expected) in [
            ("/either", "198.51.100.1", "", 200),
            ("/either", "198.51.100.1", WRONG, 200),
            ("/either", "198.51.100.66", ADA, 403),
            ("/either", "192.0.2.1", "", 401),
            ("/either", "192.0.2.1", ADA, 200),
            ("/both", "198.51.100.1", "", 401),
            ("/both", "198.51.100.1", ADA, 200),
            ("/both", "192.0.2.1", ADA, 403),
        ] {
            let got = status(&exchange(&edge, from, &format!("GET {path}"), fields).await);
            assert_eq!(got, expected, "{path} {from} {fields}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_holds_for_every_spelling_of_a_path() {
    on_edge_of(guarded(), |edge| async move {
        for path in
            ["/open/../x", "/x/../limited", "/open/%2e%2e/x", "/open/..;/x", "/open%2f..%2fx"]
        {
            let got = get(&edge, path, "").await;
            assert!(matches!(got, 400 | 401), "{path}: {got}");
        }
        assert!(edge.seen.borrow().is_empty(), "{:?}", edge.seen.borrow());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_auth_over_http2_and_for_grpc() {
    on_edge_of(guarded(), |edge| async move {
        let mut client = http2::client(&edge).await;
        let response = client.send_request(http2::get("/")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key("www-authenticate"));
        let with = |path: &str, media: &str| {
            Request::post(format!("http://a{path}"))
                .header("authorization", "Basic YWRhOnNlY3JldA==")
                .header("content-type", media)
                .body(Full::default())
                .expect("a request")
        };
        let response = client.send_request(with("/", "text/plain")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let mut grpc = with("/", "application/grpc");
        grpc.headers_mut().remove("authorization");
        let response = client.send_request(grpc).await.expect("a response");
        assert_eq!(
            (response.status(), &response.headers()["grpc-status"]),
            (StatusCode::OK, &"16".parse().expect("a value"))
        );
    })
    .await;
}

/// More than a worker verifies at a time and lets wait: the rest gets 503, and no one is let in.
#[tokio::test(start_paused = true)]
async fn basic_auth_overload_is_503() {
    on_edge_of(guarded(), |edge| async move {
        let asking: Vec<_> = (0..60)
            .map(|_| {
                let edge = Rc::clone(&edge);
                tokio::task::spawn_local(async move {
                    exchange(&edge, "192.0.2.1", "GET /", WRONG).await
                })
            })
            .collect();
        let mut busy = 0;
        for one in asking {
            let response = one.await.expect("no panic");
            match status(&response) {
                503 => {
                    assert!(response.contains("retry-after: 1\r\n"), "{response}");
                    busy += 1;
                }
                other => assert_eq!(other, 401),
            }
        }
        assert!((1..=27).contains(&busy), "{busy}");
        assert_eq!(get(&edge, "/", ADA).await, 200);
    })
    .await;
}

#[test]
fn basic_auth_wrong_file_is_refused_without_showing_passwords() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users");
    for (users, expected) in [
        ("ada:hunter2\n", "line 1: user `ada`: the password is plain text or a hash of crypt(3)"),
        ("\nada:{SHA}hunter2=\n", "line 2: user `ada`: `{SHA}` and the like"),
        ("ada hunter2", "line 1: not `user:hash`"),
        ("ada:$2y$20$hunter2uuuuuuuuuuuuuuu", "user `ada`: the hash is not complete"),
    ] {
        fs::write(&file, users).expect("a file");
        let text = format!(
            "listeners: [ ':1' ]\nroutes: [ {{ path: /, upstream: 'http://a:1', basic_auth: {{ file: '{}' }} }} ]\n",
            file.display()
        );
        let problems = parse("test.yaml", &text, &[]).expect_err("a wrong file").to_string();
        assert!(problems.contains(expected), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}
