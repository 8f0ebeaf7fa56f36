//! Uploads to HTTP/2 endpoints that come to no end: the response is over before, or the client
//! leaves behind its head.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{sleep, timeout};
use weir::config::Config;

use crate::{
    frames::{DATA, RST_STREAM, code},
    grpc::to_http2,
    harness::{Edge, on_raw_edge, status},
    http2_endpoint::Endpoint,
    lingering_close::{TOO_LARGE as UPLOAD, upload},
};

const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

/// Of which an endpoint that grants no room takes half.
const PIECE: usize = 128 * 1024;

fn any_length() -> Config {
    let mut config = to_http2(&[]);
    config.routes[0].max_body = None;
    config
}

/// Reads until a stream is reset, and returns the code. No room is granted.
async fn reset(endpoint: &mut Endpoint, stream: u32) -> u32 {
    loop {
        let frame = endpoint.read().await.expect("an open connection");
        assert!(matches!(frame.kind, DATA | RST_STREAM) && frame.stream == stream, "{frame:?}");
        if frame.kind == RST_STREAM {
            return code(&frame);
        }
    }
}

/// Begins an upload of unknown length over HTTP/2, of which one piece is sent.
async fn begin_upload(
    edge: &Edge,
) -> (h2::client::SendRequest<Bytes>, h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let (mut sender, connection) =
        h2::client::handshake(edge.connect()).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    let request = Request::post("http://a/").body(()).expect("a request");
    let (response, mut body) = sender.send_request(request, false).expect("an open connection");
    body.send_data(Bytes::from(vec![b'x'; PIECE]), false).expect("an open stream");
    (sender, response, body)
}

/// Begins a response, grants no room, and returns the code with which the upload ends.
async fn begin_response(endpoint: &mut Endpoint) -> u32 {
    let stream = endpoint.head().await.expect("a request");
    endpoint.begin_response(stream).await;
    timeout(Duration::from_secs(3), reset(endpoint, stream))
        .await
        .expect("an end within two seconds of the client's")
}

#[tokio::test(start_paused = true)]
async fn upload_without_room_ends_with_its_client() {
    on_raw_edge(any_length(), |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
            (begin_response(&mut endpoint).await, endpoint)
        };
        let leave = async {
            let (sender, response, mut body) = begin_upload(&edge).await;
            let response = response.await.expect("a response");
            sleep(Duration::from_secs(1)).await;
            body.send_reset(h2::Reason::CANCEL);
            (sender, response)
        };
        let ((code, _endpoint), _client) = tokio::join!(play, leave);
        assert_eq!(code, CANCEL);
    })
    .await;
}

/// Whether an endpoint asks for an end of the upload or not (RFC 9113, section 8.1).
#[tokio::test(start_paused = true)]
async fn upload_ends_with_its_response() {
    for resets in [true, false] {
        on_raw_edge(any_length(), |edge, mut pipes| async move {
            let play = async {
                let mut endpoint =
                    Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
                let stream = endpoint.head().await.expect("a request");
                endpoint.respond(stream).await;
                if resets {
                    endpoint.reset(stream, NO_ERROR).await;
                } else {
                    assert_eq!(reset(&mut endpoint, stream).await, CANCEL);
                }
                let (stream, _) =
                    endpoint.request().await.expect("the next request on the same connection");
                endpoint.respond(stream).await;
                endpoint
            };
            let ask = async {
                let mut client = edge.connect();
                let got = timeout(Duration::from_secs(10), upload(&mut client, UPLOAD))
                    .await
                    .expect("a response in time");
                let closes = got.contains("connection: close\r\n");
                assert!(
                    status(&got) == 200 && closes && got.ends_with("\r\nok\r\n0\r\n\r\n"),
                    "{got}"
                );
                edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await
            };
            let (got, _endpoint) = tokio::join!(ask, play);
            assert_eq!(status(&got), 200);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn upload_of_a_stream_ends_with_its_response() {
    on_raw_edge(any_length(), |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
            let stream = endpoint.head().await.expect("a request");
            endpoint.respond(stream).await;
            (reset(&mut endpoint, stream).await, endpoint)
        };
        let ask = async {
            let (_sender, response, mut body) = begin_upload(&edge).await;
            assert_eq!(response.await.expect("a response").status(), 200);
            let reset = std::future::poll_fn(|context| body.poll_reset(context)).await;
            assert_eq!(reset.expect("a reset"), h2::Reason::NO_ERROR);
        };
        let ((), (code, _endpoint)) =
            timeout(Duration::from_secs(10), async { tokio::join!(ask, play) })
                .await
                .expect("ends");
        assert_eq!(code, CANCEL);
    })
    .await;
}
