//! Responses of HTTP/2 endpoints that are whole before their stream ends: many endpoints end it in
//! a frame of its own (RFC 9113, section 8.1).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{
    frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM},
    grpc::to_http2,
    harness::{Edge, Pipes, on_raw_edge},
    http2_endpoint::Endpoint,
};

/// Begins a response with these fields and this content, and ends its stream a second later; panics
/// where the stream is reset meanwhile.
async fn end_late(endpoint: &mut Endpoint, head: &[(&str, &str)], content: &[u8]) {
    let (stream, _) = endpoint.request().await.expect("a request");
    endpoint.send(HEADERS, END_HEADERS, stream, &frames::fields(head)).await;
    if !content.is_empty() {
        endpoint.send(DATA, 0, stream, content).await;
    }
    let reset = timeout(Duration::from_secs(1), endpoint.read()).await;
    assert!(reset.is_err(), "{head:?}: {reset:?}");
    endpoint.send(DATA, END_STREAM, stream, &[]).await;
}

/// Accepts a connection and responds `ok` with its length, without the end of the stream.
async fn send_whole_content(pipes: &mut Pipes) -> (Endpoint, u32) {
    let mut endpoint = Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
    let (stream, _) = endpoint.request().await.expect("a request");
    let head = frames::fields(&[(":status", "200"), ("content-length", "2")]);
    endpoint.send(HEADERS, END_HEADERS, stream, &head).await;
    endpoint.send(DATA, 0, stream, b"ok").await;
    (endpoint, stream)
}

/// Asks with these bytes, and returns what comes within half a second.
async fn ask(edge: &Edge, request: &[u8]) -> Vec<u8> {
    let mut client = edge.connect();
    client.write_all(request).await.expect("an open pipe");
    sleep(Duration::from_millis(500)).await;
    let mut got = vec![0; 4096];
    let count = timeout(Duration::from_millis(1), client.read(&mut got))
        .await
        .expect("a response")
        .expect("bytes");
    got.truncate(count);
    got
}

#[tokio::test(start_paused = true)]
async fn response_that_is_whole_resets_no_stream() {
    let of_http2 = |method| {
        let fields =
            [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let request = frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::fields(&fields));
        [frames::hello(&[]), request].concat()
    };
    let of_http1 = |method| format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes();
    for (request, head, content) in [
        (of_http1("GET"), &[(":status", "200"), ("content-length", "2")][..], &b"ok"[..]),
        (of_http1("GET"), &[(":status", "200"), ("content-length", "0")], b""),
        (of_http1("GET"), &[(":status", "204")], b""),
        (of_http1("GET"), &[(":status", "304"), ("content-length", "2")], b""),
        (of_http1("HEAD"), &[(":status", "200"), ("content-length", "2")], b""),
        (of_http1("HEAD"), &[(":status", "200")], b""),
        (of_http2("GET"), &[(":status", "204")], b""),
        (of_http2("GET"), &[(":status", "304"), ("content-length", "2")], b""),
        (of_http2("HEAD"), &[(":status", "200"), ("content-length", "2")], b""),
    ] {
        on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
            let play = async {
                let mut endpoint =
                    Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
                end_late(&mut endpoint, head, content).await;
                endpoint
            };
            let (got, _endpoint) = tokio::join!(ask(&edge, &request), play);
            let has_content = got.ends_with(b"\r\n\r\nok");
            assert_ne!(content.is_empty(), has_content, "{}", got.escape_ascii());
            let line = edge.line().await;
            assert!(line["error"].is_null(), "{head:?}: {line}");
        })
        .await;
    }
}

/// Its client has all of it, and the endpoint gives it up.
#[tokio::test(start_paused = true)]
async fn response_that_is_whole_is_no_error_of_its_client() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let play = async {
            let (mut endpoint, stream) = send_whole_content(&mut pipes).await;
            endpoint.reset(stream, 8).await;
            endpoint
        };
        let (got, _endpoint) = tokio::join!(ask(&edge, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), play);
        assert!(got.ends_with(b"\r\n\r\nok"));
        let line = edge.line().await;
        assert!(line["error"].is_null(), "{line}");
    })
    .await;
}

/// Trailers may follow what the length announced (RFC 9113, section 8.1), towards a client that has
/// them.
#[tokio::test(start_paused = true)]
async fn trailers_behind_an_announced_length_cross() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let play = async {
            let (mut endpoint, stream) = send_whole_content(&mut pipes).await;
            sleep(Duration::from_secs(1)).await;
            endpoint
                .send(HEADERS, END_STREAM | END_HEADERS, stream, &frames::fields(&[("x-sum", "7")]))
                .await;
            endpoint
        };
        let ask = async {
            let mut client = edge.connect();
            client
                .write_all(&[frames::hello(&[]), frames::get(1)].concat())
                .await
                .expect("an open pipe");
            let mut kinds = Vec::new();
            while !kinds.contains(&(HEADERS, END_STREAM | END_HEADERS)) {
                let frame = frames::read(&mut client).await.expect("an open connection");
                assert_ne!(frame.kind, RST_STREAM);
                kinds.push((frame.kind, frame.flags));
            }
        };
        let (_endpoint, ()) = tokio::join!(play, ask);
        assert!(edge.line().await["error"].is_null());
    })
    .await;
}
