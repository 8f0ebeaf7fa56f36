//! Interim responses over HTTP/2 (RFC 9110, section 15.2): those of the upstream cross, and a
//! client that waits for `100 Continue` gets it.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::{
    frames::{self, HEADERS, RST_STREAM},
    harness::{Edge, config, on_raw_edge},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sends the head of a request, and with it its end where it has no body.
async fn ask(
    edge: &Edge,
    request: Request<()>,
    bodiless: bool,
) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let (mut sender, connection) =
        h2::client::handshake(edge.connect()).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    sender.send_request(request, bodiless).expect("an open connection")
}

fn get() -> Request<()> {
    Request::get("http://a.test/").body(()).expect("a request")
}

fn expecting(length: &str) -> Request<()> {
    let request = Request::post("http://a.test/")
        .header("expect", "100-continue")
        .header("content-length", length);
    request.body(()).expect("a request")
}

/// The next interim response; none once the final one is there.
async fn interim(answer: &mut ResponseFuture) -> Option<(StatusCode, HeaderMap)> {
    let next: Option<Response<()>> = poll_fn(|context| answer.poll_informational(context))
        .await
        .map(|next| next.expect("a head"));
    next.map(|next| (next.status(), next.headers().clone()))
}

/// Reads a request's head.
async fn head(pipe: &mut DuplexStream) -> String {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(b"\r\n\r\n") {
        pipe.read_exact(&mut byte).await.expect("a head");
        read.push(byte[0]);
    }
    String::from_utf8(read).expect("UTF-8")
}

#[tokio::test(start_paused = true)]
async fn interim_answers_cross_as_they_come_but_for_what_belongs_to_a_connection() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut answer, _) = ask(&edge, get(), true).await;
        let mut pipe = pipes.recv().await.expect("a connection");
        head(&mut pipe).await;
        let hints =
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nlink: </b.js>\r\nconnection: x-mine\r\nx-mine: 1\r\n\r\n";
        for piece in [&hints[..], b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\ncontent-length: 0\r\n\r\n"] {
            pipe.write_all(piece).await.expect("an open pipe");
            sleep(Duration::from_secs(1)).await;
        }
        let (status, fields) = interim(&mut answer).await.expect("hints");
        assert_eq!((status, edge.now()), (StatusCode::EARLY_HINTS, 2000));
        assert_eq!(fields.get_all("link").iter().collect::<Vec<_>>(), ["</a.css>", "</b.js>"]);
        assert_eq!(fields.len(), 2, "{fields:?}");
        assert_eq!(interim(&mut answer).await, Some((StatusCode::PROCESSING, HeaderMap::new())));
        pipe.write_all(OK).await.expect("an open pipe");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("date") && !answer.headers().contains_key("link"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_response_is_never_the_final_one() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut answer, _) = ask(&edge, get(), true).await;
        let mut pipe = pipes.recv().await.expect("a connection");
        head(&mut pipe).await;
        pipe.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
            .await
            .expect("an open pipe");
        assert!(interim(&mut answer).await.is_some());
        drop(pipe);
        assert_eq!(answer.await.expect("an answer").status(), 502);
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"]),
            (&502.into(), &"connection_terminated".into())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expect_100_continue_is_sent_when_body_is_read() {
    on_raw_edge(config(&["1r/s burst=1"]), |edge, mut pipes| async move {
        for (wait, said) in [(0, "first"), (1000, "other")] {
            let (mut answer, mut body) = ask(&edge, expecting("5"), false).await;
            assert_eq!(interim(&mut answer).await, Some((StatusCode::CONTINUE, HeaderMap::new())));
            assert_eq!(edge.now(), wait, "not while it is parked");
            body.send_data(Bytes::from_static(said.as_bytes()), true).expect("an open stream");
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(!head(&mut pipe).await.contains("expect"));
            let mut sent = [0; 5];
            pipe.read_exact(&mut sent).await.expect("a body");
            assert_eq!(&sent[..], said.as_bytes());
            pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .expect("an open pipe");
            assert_eq!(answer.await.expect("an answer").status(), 200);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_request_gets_no_100_continue() {
    on_raw_edge(config(&["1r/m"]), |edge, mut pipes| async move {
        let (first, _) = ask(&edge, get(), true).await;
        let mut pipe = pipes.recv().await.expect("a connection");
        head(&mut pipe).await;
        pipe.write_all(OK).await.expect("an open pipe");
        assert_eq!(first.await.expect("an answer").status(), 200);
        let (mut rejected, _body) = ask(&edge, expecting("5"), false).await;
        assert_eq!(interim(&mut rejected).await, None);
        assert_eq!(rejected.await.expect("an answer").status(), 503);
    })
    .await;
}

/// An upload that its client breaks off must not reach anybody as a whole one.
#[tokio::test(start_paused = true)]
async fn aborted_body_has_no_end() {
    for reason in [0_u32, 8] {
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let mut client = edge.connect();
            let post =
                [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
            let begun = frames::frame(HEADERS, frames::END_HEADERS, 1, &frames::fields(&post));
            let half = frames::frame(frames::DATA, 0, 1, b"half");
            client
                .write_all(&[frames::hello(&[]), begun, half].concat())
                .await
                .expect("an open pipe");
            let mut pipe = pipes.recv().await.expect("a connection");
            head(&mut pipe).await;
            let reset = frames::frame(RST_STREAM, 0, 1, &reason.to_be_bytes());
            client.write_all(&reset).await.expect("an open pipe");
            let mut sent = Vec::new();
            pipe.read_to_end(&mut sent).await.expect("an end");
            assert_eq!(String::from_utf8_lossy(&sent), "4\r\nhalf\r\n", "reason {reason}");
            assert_eq!(edge.line().await["status"], 499);
        })
        .await;
    }
}
