//! Forward authentication: what the service is asked, what its verdicts do, and what becomes of
//! requests when it is slow, dead or wrong.

use std::{cell::RefCell, rc::Rc};

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Duration, sleep},
};
use weir::config::Config;

use crate::{
    harness::{Edge, Pipes, address, on_raw_edge, parsed, status},
    http2,
};

const GUARDED: &str = "
listeners: [ ':1' ]
client_ip: { trusted_proxies: [ 10.0.0.9 ] }
upstreams:
  app: { endpoints: [ 'http://10.0.0.1:80' ], health: { passive: { failures: 0 } } }
  auth:
    endpoints: [ 'http://10.0.0.2:80' ]
    health: { passive: { failures: 0 } }
    timeouts: { first_byte: 1s }
zones: { guesses: { key: client_ip, rate: 1r/d } }
routes:
- { path: /, upstream: app, auth: { url: 'http://10.0.0.2/verify?role=admin', pass: [ remote-user, x.team ] } }
- { path: /named, upstream: app, auth: { upstream: auth, path: /check, credentials: [ x-api-key ], pass: [ x-user ] } }
- { path: /cached, upstream: app, auth: { upstream: auth, path: /verify, pass: [ remote-user ], cache: 5s } }
- { path: /limited, upstream: app, auth: { upstream: auth, path: / }, limits: [ { zone: guesses, burst: 0 } ] }
- { path: /open, upstream: app }
";

const YES: &str =
    "HTTP/1.1 204 No Content\r\nremote-user: ada\r\nx.team: a\r\nx.team: b\r\nx-user: eve\r\n\r\n";
const NO: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\nset-cookie: a=1\r\ncontent-length: 5\r\n\r\nlogin";
const COOKIE: &str = "cookie: sid=1\r\n";

/// Both servers, played by hand: 10.0.0.2 gives the verdict, and 10.0.0.1 says `ok`.
#[derive(Default)]
struct Play {
    asked: RefCell<Vec<String>>,
    seen: RefCell<Vec<String>>,
    verdict: RefCell<String>,
}

impl Play {
    fn says(&self, verdict: &str) {
        verdict.clone_into(&mut self.verdict.borrow_mut());
    }

    /// Number of questions so far.
    fn questions(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Last request that was forwarded.
    fn last(&self) -> String {
        self.seen.borrow().last().cloned().expect("a forwarded request")
    }

    async fn serve(self: Rc<Self>, mut pipe: DuplexStream, is_auth: bool) {
        while let Some(request) = read(&mut pipe).await {
            if is_auth {
                self.asked.borrow_mut().push(request);
                let verdict = self.verdict.borrow().clone();
                if pipe.write_all(verdict.as_bytes()).await.is_err() {
                    return;
                }
            } else {
                let is_upgrade = request.contains("upgrade: websocket");
                self.seen.borrow_mut().push(request);
                let response = match is_upgrade {
                    true => {
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                    }
                    false => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                };
                pipe.write_all(response.as_bytes()).await.expect("an open pipe");
            }
        }
    }
}

/// One request with its body, as it came.
async fn read(pipe: &mut DuplexStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let request = String::from_utf8_lossy(&text).into_owned();
        let is_whole = request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .split_once("content-length: ")
                .map_or("0", |(_, rest)| rest.split("\r\n").next().unwrap_or("0"));
            let is_chunked = head.contains("transfer-encoding: chunked");
            if is_chunked { body.ends_with("\r\n\r\n") } else { body.len().to_string() == length }
        });
        if is_whole {
            return Some(request);
        }
        let mut piece = [0; 4096];
        match pipe.read(&mut piece).await {
            Ok(count) if count > 0 => text.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

async fn on_play<F: Future<Output = ()>>(
    verdict: &str,
    test: impl FnOnce(Rc<Edge>, Rc<Play>) -> F,
) {
    on_play_of(parsed(GUARDED), verdict, test).await;
}

async fn on_play_of<F: Future<Output = ()>>(
    config: Config,
    verdict: &str,
    test: impl FnOnce(Rc<Edge>, Rc<Play>) -> F,
) {
    let play = Rc::<Play>::default();
    play.says(verdict);
    on_raw_edge(config, |edge, mut pipes: Pipes| async move {
        let serving = Rc::clone(&play);
        tokio::task::spawn_local(async move {
            while let Some((at, pipe)) = pipes.recv_at().await {
                tokio::task::spawn_local(Rc::clone(&serving).serve(pipe, at == address(2)));
            }
        });
        test(edge, play).await;
    })
    .await;
}

async fn exchange(edge: &Edge, line: &str, fields: &str) -> String {
    edge.exchange(&format!(
        "{line} HTTP/1.1\r\nhost: a.test:8080\r\n{fields}connection: close\r\n\r\n"
    ))
    .await
}

async fn get(edge: &Edge, path: &str, fields: &str) -> u16 {
    status(&exchange(edge, &format!("GET {path}"), fields).await)
}

#[tokio::test(start_paused = true)]
async fn forward_auth_asks_with_the_request_line_and_credentials() {
    on_play(YES, |edge, play| async move {
        let fields = "authorization: Bearer t\r\ncookie: sid=1\r\ncontent-length: 2\r\nx-secret: 1\r\n\
            x-forwarded-for: 6.6.6.6\r\nx-original-url: http://evil/\r\nx-forwarded-uri: /evil\r\n";
        let request = format!(
            "POST /x/%20y?z=1 HTTP/1.1\r\nhost: a.test:8080\r\n{fields}connection: close\r\n\r\nhi"
        );
        assert_eq!(status(&edge.exchange(&request).await), 200);
        let id = edge.line().await["id"].as_str().expect("an id").to_owned();
        let expected = format!(
            "GET /verify?role=admin HTTP/1.1\r\nhost: 10.0.0.2\r\nx-real-ip: 192.0.2.1\r\n\
             x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.test:8080\r\n\
             x-request-id: {id}\r\nvia: 1.1 weir\r\nauthorization: Bearer t\r\ncookie: sid=1\r\n\
             x-forwarded-method: POST\r\nx-forwarded-uri: /x/%20y?z=1\r\nx-original-method: POST\r\n\
             x-original-uri: /x/%20y?z=1\r\nx-original-url: http://a.test:8080/x/%20y?z=1\r\n\r\n"
        );
        assert_eq!(*play.asked.borrow(), [expected]);
        assert!(play.last().starts_with("POST /x/%20y?z=1 ") && play.last().ends_with("\r\n\r\nhi"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_passes_fields_of_the_verdict_and_none_of_the_client() {
    on_play(YES, |edge, play| async move {
        let spoofed = "remote-user: root\r\nRemote_User: root\r\nx-team: root\r\nX.Team: root\r\n\
            x_team: root\r\nx-remote-user: root\r\nx-kept: 1\r\n";
        assert_eq!(get(&edge, "/", spoofed).await, 200);
        let seen = play.last().to_lowercase();
        assert!(!seen.contains("root"), "{seen}");
        assert!(seen.contains("remote-user: ada\r\nx.team: a\r\nx.team: b\r\n"), "{seen}");
        assert!(seen.contains("x-kept: 1\r\n") && !seen.contains("x-user"), "{seen}");
        let line = edge.line().await;
        assert_eq!(
            (&line["auth"]["user"], &line["auth"]["upstream"]["status"]),
            (&"ada".into(), &204.into())
        );
        // Without the field nothing takes its place.
        play.says("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes");
        assert_eq!(get(&edge, "/named", "X-User: root\r\nx_user: root\r\n").await, 200);
        assert!(!play.last().contains("root"), "{}", play.last());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_withholds_trailers_of_its_names() {
    on_play(YES, |edge, play| async move {
        let request = "POST /named HTTP/1.1\r\nhost: a\r\nx-api-key: 1\r\ntransfer-encoding: chunked\r\n\
            trailer: x-user, x-sum\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\nx-user: root\r\nX_User: root\r\nx-sum: 7\r\n\r\n";
        assert_eq!(status(&edge.exchange(request).await), 200);
        let seen = play.last();
        assert!(seen.contains("x-sum: 7") && !seen.contains("root"), "{seen}");
        assert!(seen.contains("x-user: eve\r\n"), "{seen}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_returns_every_3xx_and_4xx_and_503_with_retry_after() {
    on_play(NO, |edge, play| async move {
        for (verdict, part) in [
            (NO, "www-authenticate: Bearer\r\n"),
            ("HTTP/1.1 302 Found\r\nlocation: https://login/\r\ncontent-length: 5\r\n\r\nlogin", "location: https://login/\r\n"),
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nlogin", "403 Forbidden"),
            ("HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 5\r\n\r\nlogin", "retry-after: 7\r\n"),
            ("HTTP/1.1 503 Service Unavailable\r\nretry-after: 9\r\ncontent-length: 5\r\n\r\nlogin", "retry-after: 9\r\n"),
        ] {
            play.says(verdict);
            let response = exchange(&edge, "GET /", "").await;
            assert!(response.starts_with(&verdict[..12]) && response.ends_with("login"), "{response}");
            assert!(response.contains(part), "{response}");
            let line = edge.line().await;
            assert_eq!(line["auth"]["upstream"]["status"], line["status"]);
            assert!(line.get("upstream").is_none() && line.get("error").is_none(), "{line}");
        }
        assert!(exchange(&edge, "HEAD /", "").await.ends_with("\r\n\r\n"));
        assert!(play.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_never_opens_without_a_verdict() {
    on_play(NO, |edge, play| async move {
        let huge =
            format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(100_000));
        for verdict in [
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno",
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nno",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "200 OK\r\n\r\n",
            "ok\n",
            &huge,
        ] {
            play.says(verdict);
            let response = exchange(&edge, "GET /", COOKIE).await;
            assert_eq!(status(&response), 502, "{verdict}");
            assert!(response.contains("proxy-status: weir; error="), "{response}");
            assert_eq!(edge.line().await["error"]["side"], "upstream");
        }
        assert!(play.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_slow_or_dead_service_is_504_or_502() {
    on_play("", |edge, play| async move {
        let start = edge.now();
        assert_eq!(get(&edge, "/named", "").await, 504);
        assert!((1_000..=1_100).contains(&(edge.now() - start)), "{}", edge.now() - start);
        assert_eq!(edge.line().await["error"]["kind"], "connection_read_timeout");
        edge.world.down_are(&[2]);
        assert_eq!(get(&edge, "/named", "").await, 502);
        assert_eq!(edge.line().await["error"]["kind"], "connection_refused");
        assert_eq!(get(&edge, "/open", "").await, 200);
        assert_eq!(play.seen.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_refuses_credentials_that_can_be_read_in_two_ways() {
    on_play(YES, |edge, play| async move {
        for (path, fields) in [
            ("/", "authorization: Bearer a\r\nauthorization: Bearer b\r\n"),
            ("/", "cookie: a=1\r\nconnection: cookie\r\n"),
            ("/named", "x-api-key: 1\r\nx_api_key: 2\r\n"),
            ("/named", "x_api_key: 2\r\n"),
        ] {
            assert_eq!(get(&edge, path, fields).await, 400, "{fields}");
        }
        assert_eq!((play.questions(), play.seen.borrow().len()), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_is_asked_behind_the_limits() {
    on_play(NO, |edge, play| async move {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(get(&edge, "/limited", COOKIE).await);
        }
        assert_eq!((statuses, play.questions()), (vec![401, 503, 503], 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_comes_before_100_continue() {
    on_play(NO, |edge, play| async move {
        let expects = "content-length: 2\r\nexpect: 100-continue\r\n";
        let refused = exchange(&edge, "POST /", expects).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        play.says(YES);
        let mut client = edge.connect();
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{expects}connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("an open pipe");
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.expect("an interim response");
        assert_eq!((&interim, play.questions()), (b"HTTP/1.1 100 Continue\r\n\r\n", 2));
        client.write_all(b"hi").await.expect("an open pipe");
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("an open pipe");
        assert!(status(&response) == 200 && play.last().ends_with("hi"), "{response}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_cache_ends_a_revoked_session_in_time() {
    on_play(YES, |edge, play| async move {
        assert_eq!(get(&edge, "/cached", COOKIE).await, 200);
        play.says(NO);
        sleep(Duration::from_millis(4_900)).await;
        assert_eq!((get(&edge, "/cached", COOKIE).await, play.questions()), (200, 1));
        assert!(play.last().contains("remote-user: ada\r\n"), "{}", play.last());
        let _first = edge.line().await;
        let line = edge.line().await;
        assert_eq!((&line["auth"]["cached"], &line["auth"]["user"]), (&true.into(), &"ada".into()));
        sleep(Duration::from_millis(100)).await;
        assert_eq!((get(&edge, "/cached", COOKIE).await, play.questions()), (401, 2));
        assert_eq!((get(&edge, "/cached", COOKIE).await, play.questions()), (401, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_cache_is_for_the_same_question_only() {
    on_play(YES, |edge, play| async move {
        assert_eq!(get(&edge, "/cached/a?b", COOKIE).await, 200);
        assert_eq!((get(&edge, "/cached/a?b", COOKIE).await, play.questions()), (200, 1));
        play.says(NO);
        for (path, fields) in [
            ("/cached/a", COOKIE),
            ("/cached/a?c", COOKIE),
            ("/cached/%61?b", COOKIE),
            ("/cached/a?b", "cookie: sid=2\r\n"),
            ("/cached/a?b", "cookie: sid=1\r\nauthorization: Bearer x\r\n"),
            ("/cached/a?b", "authorization: Bearer x\r\n"),
            ("/cached/a?b", ""),
        ] {
            assert_eq!(get(&edge, path, fields).await, 401, "{path} {fields}");
        }
        let post = exchange(&edge, "POST /cached/a?b", COOKIE).await;
        let other =
            "GET /cached/a?b HTTP/1.1\r\nhost: b\r\ncookie: sid=1\r\nconnection: close\r\n\r\n";
        assert_eq!([status(&post), status(&edge.exchange(other).await)], [401; 2]);
        assert_eq!((get(&edge, "/cached/a?b", COOKIE).await, play.questions()), (200, 10));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_cache_has_no_verdict_that_forbids_it() {
    on_play(YES, |edge, play| async move {
        let long = format!("HTTP/1.1 204 No Content\r\nremote-user: {}\r\n\r\n", "x".repeat(3_000));
        for (number, (verdict, fields)) in [
            ("HTTP/1.1 204 No Content\r\ncache-control: private, No-Store\r\n\r\n", COOKIE),
            ("HTTP/1.1 204 No Content\r\ncache-control: no-cache\r\n\r\n", COOKIE),
            ("HTTP/1.1 204 No Content\r\nset-cookie: sid=2\r\n\r\n", COOKIE),
            (&long, COOKIE),
            (YES, "x-other: 1\r\n"),
        ]
        .into_iter()
        .enumerate()
        {
            play.says(verdict);
            for _ in 0..2 {
                assert_eq!(get(&edge, "/cached", fields).await, 200);
            }
            assert_eq!(play.questions(), 2 * (number + 1), "{verdict}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_over_http2_and_for_grpc() {
    on_play(NO, |edge, play| async move {
        let mut client = http2::client(&edge).await;
        let response = client.send_request(http2::get("/")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(http2::text(response).await, "login");
        let grpc = || {
            let request = Request::post("http://a/").header("content-type", "application/grpc");
            request.body(Full::default()).expect("a request")
        };
        for (verdict, code) in [
            (NO, "16"),
            ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "16"),
            ("HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", "14"),
        ] {
            play.says(verdict);
            let response = client.send_request(grpc()).await.expect("a response");
            assert_eq!(
                (response.status(), response.headers()["grpc-status"].as_bytes()),
                (StatusCode::OK, code.as_bytes())
            );
        }
        play.says(YES);
        assert_eq!(client.send_request(grpc()).await.expect("a response").status(), 200);
        assert!(play.last().contains("remote-user: ada\r\n"), "{}", play.last());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_covers_websocket() {
    on_play(NO, |edge, play| async move {
        let upgrade =
            "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let mut client = edge.connect();
        client.write_all(upgrade.as_bytes()).await.expect("an open pipe");
        let mut status = [0; 12];
        client.read_exact(&mut status).await.expect("a response");
        assert_eq!(&status, b"HTTP/1.1 401");
        assert!(play.seen.borrow().is_empty() && !play.asked.borrow()[0].contains("upgrade"));
        play.says(YES);
        let mut client = edge.connect();
        client.write_all(upgrade.as_bytes()).await.expect("an open pipe");
        client.read_exact(&mut status).await.expect("a response");
        assert_eq!(&status, b"HTTP/1.1 101");
        assert!(play.last().contains("remote-user: ada\r\n"), "{}", play.last());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_client_that_leaves_is_not_forwarded() {
    on_play("", |edge, play| async move {
        let mut client = edge.connect();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(play.questions(), 1);
        drop(client);
        // Half closed at first: it may still read.
        let line = edge.line_within(Duration::from_secs(2)).await;
        assert_eq!((&line["status"], &line["error"]["kind"]), (&499.into(), &"client_gone".into()));
        assert!(play.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_holds_for_every_spelling_of_a_path() {
    on_play(NO, |edge, play| async move {
        for path in ["/open/../x", "/x/../named", "/open/%2e%2e/x", "/open/..;/x", "/open%2f..%2fx"]
        {
            let got = get(&edge, path, "").await;
            assert!(matches!(got, 400 | 401), "{path}: {got}");
        }
        assert!(play.seen.borrow().is_empty(), "{:?}", play.seen.borrow());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forward_auth_keeps_connections_of_the_service() {
    on_play("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", |edge, play| async move {
        for _ in 0..3 {
            assert_eq!(get(&edge, "/named", "").await, 200);
            sleep(Duration::from_millis(10)).await;
        }
        let reused = |line: serde_json::Value| line["auth"]["upstream"]["connect_ms"].is_null();
        assert!(
            !reused(edge.line().await) && reused(edge.line().await) && reused(edge.line().await)
        );
        assert_eq!(play.questions(), 3);
    })
    .await;
}
