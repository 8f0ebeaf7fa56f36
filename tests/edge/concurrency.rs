//! Requests in progress by key: held or rejected, and given back in every way a request can end.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, sleep},
};
use weir::{config::Config, downstream::drain::Idle};

use crate::{
    harness::{Edge, Pipes, on_edge_of, on_raw_edge, parsed, status},
    http2,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const ASKS: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const AGREES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A route with this rule of concurrency, by the client address.
fn limited(rule: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nupstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         concurrency: {{ per_client: {{ key: client_ip }} }}\n\
         routes: [ {{ path: /, upstream: app, concurrency: [ {{ zone: per_client, {rule} }} ] }} ]"
    ))
}

async fn said(pipe: &mut DuplexStream, text: &str) {
    pipe.write_all(text.as_bytes()).await.expect("an open pipe");
}

async fn heard(pipe: &mut DuplexStream) -> String {
    let mut buffer = vec![0; 8192];
    let count = pipe.read(&mut buffer).await.expect("an open pipe");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// A client whose request is in progress, and its endpoint.
async fn under_way(edge: &Rc<Edge>, pipes: &mut Pipes, ask: &str) -> (DuplexStream, DuplexStream) {
    let mut client = edge.connect();
    said(&mut client, ask).await;
    let mut endpoint = pipes.recv().await.expect("a connection");
    assert!(heard(&mut endpoint).await.starts_with("GET / "));
    (client, endpoint)
}

/// Status and time of a request that is asked in the background.
fn asking(edge: &Rc<Edge>) -> JoinHandle<(u16, u64)> {
    tokio::task::spawn_local(Rc::clone(edge).get())
}

/// Asserts that one more request is forwarded: nothing is in progress, at the latest after the time
/// for which weir takes the end of a client's input for a half-closed connection.
async fn is_free(edge: &Rc<Edge>, pipes: &mut Pipes) {
    sleep(Duration::from_secs(3)).await;
    let (mut client, mut endpoint) = under_way(edge, pipes, GET).await;
    said(&mut endpoint, DONE).await;
    assert_eq!(status(&heard(&mut client).await), 200);
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_are_rejected_with_the_zone() {
    on_raw_edge(limited("max: 2, status: 429"), |edge, mut pipes| async move {
        let one = under_way(&edge, &mut pipes, GET).await;
        let _two = under_way(&edge, &mut pipes, GET).await;
        let rejected =
            edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(status(&rejected), 429);
        assert!(rejected.contains("\r\nretry-after: 1\r\n"), "{rejected}");
        assert!(rejected.contains("details=\"zone per_client\""), "{rejected}");
        let line = edge.line().await;
        assert_eq!((&line["limit"]["zone"], &line["status"]), (&"per_client".into(), &429.into()));
        assert_eq!(line["limit"]["reason"], "concurrency");
        let mut other = edge.connect_from("198.51.100.1");
        said(&mut other, GET).await;
        assert!(pipes.recv().await.is_some(), "another client has its own");
        drop(one);
        is_free(&edge, &mut pipes).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_waits_in_line_until_one_ends() {
    on_raw_edge(limited("max: 1, queue: 2, max_wait: 5s"), |edge, mut pipes| async move {
        let (mut first, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
        let (second, third) = (asking(&edge), asking(&edge));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(edge.queue.parked(), 2);
        assert_eq!(Rc::clone(&edge).get().await.0, 503, "two wait already");
        said(&mut endpoint, DONE).await;
        assert_eq!(status(&heard(&mut first).await), 200);
        assert!(heard(&mut endpoint).await.starts_with("GET "), "on the kept connection");
        assert_eq!(edge.queue.parked(), 1);
        sleep(Duration::from_millis(50)).await;
        said(&mut endpoint, DONE).await;
        assert_eq!(second.await.expect("no panic"), (200, 150));
        assert!(heard(&mut endpoint).await.starts_with("GET "));
        said(&mut endpoint, DONE).await;
        assert_eq!(third.await.expect("no panic"), (200, 150));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn wait_ends_with_max_wait_and_is_logged() {
    on_raw_edge(limited("max: 1, queue: 1, max_wait: 2s"), |edge, mut pipes| async move {
        let (mut first, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 2_000));
        assert_eq!(edge.line().await["limit"]["reason"], "concurrency");
        let waiting = asking(&edge);
        sleep(Duration::from_millis(700)).await;
        said(&mut endpoint, DONE).await;
        heard(&mut first).await;
        assert!(heard(&mut endpoint).await.starts_with("GET "));
        said(&mut endpoint, DONE).await;
        assert_eq!(waiting.await.expect("no panic"), (200, 700));
        edge.line().await;
        let limit = &edge.line().await["limit"];
        assert_eq!((&limit["decision"], &limit["wait_ms"]), (&"delay".into(), &700.into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn permit_is_given_back_when_the_client_leaves() {
    on_raw_edge(limited("max: 1"), |edge, mut pipes| async move {
        // Before the response, and in the middle of it.
        let (client, _endpoint) = under_way(&edge, &mut pipes, GET).await;
        drop(client);
        is_free(&edge, &mut pipes).await;
        let (mut client, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
        said(&mut endpoint, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
        assert_eq!(status(&heard(&mut client).await), 200);
        assert_eq!(Rc::clone(&edge).get().await.0, 503, "its response has not ended");
        drop(client);
        is_free(&edge, &mut pipes).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn permit_is_given_back_when_the_upstream_breaks() {
    on_raw_edge(limited("max: 1"), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
        said(&mut endpoint, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
        heard(&mut client).await;
        drop(endpoint);
        is_free(&edge, &mut pipes).await;
        edge.world.refusing.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(Rc::clone(&edge).get().await.0, 502);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn permit_of_a_tunnel_is_given_back_when_it_ends() {
    on_raw_edge(limited("max: 1"), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = under_way(&edge, &mut pipes, ASKS).await;
        said(&mut endpoint, AGREES).await;
        assert_eq!(status(&heard(&mut client).await), 101);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(Rc::clone(&edge).get().await.0, 503);
        drop((client, endpoint));
        is_free(&edge, &mut pipes).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn permit_is_given_back_when_weir_panics() {
    on_edge_of(limited("max: 1"), |edge| async move {
        edge.world.cursed.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(Rc::clone(&edge).get().await.0, 500);
        }
        edge.world.cursed.store(false, Ordering::Relaxed);
        assert_eq!(Rc::clone(&edge).get().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn place_in_line_is_given_back_when_its_client_leaves() {
    on_raw_edge(limited("max: 1, queue: 1"), |edge, mut pipes| async move {
        let (mut first, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
        let mut waiting = edge.connect();
        said(&mut waiting, GET).await;
        sleep(Duration::from_millis(10)).await;
        assert_eq!((edge.queue.parked(), Rc::clone(&edge).get().await.0), (1, 503));
        drop(waiting);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(edge.queue.parked(), 0);
        let second = asking(&edge);
        sleep(Duration::from_millis(10)).await;
        said(&mut endpoint, DONE).await;
        heard(&mut first).await;
        assert!(heard(&mut endpoint).await.starts_with("GET "));
        said(&mut endpoint, DONE).await;
        assert_eq!(second.await.expect("no panic").0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn drain_rejects_who_would_wait_beyond_it() {
    on_raw_edge(limited("max: 1, queue: 9, max_wait: 60s"), |edge, mut pipes| async move {
        let (_first, _endpoint) = under_way(&edge, &mut pipes, GET).await;
        let waiting = asking(&edge);
        sleep(Duration::from_millis(10)).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        let (status, after_ms) = waiting.await.expect("no panic");
        assert_eq!(status, 503);
        assert!((6_000..8_000).contains(&after_ms), "{after_ms}");
        assert_eq!(edge.line().await["limit"]["reason"], "draining");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_reset_gives_its_permit_or_its_place_back() {
    on_raw_edge(limited("max: 1, queue: 1"), |edge, mut pipes| async move {
        let get = || {
            let request = Request::builder().uri("http://a/").body(Full::default());
            request.expect("a request")
        };
        let mut sender = http2::client(&edge).await;
        let first = tokio::task::spawn_local(sender.send_request(get()));
        let mut endpoint = pipes.recv().await.expect("a connection");
        heard(&mut endpoint).await;
        let second = tokio::task::spawn_local(sender.send_request(get()));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(edge.queue.parked(), 1);
        second.abort();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(edge.queue.parked(), 0);
        first.abort();
        sleep(Duration::from_millis(10)).await;
        let third = tokio::task::spawn_local(sender.send_request(get()));
        let mut endpoint = pipes.recv().await.expect("a connection");
        heard(&mut endpoint).await;
        said(&mut endpoint, DONE).await;
        let response = third.await.expect("no panic").expect("a response");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a body");
        drop(endpoint);
        is_free(&edge, &mut pipes).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn zone_counts_over_routes_each_with_its_own_limit() {
    let config = parsed(
        "listeners: [ ':1' ]\nupstreams: { app: { endpoints: [ 'http://10.0.0.1:80' ] } }\n\
         concurrency: { all: { key: global } }\nroutes:\n\
         - { path: /, upstream: app, concurrency: [ { zone: all, max: 2 } ] }\n\
         - { path: /one, upstream: app, concurrency: [ { zone: all, max: 1 } ] }",
    );
    on_raw_edge(config, |edge, mut pipes| async move {
        let _first = under_way(&edge, &mut pipes, GET).await;
        let one = "GET /one HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(one).await), 503);
        let _second = under_way(&edge, &mut pipes, GET).await;
        assert_eq!(Rc::clone(&edge).get().await.0, 503);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rules_of_one_route_are_all_or_nothing() {
    let config = parsed(
        "listeners: [ ':1' ]\nupstreams: { app: { endpoints: [ 'http://10.0.0.1:80' ] } }\n\
         concurrency: { each: { key: client_ip }, all: { key: global } }\nroutes:\n\
         - path: /\n  upstream: app\n  \
         concurrency: [ { zone: all, max: 2 }, { zone: each, max: 1 } ]",
    );
    on_raw_edge(config, |edge, mut pipes| async move {
        let _first = under_way(&edge, &mut pipes, GET).await;
        for _ in 0..3 {
            assert_eq!(Rc::clone(&edge).get().await.0, 503, "`each`");
        }
        let mut other = edge.connect_from("198.51.100.1");
        said(&mut other, GET).await;
        assert!(pipes.recv().await.is_some(), "the rejected ones are not counted in `all`");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dry_run_and_conditions_reject_nobody() {
    for rule in ["max: 1, dry_run: true", "max: 1, when: { methods: [ POST ] }"] {
        on_raw_edge(limited(rule), |edge, mut pipes| async move {
            let _first = under_way(&edge, &mut pipes, GET).await;
            let (mut second, mut endpoint) = under_way(&edge, &mut pipes, GET).await;
            said(&mut endpoint, DONE).await;
            assert_eq!(status(&heard(&mut second).await), 200);
            let reason = &edge.line().await["limit_dry_run"]["reason"];
            assert_eq!(reason == "concurrency", rule.contains("dry_run"), "{rule}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_request_gets_no_100_and_its_body_is_not_read() {
    on_raw_edge(limited("max: 1, queue: 1"), |edge, mut pipes| async move {
        let (_first, _endpoint) = under_way(&edge, &mut pipes, GET).await;
        let mut client = edge.connect();
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        said(&mut client, head).await;
        let told = tokio::time::timeout(Duration::from_millis(4_900), heard(&mut client)).await;
        assert!(told.is_err(), "{told:?}");
        assert_eq!(status(&heard(&mut client).await), 503);
    })
    .await;
}
