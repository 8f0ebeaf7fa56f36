//! `LimitLayer` under paused time: what is held, for how long to the millisecond, and what it
//! leaves behind.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, advance},
};
use tower::{Layer, Service, ServiceExt};
use weir_limit::{LimitLayer, layer::LimitService};
use weir_test::{
    limit::{self as words, Delay, Exempt, Pass, Reject},
    worked_tables::{self, WorkedTable},
};

type Client = fn(&Request<()>) -> Option<IpAddr>;

fn layer(rules: &str) -> LimitLayer<Client> {
    LimitLayer::new(words::gate(rules).gate, |request| {
        request.headers().get("x-client")?.to_str().ok()?.parse().ok()
    })
}

fn from(client: &str) -> Request<()> {
    Request::builder().header("x-client", client).body(()).expect("a request")
}

/// A service that counts what reaches it and what is reserved of it.
#[derive(Debug, Default)]
struct Upstream {
    reached: Arc<AtomicUsize>,
    reserved: Arc<AtomicUsize>,
    ready: bool,
}

impl Clone for Upstream {
    fn clone(&self) -> Self {
        Self {
            reached: Arc::clone(&self.reached),
            reserved: Arc::clone(&self.reserved),
            ready: false,
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.ready.into(), Ordering::Relaxed);
    }
}

impl Service<Request<()>> for Upstream {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.reserved.fetch_add((!self.ready).into(), Ordering::Relaxed);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.reserved.fetch_sub(1, Ordering::Relaxed);
        self.reached.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(Bytes::from_static(b"ok"))))
    }
}

/// Sends one request at once; the response is its status and the milliseconds it took.
fn send(service: &LimitService<Upstream, Client>, client: &str) -> JoinHandle<(u16, u128)> {
    let (service, request, begin) = (service.clone(), from(client), Instant::now());
    tokio::spawn(async move {
        let answer = service.oneshot(request).await.expect("the service is infallible");
        (answer.status().as_u16(), begin.elapsed().as_millis())
    })
}

async fn all(sent: Vec<JoinHandle<(u16, u128)>>) -> Vec<(u16, u128)> {
    let mut answers = Vec::new();
    for one in sent {
        answers.push(one.await.expect("no request panics"));
    }
    answers
}

/// All requests of a table come at the same instant: each gets its verdict, to the millisecond.
async fn holds(table: &WorkedTable) {
    let service = layer(&table.texts().join("; ")).layer(Upstream::default());
    let sent = (0..table.requests()).map(|_| send(&service, "192.0.2.1")).collect();
    let expected = table.verdicts().into_iter().map(|verdict| match verdict {
        Pass | Exempt => (200, 0),
        Delay(wait_ms) => (200, wait_ms.into()),
        Reject(_) => (503, 0),
    });
    assert_eq!(all(sent).await, expected.collect::<Vec<_>>(), "{}", table.name);
}

fn spaced(from: u128, step: u128, count: u128) -> Vec<(u16, u128)> {
    (0..count).map(|k| (200, from + k * step)).collect()
}

#[tokio::test(start_paused = true)]
async fn burst_is_spaced_by_the_rate() {
    for table in [&worked_tables::B, &worked_tables::B_NODELAY, &worked_tables::B_DELAY_8] {
        holds(table).await;
    }
    holds(&worked_tables::C).await;
    holds(&worked_tables::D).await;
}

#[tokio::test(start_paused = true)]
async fn two_limits_wait_for_the_longer() {
    holds(&worked_tables::E).await;
}

#[tokio::test(start_paused = true)]
async fn ten_of_twenty_leave_and_ten_come_in() {
    let layer = layer("10r/s burst=20");
    let upstream = Upstream::default();
    let service = layer.layer(upstream.clone());
    let sent: Vec<_> = (0..21).map(|_| send(&service, "192.0.2.1")).collect();
    yield_now().await;
    assert_eq!((layer.held(), upstream.reached.load(Ordering::Relaxed)), (20, 1));
    sent[11..].iter().for_each(JoinHandle::abort);
    yield_now().await;
    assert_eq!(layer.held(), 10);
    let new = all((0..11).map(|_| send(&service, "192.0.2.1")).collect()).await;
    assert_eq!(new, [spaced(1_100, 100, 10), vec![(503, 0)]].concat());
    assert_eq!((layer.held(), upstream.reached.load(Ordering::Relaxed)), (0, 21));
}

#[tokio::test(start_paused = true)]
async fn line_moves_up_when_the_middle_or_the_first_leaves() {
    let service = layer("10r/s burst=20").layer(Upstream::default());
    let mut sent: Vec<_> = (0..6).map(|_| send(&service, "192.0.2.1")).collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    sent.remove(3).abort();
    yield_now().await;
    sent.push(send(&service, "192.0.2.1"));
    tokio::time::sleep(Duration::from_millis(49)).await;
    sent.remove(2).abort();
    // Told 400, 500 and 500 - 150: two places earlier, and two.
    assert_eq!(all(sent).await, [(200, 0), (200, 100), (200, 200), (200, 300), (200, 250)]);
}

#[tokio::test(start_paused = true)]
async fn leaving_and_asking_again_is_never_forwarded_faster_than_the_rate() {
    let upstream = Upstream::default();
    let service = layer("10r/s burst=20").layer(upstream.clone());
    all(vec![send(&service, "192.0.2.1")]).await;
    let mut sent: std::collections::VecDeque<_> =
        (0..20).map(|_| send(&service, "192.0.2.1")).collect();
    for slot in 1..=100 {
        tokio::time::sleep_until(
            Instant::now() + Duration::from_millis(if slot == 1 { 99 } else { 100 }),
        )
        .await;
        sent.pop_front().expect("twenty are held").abort();
        yield_now().await;
        sent.push_back(send(&service, "192.0.2.1"));
    }
    let reached = upstream.reached.load(Ordering::Relaxed);
    assert!(reached <= 1 + 100, "{reached} in ten seconds");
    let rest = all(sent.into()).await;
    assert!(rest.iter().all(|got| got.0 == 200));
}

#[tokio::test(start_paused = true)]
async fn released_slot_is_not_given_back() {
    let service = layer("10r/s burst=1").layer(Upstream::default());
    all(vec![send(&service, "192.0.2.1"), send(&service, "192.0.2.1")]).await;
    assert_eq!(
        all(vec![send(&service, "192.0.2.1"), send(&service, "192.0.2.1")]).await,
        [(200, 100), (503, 0)]
    );
}

#[tokio::test(start_paused = true)]
async fn layer_request_between_milliseconds_is_never_early() {
    let service = layer("10r/s burst=1").layer(Upstream::default());
    advance(Duration::from_micros(300)).await;
    let answers = all(vec![send(&service, "192.0.2.1"), send(&service, "192.0.2.1")]).await;
    // 101, not 100: a paused clock steps on by whole milliseconds from where it stands. 99 would be
    // early.
    assert_eq!(answers, [(200, 0), (200, 101)]);
}

#[tokio::test(start_paused = true)]
async fn queue_full_rejects_and_charges_nothing() {
    let layer = layer("10r/s burst=20").queue(2);
    let service = layer.layer(Upstream::default());
    let sent: Vec<_> = (0..5).map(|_| send(&service, "192.0.2.1")).collect();
    assert_eq!(all(sent).await, [(200, 0), (200, 100), (200, 200), (503, 0), (503, 0)]);
    assert_eq!(
        all(vec![send(&service, "192.0.2.1")]).await,
        [(200, 100)],
        "the refused two owe nothing"
    );
    assert_eq!(layer.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn reject_has_retry_after() {
    let mut service =
        layer("1r/m").status(http::StatusCode::TOO_MANY_REQUESTS).layer(Upstream::default());
    let mut ask = async || {
        service
            .ready()
            .await
            .expect("infallible")
            .call(from("192.0.2.1"))
            .await
            .expect("infallible")
    };
    assert_eq!(ask().await.status(), 200);
    advance(Duration::from_millis(1_500)).await;
    let answer = ask().await;
    assert_eq!(answer.status(), 429);
    assert_eq!(
        (&answer.headers()["retry-after"], &answer.headers()["cache-control"]),
        (&"59".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(answer.body(), "rejected: burst, retry in 58500 ms\n");
}

#[tokio::test(start_paused = true)]
async fn held_and_rejected_requests_reserve_nothing_of_the_inner_service() {
    let upstream = Upstream::default();
    let mut service = layer("10r/s burst=1").layer(upstream.clone());
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(service.ready().await.expect("infallible").call(from("192.0.2.1")));
        assert_eq!(upstream.reserved.load(Ordering::Relaxed), 0);
    }
    let names: Vec<_> = sent.iter().map(|answer| format!("{answer:?}")).collect();
    assert_eq!(names, ["LimitFuture(forwarded)", "LimitFuture(held)", "LimitFuture(rejected)"]);
}

#[tokio::test(start_paused = true)]
async fn requests_of_unknown_clients_share_one_bucket() {
    let service = layer("1r/s").layer(Upstream::default());
    assert_eq!(
        all(vec![send(&service, "nobody"), send(&service, "noone")]).await,
        [(200, 0), (503, 0)]
    );
    assert_eq!(all(vec![send(&service, "192.0.2.1")]).await, [(200, 0)]);
}

#[tokio::test(start_paused = true)]
async fn layer_wraps_an_axum_router() {
    let peer = |request: &Request<Body>| {
        request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
    };
    let layer = LimitLayer::new(words::gate("10r/s burst=2").gate, peer);
    let router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    let begin = Instant::now();
    let mut seen = Vec::new();
    for port in [1, 2, 3] {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], port))));
        let answer = router.clone().oneshot(request).await.expect("infallible");
        seen.push((answer.status().as_u16(), begin.elapsed().as_millis()));
    }
    assert_eq!(seen, [(200, 0), (200, 100), (200, 200)]);
}

#[tokio::test(start_paused = true)]
async fn keys_of_path_and_host_have_one_bucket_for_all_spellings() {
    for (key, first, second) in [
        ("path", "http://a/login/x", "http://a//login/%78;y"),
        ("host", "http://A.test./", "http://a.test:80/"),
        ("host", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]:80/"),
    ] {
        let service = layer(&format!("1r/m key={key}")).layer(Upstream::default());
        let mut statuses = Vec::new();
        for uri in [first, second] {
            let request = Request::builder().uri(uri).body(()).expect("a request");
            statuses.push(
                service
                    .clone()
                    .oneshot(request)
                    .await
                    .expect("the service is infallible")
                    .status()
                    .as_u16(),
            );
        }
        assert_eq!(statuses, [200, 503], "{first} {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn reject_for_a_missing_part_tells_no_time() {
    let service = layer("1r/m key=header:x-key missing=reject").layer(Upstream::default());
    let response = service.oneshot(from("192.0.2.1")).await.expect("the service is infallible");
    assert_eq!((response.status().as_u16(), response.headers().get("retry-after")), (503, None));
    assert_eq!(&response.body()[..], b"rejected: missing_key\n");
    let service = layer("1r/m key=query:id").layer(Upstream::default());
    let request = Request::builder().uri("http://a/?id=1&id=2").body(()).expect("a request");
    let response = service.oneshot(request).await.expect("the service is infallible");
    assert_eq!((response.status().as_u16(), response.headers().get("retry-after")), (503, None));
    assert_eq!(&response.body()[..], b"rejected: repeated_key\n");
}
