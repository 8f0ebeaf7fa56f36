//! Responses in the coding a client takes: what is said of them, how they flow, how they break.

use std::{convert::Infallible, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, response::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, sleep},
};
use weir::{
    compress::negotiate::Coding,
    config::Config,
    proxy::header_edits::{Edits, Template},
};

use crate::{
    decode::{decode, decode_so_far},
    harness::{Edge, Pipes, config, on_edge_of, on_raw_edge, status},
    http2,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Http1,
    Http2,
}

fn coding(limits: &[&str]) -> Config {
    let mut config = config(limits);
    config.routes[0].compress = Coding::ALL.to_vec();
    config
}

/// A page of a few kilobytes.
fn page() -> String {
    (0..400).map(|number| format!("<p>line {number}</p>\n")).collect()
}

fn asks(method: &Method, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("http://a.test/").header("host", "a.test");
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::default()).expect("a request")
}

async fn send(edge: &Edge, over: Over, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
    if over == Over::Http2 {
        request.headers_mut().remove("host");
        return http2::client(edge).await.send_request(request).await.expect("an answer");
    }
    *request.uri_mut() = "/".parse().expect("a path");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(edge.connect())).await.expect("a connection");
    tokio::task::spawn_local(connection);
    sender.send_request(request).await.expect("an answer")
}

async fn whole(response: Response<Incoming>) -> (Parts, Bytes) {
    let (head, body) = response.into_parts();
    (head, body.collect().await.expect("a whole body").to_bytes())
}

/// An upstream that has one response for everything.
fn serve(mut pipes: Pipes, answer: fn(http::response::Builder) -> Response<String>) {
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            let service =
                service_fn(
                    move |_| async move { Ok::<_, Infallible>(answer(Response::builder())) },
                );
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(pipe), service);
            tokio::task::spawn_local(connection);
        }
    });
}

fn a_page(answer: http::response::Builder) -> Response<String> {
    let answer = answer
        .header("content-type", "text/html")
        .header("etag", "\"1\"")
        .header("accept-ranges", "bytes");
    answer.header("vary", "cookie").body(page()).expect("an answer")
}

/// The fields of a response that a coding has a say in.
fn said(headers: &HeaderMap) -> Vec<String> {
    let names = ["content-encoding", "content-length", "vary", "etag", "accept-ranges"];
    let lines =
        names.iter().flat_map(|name| headers.get_all(*name).iter().map(move |value| (name, value)));
    lines.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect()
}

#[tokio::test(start_paused = true)]
async fn gzip_brotli_zstd_by_most_weight() {
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, a_page);
        for over in [Over::Http1, Over::Http2] {
            for (accepts, gets) in [
                ("gzip", "gzip"),
                ("gzip, br", "br"),
                ("*", "zstd"),
                ("zstd;q=0.1, x-gzip;q=0.2", "gzip"),
            ] {
                let response =
                    send(&edge, over, asks(&Method::GET, &[("accept-encoding", accepts)])).await;
                let (head, body) = whole(response).await;
                let encoding = format!("content-encoding: {gets}");
                assert_eq!(
                    said(&head.headers),
                    [&*encoding, "vary: cookie, accept-encoding", "etag: W/\"1\""],
                    "{accepts}"
                );
                assert_eq!(decode(gets, &body).expect("a whole body"), page().as_bytes());
                assert!(body.len() < 2000, "{} bytes of {}", body.len(), page().len());
                assert_eq!(edge.line().await["bytes_out"], body.len());
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn compression_refused_passes_original_with_vary() {
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, a_page);
        let length = format!("content-length: {}", page().len());
        let plain =
            [&*length, "vary: cookie, accept-encoding", "etag: \"1\"", "accept-ranges: bytes"];
        for over in [Over::Http1, Over::Http2] {
            for fields in [
                &[][..],
                &[("accept-encoding", "deflate, gzip;q=0")],
                &[("accept-encoding", "gzip"), ("cache-control", "no-transform")],
            ] {
                let (head, body) = whole(send(&edge, over, asks(&Method::GET, fields)).await).await;
                assert_eq!(
                    (said(&head.headers).as_slice(), &body[..]),
                    (&plain.map(str::to_owned)[..], page().as_bytes())
                );
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn brotli_head_for_head_is_that_for_get() {
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, a_page);
        for over in [Over::Http1, Over::Http2] {
            let of = async |method| {
                whole(send(&edge, over, asks(&method, &[("accept-encoding", "br")])).await).await
            };
            let ((get, _), (head, body)) = (of(Method::GET).await, of(Method::HEAD).await);
            assert_eq!((said(&get.headers), body.len()), (said(&head.headers), 0));
            assert_eq!(head.headers["content-encoding"], "br");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn gzip_leaves_excluded_responses_untouched() {
    type Answer = fn(http::response::Builder) -> Response<String>;
    let html: Answer =
        |answer| answer.header("content-type", "text/html").body(page()).expect("an answer");
    let answers: [Answer; 5] = [
        |answer| answer.header("content-type", "image/png").body(page()).expect("an answer"),
        |answer| {
            answer.header("content-type", "text/event-stream").body(page()).expect("an answer")
        },
        |answer| {
            answer.header("content-type", "text/plain").body("short".into()).expect("an answer")
        },
        |answer| {
            answer
                .header("content-type", "text/plain")
                .header("content-encoding", "x")
                .body(page())
                .expect("an answer")
        },
        |answer| {
            let answer =
                answer.header("content-type", "text/plain").header("cache-control", "no-transform");
            answer.body(page()).expect("an answer")
        },
    ];
    for (answer, is_coded) in
        answers.into_iter().map(|answer| (answer, false)).chain([(html, true)])
    {
        on_raw_edge(coding(&[]), |edge, pipes| async move {
            serve(pipes, answer);
            let (head, body) = whole(
                send(&edge, Over::Http1, asks(&Method::GET, &[("accept-encoding", "gzip")])).await,
            )
            .await;
            let sent = answer(Response::builder());
            assert_eq!(head.headers.contains_key("vary"), is_coded, "{head:?}");
            assert_eq!(head.headers.get("content-length").is_none(), is_coded, "{head:?}");
            assert_eq!(body == sent.body().as_bytes(), !is_coded, "{head:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn compression_skips_partial_and_not_modified_with_vary() {
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, |answer| {
            let answer =
                answer.status(206).header("content-type", "text/html").header("etag", "\"1\"");
            answer.header("content-range", "bytes 0-1/9000").body("ab".into()).expect("an answer")
        });
        let asked = asks(&Method::GET, &[("accept-encoding", "gzip"), ("range", "bytes=0-1")]);
        let (head, body) = whole(send(&edge, Over::Http1, asked).await).await;
        assert_eq!((head.status, &body[..]), (StatusCode::PARTIAL_CONTENT, &b"ab"[..]));
        assert_eq!(
            said(&head.headers),
            ["content-length: 2", "vary: accept-encoding", "etag: \"1\""]
        );
    })
    .await;
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, |answer| {
            answer.status(304).header("etag", "\"1\"").body(String::new()).expect("an answer")
        });
        for (held, told) in [("W/\"1\"", "etag: W/\"1\""), ("\"1\"", "etag: \"1\"")] {
            let asked = asks(&Method::GET, &[("accept-encoding", "gzip"), ("if-none-match", held)]);
            let (head, body) = whole(send(&edge, Over::Http1, asked).await).await;
            assert_eq!((head.status, body.len()), (StatusCode::NOT_MODIFIED, 0));
            assert_eq!(said(&head.headers), ["vary: accept-encoding", told]);
        }
    })
    .await;
}

const SLOW: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What can be decoded after each frame, and when it came.
async fn flow(
    head: &'static [u8],
    over: Over,
    accepts: &'static str,
    coding: &'static str,
) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    let seen_here = &mut seen;
    on_raw_edge(self::coding(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            pipe.write_all(head).await.expect("an open pipe");
            for number in 0..3 {
                pipe.write_all(format!("2\r\n{number}\n\r\n").as_bytes())
                    .await
                    .expect("an open pipe");
                sleep(Duration::from_secs(1)).await;
            }
            pipe.write_all(b"0\r\n\r\n").await.expect("an open pipe");
        };
        let read = async {
            let response =
                send(&edge, over, asks(&Method::GET, &[("accept-encoding", accepts)])).await;
            let (mut body, mut bytes) = (response.into_body(), Vec::new());
            while let Some(frame) = body.frame().await {
                let piece = frame.expect("a whole body").into_data().expect("data");
                if piece.is_empty() {
                    continue;
                }
                bytes.extend(piece);
                let so_far = if coding == "identity" {
                    bytes.clone()
                } else {
                    decode_so_far(coding, &bytes).0
                };
                seen_here.push((edge.now(), String::from_utf8(so_far).expect("text")));
            }
        };
        tokio::join!(play, read);
    })
    .await;
    seen
}

#[tokio::test(start_paused = true)]
async fn gzip_brotli_zstd_slow_stream_is_flushed_piece_by_piece() {
    let pieces = [(0, "0\n"), (1000, "0\n1\n"), (2000, "0\n1\n2\n"), (3000, "0\n1\n2\n")];
    let pieces = pieces.map(|(at, text)| (at, text.to_owned()));
    for over in [Over::Http1, Over::Http2] {
        for coding in ["zstd", "br", "gzip"] {
            assert_eq!(flow(SLOW, over, coding, coding).await, pieces, "{coding} {over:?}");
        }
        assert_eq!(flow(EVENTS, over, "gzip", "identity").await, pieces[..3], "{over:?}");
    }
}

/// Half a response, and then nothing any more.
async fn half(pipes: &mut Pipes) {
    let mut pipe = pipes.recv().await.expect("a connection");
    assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5000\r\n\r\n";
    pipe.write_all(format!("{head}{}", "half ".repeat(500)).as_bytes())
        .await
        .expect("an open pipe");
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn gzip_brotli_zstd_response_that_breaks_is_never_complete() {
    for over in [Over::Http1, Over::Http2] {
        for coding in ["zstd", "br", "gzip"] {
            on_raw_edge(self::coding(&[]), |edge, mut pipes| async move {
                let read = async {
                    let response =
                        send(&edge, over, asks(&Method::GET, &[("accept-encoding", coding)])).await;
                    let (mut body, mut bytes) = (response.into_body(), Vec::new());
                    let end = loop {
                        match body.frame().await.expect("a broken end") {
                            Ok(frame) => bytes.extend(frame.into_data().expect("data")),
                            Err(error) => break error,
                        }
                    };
                    let (decoded, whole) = decode_so_far(coding, &bytes);
                    assert!(
                        whole.is_err() && decoded == "half ".repeat(500).as_bytes(),
                        "{coding} {over:?} {end}"
                    );
                };
                tokio::join!(half(&mut pipes), read);
                assert_eq!(edge.line().await["error"]["kind"], "http_response_incomplete");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn client_abort_of_encoded_response_frees_connection_and_encoder() {
    on_raw_edge(coding(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
            .await
            .expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        assert!(upstream.read(&mut [0; 1024]).await.expect("a request") > 0);
        upstream.write_all(SLOW).await.expect("an open pipe");
        upstream.write_all(b"2\r\n0\n\r\n").await.expect("an open pipe");
        assert!(client.read(&mut [0; 1024]).await.expect("an answer") > 0);
        drop(client);
        assert_eq!(upstream.read(&mut [0; 16]).await.expect("an end"), 0);
        assert_eq!(edge.line().await["error"]["kind"], "client_gone");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn brotli_trailers_follow_without_the_old_digest() {
    on_raw_edge(coding(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            let head = String::from_utf8_lossy(SLOW)
                .replace("\r\n\r\n", "\r\ntrailer: x-sum, repr-digest\r\n\r\n");
            let end = "2\r\n0\n\r\n0\r\nx-sum: 7\r\nrepr-digest: sha-256=:x:\r\n\r\n";
            pipe.write_all(format!("{head}{end}").as_bytes()).await.expect("an open pipe");
            pipe
        };
        let read = async {
            let asked = asks(&Method::GET, &[("accept-encoding", "br"), ("te", "trailers")]);
            let body = send(&edge, Over::Http1, asked)
                .await
                .into_body()
                .collect()
                .await
                .expect("a whole body");
            let trailers = body.trailers().cloned().expect("trailers");
            assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"7".parse().expect("a value")));
            assert_eq!(decode("br", &body.to_bytes()).expect("a whole body"), b"0\n");
        };
        tokio::join!(play, read);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn gzip_for_http10_ends_with_connection() {
    on_raw_edge(coding(&[]), |edge, pipes| async move {
        serve(pipes, a_page);
        let mut client = edge.connect();
        client
            .write_all(b"GET / HTTP/1.0\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
            .await
            .expect("an open pipe");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an end");
        let body = memchr::memmem::find(&answer, b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&answer[..body]).to_lowercase();
        assert!(
            head.contains("connection: close") && !head.contains("transfer-encoding"),
            "{head}"
        );
        assert_eq!(decode("gzip", &answer[body..]).expect("a whole body"), page().as_bytes());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn compression_skips_own_responses() {
    on_edge_of(coding(&["1r/s"]), |edge: Rc<Edge>| async move {
        let request =
            "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(request).await), 200);
        let rejected = edge.exchange(request).await.to_lowercase();
        assert!(rejected.starts_with("http/1.1 503") && rejected.contains("content-length"), "{rejected}");
        assert!(!rejected.contains("content-encoding") && !rejected.contains("vary"), "{rejected}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn gzip_response_says_how_it_varies_whatever_a_route_sets() {
    let mut config = coding(&[]);
    let vary = Template::parse("origin").expect("a value");
    config.routes[0].response_edits =
        Edits::new(Vec::new(), vec![("vary".parse().expect("a name"), vary)]);
    on_raw_edge(config, |edge, pipes| async move {
        serve(pipes, a_page);
        let (head, body) = whole(
            send(&edge, Over::Http1, asks(&Method::GET, &[("accept-encoding", "gzip")])).await,
        )
        .await;
        assert_eq!(
            (head.headers["content-encoding"].as_bytes(), head.headers["etag"].as_bytes()),
            (&b"gzip"[..], &b"W/\"1\""[..])
        );
        assert_eq!(
            said(&head.headers).iter().filter(|line| line.starts_with("vary")).collect::<Vec<_>>(),
            ["vary: origin, accept-encoding"]
        );
        assert_eq!(decode("gzip", &body).expect("gzip"), page().into_bytes());
    })
    .await;
}
