//! How large the head of a response may be, and what comes behind responses that have no body.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use weir::downstream::settings::HeaderLimits;

use crate::{
    grpc::to_http2,
    harness::{config, on_raw_edge, status},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const COUNT: &str = "details=\"the response has more fields than `response_limits.count`\"";
const SIZE: &str = "details=\"the response's head is larger than `response_limits.size`\"";

/// The response to a client whose endpoint sends so many fields, of which the first has so many
/// bytes.
async fn over_http1((count, length): (usize, usize), limits: HeaderLimits) -> String {
    let got = Rc::new(std::cell::RefCell::new(String::new()));
    let put = Rc::clone(&got);
    let mut limited = config(&[]);
    limited.upstreams[0].response_limits = limits;
    on_raw_edge(limited, |edge, mut pipes| async move {
        let fields = format!("x: {}\r\n{}", "y".repeat(length), "a: b\r\n".repeat(count - 1));
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            // A connection that is dropped meanwhile takes no more.
            let _ =
                pipe.write_all(format!("HTTP/1.1 204 No Content\r\n{fields}\r\n").as_bytes()).await;
        };
        let (answer, ()) = tokio::join!(edge.exchange(GET), play);
        *put.borrow_mut() = answer;
    })
    .await;
    got.take()
}

async fn over_http2((count, length): (usize, usize), limits: HeaderLimits) -> String {
    let got = Rc::new(std::cell::RefCell::new(String::new()));
    let put = Rc::clone(&got);
    let mut limited = to_http2(&[]);
    limited.upstreams[0].response_limits = limits;
    on_raw_edge(limited, |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let pipe = pipes.recv().await.expect("a connection");
            let mut connection =
                h2::server::Builder::new().handshake::<_, Bytes>(pipe).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response =
                    (1..count).fold(Response::builder(), |response, _| response.header("a", "b"));
                let response = response
                    .header("x", "y".repeat(length))
                    .status(204)
                    .body(())
                    .expect("a response");
                respond.send_response(response, true).expect("a stream");
            }
        });
        *put.borrow_mut() = edge.exchange(GET).await;
    })
    .await;
    got.take()
}

#[tokio::test(start_paused = true)]
async fn response_limits_are_named_where_they_are_exceeded() {
    let usual = HeaderLimits { size: 32 * 1024, count: 100 };
    let large = HeaderLimits { size: 256 * 1024, count: 1_000 };
    let small = HeaderLimits { size: 1_024, count: 3 };
    for (fields, limits, detail) in [
        ((100, 1), usual, None),
        ((101, 1), usual, Some(COUNT)),
        ((1, 32_000), usual, None),
        ((1, 33_000), usual, Some(SIZE)),
        ((1_000, 200_000), large, None),
        ((1_001, 1), large, Some(COUNT)),
        ((1, 270_000), large, Some(SIZE)),
        ((3, 900), small, None),
        ((4, 1), small, Some(COUNT)),
        ((1, 1_100), small, Some(SIZE)),
    ] {
        for answer in [over_http1(fields, limits).await, over_http2(fields, limits).await] {
            match detail {
                None => assert_eq!(status(&answer), 204, "{fields:?}: {answer}"),
                Some(detail) => {
                    assert_eq!(status(&answer), 502, "{answer}");
                    assert!(
                        answer.contains(&format!("error=http_protocol_error; {detail}")),
                        "{answer}"
                    );
                }
            }
        }
    }
}

/// What is wrong with a response is said, not that it is no HTTP.
#[tokio::test(start_paused = true)]
async fn response_that_is_refused_names_its_flaw() {
    for (response, flaw) in [
        ("HTTP/1.1 200 OK\r\nx: a\x01b\r\n\r\n", "a control byte"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "Content-Length",
        ),
        ("HTTP/1.1 999 No\r\n\r\n", "the response's status is not 100 to 599"),
        ("SSH-2.0\r\n", "the response does not begin with HTTP/1.1 and a status"),
    ] {
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let play = async {
                let mut pipe = pipes.recv().await.expect("a connection");
                assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
                pipe.write_all(response.as_bytes()).await.expect("an open pipe");
            };
            let (answer, ()) = tokio::join!(edge.exchange(GET), play);
            let details = answer.split("details=\"").nth(1).unwrap_or_default();
            assert!(status(&answer) == 502 && details.contains(flaw), "{answer}");
        })
        .await;
    }
}

/// Bytes that come late behind a response without a body are not the next request's response.
#[tokio::test(start_paused = true)]
async fn bytes_late_behind_a_response_without_a_body_meet_no_request() {
    const HEAD: &str = "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (request, response, late) in [
        (GET, format!("HTTP/1.1 204 No Content\r\n{chunked}"), "0\r\n\r\n"),
        (GET, format!("HTTP/1.1 304 Not Modified\r\n{chunked}"), "0\r\n\r\n"),
        (HEAD, format!("HTTP/1.1 200 OK\r\n{chunked}"), "5\r\nhello\r\n0\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_owned(), "hello"),
    ] {
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let first = response.clone();
            tokio::task::spawn_local(async move {
                let mut pipe = pipes.recv().await.expect("a connection");
                assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
                pipe.write_all(first.as_bytes()).await.expect("an open pipe");
                let second = pipes.recv();
                sleep(Duration::from_millis(250)).await;
                // weir may have closed it.
                let _ = pipe.write_all(late.as_bytes()).await;
                let mut second = second.await.expect("a connection of its own");
                assert!(second.read(&mut [0; 1024]).await.expect("a request") > 0);
                second
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown")
                    .await
                    .expect("an open pipe");
                std::future::pending::<()>().await;
            });
            edge.exchange(request).await;
            sleep(Duration::from_millis(100)).await;
            let answer = edge.exchange(GET).await;
            assert!(status(&answer) == 200 && answer.ends_with("own"), "{response:?}: {answer}");
        })
        .await;
    }
}

/// Whether trailers of so many fields, of which the first has so many bytes, cross from an endpoint
/// of HTTP/2.
async fn trailers_cross((count, length): (usize, usize)) -> bool {
    let got = Rc::new(std::cell::Cell::new(false));
    let put = Rc::clone(&got);
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let pipe = pipes.recv().await.expect("a connection");
            let mut connection =
                h2::server::Builder::new().handshake::<_, Bytes>(pipe).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response =
                    Response::builder().header("trailer", "x-a").body(()).expect("a response");
                let mut body = respond.send_response(response, false).expect("a stream");
                let long =
                    ("x-a".parse().expect("a name"), "y".repeat(length).parse().expect("a value"));
                let mut trailers: http::HeaderMap = [long].into_iter().collect();
                for _ in 1..count {
                    trailers.append("x-a", http::HeaderValue::from_static("b"));
                }
                body.send_trailers(trailers).expect("a stream");
            }
        });
        let got = edge
            .exchange("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(status(&got), 200);
        let line = edge.line().await;
        let detail = line["error"]["detail"].as_str().unwrap_or_default();
        let named = detail.ends_with("the response's trailers are larger than `response_limits`");
        let crossed = got.ends_with("\r\n\r\n") && got.contains("x-a: y");
        assert!(crossed != named, "{line}");
        put.set(crossed);
    })
    .await;
    got.get()
}

#[tokio::test(start_paused = true)]
async fn response_limits_hold_for_the_trailers_of_http2() {
    for (fields, crosses) in
        [((100, 1), true), ((101, 1), false), ((1, 32_761), true), ((1, 32_762), false)]
    {
        assert_eq!(trailers_cross(fields).await, crosses, "{fields:?}");
    }
}
