//! HTTP/2 with clients: the limits' tables over streams, what becomes of a request, when a
//! connection ends.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use weir::downstream::drain::Idle;
use weir_test::worked_tables;

use crate::{
    frames::{self, GOAWAY, HEADERS, RST_STREAM},
    harness::{Edge, Got, config, on_edge, on_raw_edge},
    tables::on_table,
};

pub type Sender = SendRequest<Full<Bytes>>;

#[derive(Clone)]
pub struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, work: F) {
        tokio::task::spawn_local(work);
    }
}

/// A client that knows beforehand that weir speaks HTTP/2.
pub async fn client(edge: &Edge) -> Sender {
    over(edge.connect()).await
}

pub async fn over(pipe: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Sender {
    let (sender, connection) =
        http2::handshake(Local, TokioIo::new(pipe)).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    sender
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(format!("http://a.test{path}")).body(Full::default()).expect("a request")
}

pub async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

/// Many requests at once on one connection.
async fn burst(edge: &Rc<Edge>, count: usize) -> Vec<Got> {
    let sender = client(edge).await;
    let mut asking = Vec::new();
    for _ in 0..count {
        let (mut sender, edge) = (sender.clone(), Rc::clone(edge));
        asking.push(tokio::task::spawn_local(async move {
            let start = edge.now();
            let response = sender.send_request(get("/")).await.expect("an answer");
            (response.status().as_u16(), edge.now() - start)
        }));
        tokio::task::yield_now().await;
    }
    let mut got = Vec::new();
    for one in asking {
        got.push(one.await.expect("no panic"));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn worked_tables_hold_over_http2_streams() {
    for table in worked_tables::ALL {
        on_table(table, burst, async |_| {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn http2_request_is_forwarded_as_http1() {
    on_edge(&[], |edge| async move {
        let mut request = get("/x?y=%20");
        let headers = request.headers_mut();
        headers.append("cookie", "a=1".parse().expect("a value"));
        headers.append("cookie", "b=2".parse().expect("a value"));
        headers.append("te", "trailers".parse().expect("a value"));
        *request.body_mut() = Full::from("body");
        *request.method_mut() = http::Method::POST;
        let response = client(&edge).await.send_request(request).await.expect("an answer");
        assert_eq!(
            (response.status(), response.version()),
            (StatusCode::OK, http::Version::HTTP_2)
        );
        assert_eq!(text(response).await, "ok");
        let seen = edge.seen.borrow()[0].clone();
        assert_eq!((seen.target.as_str(), &seen.body[..]), ("/x?y=%20", &b"body"[..]));
        assert_eq!(
            (&seen.headers["host"], &seen.headers["cookie"]),
            (&"a.test".parse().expect("a value"), &"a=1; b=2".parse().expect("a value"))
        );
        assert!(!seen.headers.contains_key("te"));
        assert_eq!(edge.line().await["proto"], "HTTP/2.0");
    })
    .await;
}

/// Over HTTP/2 not even its connection: that goes on.
#[tokio::test(start_paused = true)]
async fn panic_costs_only_its_request() {
    on_edge(&[], |edge| async move {
        let mut sender = client(&edge).await;
        edge.world.cursed.store(true, Ordering::Relaxed);
        let got = edge.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(
            got.starts_with("HTTP/1.1 500 ") && got.contains("\r\nconnection: close\r\n"),
            "{got}"
        );
        assert_eq!(sender.send_request(get("/")).await.expect("an answer").status(), 500);
        edge.world.cursed.store(false, Ordering::Relaxed);
        assert_eq!(sender.send_request(get("/")).await.expect("an answer").status(), 200);
        assert_eq!(Rc::clone(&edge).get().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_reset_of_parked_stream_gives_slot_back() {
    on_edge(&["1r/s burst=1"], |edge| async move {
        let mut sender = client(&edge).await;
        assert_eq!(sender.send_request(get("/")).await.expect("an answer").status(), 200);
        edge.line().await;
        let parked = sender.send_request(get("/parked"));
        let waited = tokio::time::timeout(Duration::from_millis(10), parked).await;
        assert!(waited.is_err() && edge.queue.parked() == 1);
        // Dropped, so that its stream was reset.
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["error"]["kind"]), (&499.into(), &"client_gone".into()));
        assert_eq!((edge.queue.parked(), edge.seen.borrow().len()), (0, 1));
        assert_eq!(sender.send_request(get("/")).await.expect("an answer").status(), 200);
        assert_eq!(edge.now(), 1000);
    })
    .await;
}

/// An upload that fills its windows is parked, and its client goes without a word: the connection
/// is read all the same.
#[tokio::test(start_paused = true)]
async fn parked_upload_leaves_with_its_connection_however_much_of_it_came() {
    for length in [100, 100_000, 400_000] {
        on_edge(&["1r/m burst=1"], move |edge| async move {
            let mut sender = client(&edge).await;
            assert_eq!(sender.send_request(get("/")).await.expect("a response").status(), 200);
            edge.line().await;
            let upload = Request::post("http://a/parked")
                .body(Full::new(Bytes::from(vec![7; length])))
                .expect("a request");
            let parked = tokio::task::spawn_local(sender.send_request(upload));
            sleep(Duration::from_millis(10)).await;
            assert_eq!(edge.queue.parked(), 1, "{length}");
            // The connection's task ends with its last sender and its last stream.
            parked.abort();
            drop(sender);
            let line = edge.line().await;
            assert_eq!(
                (&line["status"], &line["error"]["kind"]),
                (&499.into(), &"client_gone".into()),
                "{length}"
            );
            assert_eq!((edge.queue.parked(), edge.seen.borrow().len()), (0, 1), "{length}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_hundred_requests_of_a_connection_are_parked() {
    on_edge(&["1r/s burst=500"], |edge| async move {
        let mut client = edge.connect();
        let mut requests = frames::hello(&[]);
        (0..150).for_each(|number| requests.extend(frames::get(2 * number + 1)));
        client.write_all(&requests).await.expect("an open pipe");
        let refused = frames::until(&mut client, RST_STREAM).await.expect("a refused stream");
        assert_eq!(frames::code(&refused), 7);
        sleep(Duration::from_millis(1)).await;
        assert!((99..=100).contains(&edge.queue.parked()), "{}", edge.queue.parked());
    })
    .await;
}

/// All that comes until the connection ends: which streams got a response when, and when it was
/// told to open no more.
pub async fn to_the_end(edge: &Edge, client: &mut DuplexStream) -> (Vec<(u32, u64)>, Vec<u64>) {
    let (mut answers, mut told) = (Vec::new(), Vec::new());
    while let Some(frame) = frames::read(client).await {
        match frame.kind {
            HEADERS => answers.push((frame.stream, edge.now())),
            GOAWAY => told.push(edge.now()),
            frames::PING if frame.flags & frames::ACK == 0 => {
                let pong = frames::frame(frames::PING, frames::ACK, 0, &frame.payload);
                client.write_all(&pong).await.expect("an open pipe");
            }
            _ => {}
        }
    }
    (answers, told)
}

#[tokio::test(start_paused = true)]
async fn drain_sends_goaway_and_completes_streams() {
    on_edge(&["1r/s burst=20"], |edge| async move {
        let mut client = edge.connect();
        let requests = (0..12).map(|number| frames::get(2 * number + 1));
        let requests: Vec<u8> =
            std::iter::once(frames::hello(&[])).chain(requests).flatten().collect();
        client.write_all(&requests).await.expect("an open pipe");
        sleep(Duration::from_millis(1)).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        let (mut answers, goaways) = to_the_end(&edge, &mut client).await;
        // The first passes; 7 more have their slot before the last second, which is for responses;
        // 4 are rejected immediately.
        answers.sort_unstable();
        let in_time = (0..8).map(|number| (2 * number + 1, 1.max(1000 * u64::from(number))));
        let rejected = (8..12).map(|number| (2 * number + 1, 1));
        assert_eq!((answers, goaways.len()), (in_time.chain(rejected).collect(), 2));
        assert_eq!((edge.seen.borrow().len(), edge.queue.parked()), (8, 0));
        assert_eq!(edge.now(), 7000);
    })
    .await;
}

/// When a client that sends this and then only acknowledges pings is cut, in milliseconds.
async fn cut_after(bytes: Vec<u8>) -> u64 {
    let mut cut = 0;
    let end = &mut cut;
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(&bytes).await.expect("an open pipe");
        // On the way there every ping is acknowledged.
        while frames::until(&mut client, GOAWAY).await.is_some() {}
        *end = edge.now();
    })
    .await;
    cut
}

#[tokio::test(start_paused = true)]
async fn http2_incomplete_preface_is_cut_in_time() {
    assert!((10_000..=10_500).contains(&cut_after(Vec::new()).await));
    assert!((10_000..=10_500).contains(&cut_after(frames::PREFACE[..17].to_vec()).await));
    assert!((60_000..62_000).contains(&cut_after(frames::hello(&[])).await));
}

#[tokio::test(start_paused = true)]
async fn http2_client_without_ping_ack_is_cut() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        let mut end = Vec::new();
        client.read_to_end(&mut end).await.expect("an end");
        assert!((30_000..31_000).contains(&edge.now()), "{}", edge.now());
        upstream.read_to_end(&mut end).await.expect("the work is cancelled");
        assert_eq!(edge.line().await["status"], 499);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_stalled_stream_is_reset_and_neighbour_served() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        // No window on streams, so that not one byte of a body may be sent.
        client
            .write_all(&[frames::hello(&[(4, 0)]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let reset = frames::until(&mut client, RST_STREAM).await.expect("a reset stream");
        assert_eq!((reset.stream, frames::code(&reset)), (1, 8));
        assert!((30_000..31_000).contains(&edge.now()), "{}", edge.now());
        let room = frames::frame(frames::WINDOW_UPDATE, 0, 3, &100_u32.to_be_bytes());
        client.write_all(&[frames::get(3), room].concat()).await.expect("an open pipe");
        let answer = frames::until(&mut client, frames::DATA).await.expect("an answer");
        assert_eq!((answer.stream, &answer.payload[..]), (3, &b"ok"[..]));
    })
    .await;
}
