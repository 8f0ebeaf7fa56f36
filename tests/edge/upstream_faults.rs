//! Upstreams that misbehave: what the client is told, what the log says, that the connection is
//! dropped, that the next request gets a response of its own, and that nothing hangs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::harness::{Edge, World, config_to, final_response, on_raw_edge, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const OWN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown";

/// What the upstream does behind its bytes.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Close,
    /// Wait until weir drops the connection.
    Wait,
}

/// A faulty response, and what becomes of it.
struct Fault {
    answer: String,
    then: Then,
    /// The status the client is told.
    status: u16,
    kind: &'static str,
}

/// Reads a request, or what there is of it.
async fn request(pipe: &mut DuplexStream) -> String {
    let mut buffer = vec![0; 4096];
    let count = pipe.read(&mut buffer).await.expect("a request");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// The faulty response to the first request, then a good one on the next connection.
async fn play(fault: &Fault, pipes: &mut crate::harness::Pipes) {
    let mut pipe = pipes.recv().await.expect("a connection");
    assert!(!request(&mut pipe).await.is_empty());
    // A connection that is dropped meanwhile takes no more.
    let _ = pipe.write_all(fault.answer.as_bytes()).await;
    if fault.then == Then::Wait {
        pipe.read_to_end(&mut Vec::new()).await.expect("the end of the connection");
    }
    drop(pipe);
    let mut pipe = pipes.recv().await.expect("a connection of the next request's own");
    assert!(!request(&mut pipe).await.is_empty());
    pipe.write_all(OWN).await.expect("an open pipe");
}

/// Lets an upstream commit this fault and returns what the client got.
async fn client_gets(fault: Fault) -> String {
    let got = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
    let put = std::rc::Rc::clone(&got);
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let shown = fault.answer.chars().take(90).collect::<String>();
        let ask = async {
            let first = edge.exchange(GET).await;
            let line = edge.line().await;
            let told = status(&first);
            // A cut before the first byte of a body may leave the client with nothing at all.
            assert!(
                told == fault.status || first.is_empty() && fault.status == 200,
                "{shown:?}: {first}"
            );
            assert_eq!(
                (&line["error"]["kind"], &line["error"]["side"]),
                (&fault.kind.into(), &"upstream".into()),
                "{line}"
            );
            *put.borrow_mut() = first;
            let second = edge.exchange(GET).await;
            assert!(
                second.starts_with("HTTP/1.1 200 OK") && second.ends_with("\r\n\r\nown"),
                "{shown:?}: {second}"
            );
            assert!(edge.now() < 70_000, "{}", edge.now());
        };
        tokio::join!(ask, play(&fault, &mut pipes));
    })
    .await;
    got.take()
}

/// The response is not passed on at all.
async fn refused(answer: &str, then: Then, kind: &'static str) {
    let answer = client_gets(Fault { answer: answer.to_owned(), then, status: 502, kind }).await;
    assert!(answer.contains(&format!("proxy-status: weir; error={kind}; ")), "{answer}");
}

/// The response is begun, and the client sees that it is cut.
async fn cut(answer: &str, then: Then, kind: &'static str) {
    let got = client_gets(Fault { answer: answer.to_owned(), then, status: 200, kind }).await;
    assert!(!got.ends_with("\r\n0\r\n\r\n"), "a complete answer: {got}");
    assert!(!got.starts_with("HTTP/1.1 5"), "{got}");
    if let Some(length) =
        got.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next())
    {
        let body = got.split("\r\n\r\n").nth(1).expect("a body");
        assert!(body.len() < length.parse().expect("a length"), "a complete answer: {got}");
    }
}

const PROTOCOL: &str = "http_protocol_error";
const TERMINATED: &str = "connection_terminated";

/// In a world like this a GET gets this response, then, and its access line says this of it.
async fn unconnected(like: fn(&World) -> &AtomicBool, at: u64, told: u16, kind: &str) {
    on_raw_edge(config_to(&["1"]), |edge, _pipes| async move {
        like(&edge.world).store(true, Ordering::Relaxed);
        let got = edge.exchange(GET).await;
        assert_eq!((edge.now(), status(&got)), (at, told));
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["error"]["kind"]), (&told.into(), &kind.into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upstream_refuses_connections() {
    unconnected(|world| &world.refusing, 0, 502, "connection_refused").await;
}

#[tokio::test(start_paused = true)]
async fn upstream_takes_no_connection() {
    unconnected(|world| &world.silent, 2000, 504, "connection_timeout").await;
}

#[tokio::test(start_paused = true)]
async fn close_before_and_in_the_head() {
    for answer in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
    ] {
        refused(answer, Then::Close, TERMINATED).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_after_the_head_short_length_cut_chunk_no_last_chunk() {
    let kind = "http_response_incomplete";
    for body in ["", "hell"] {
        cut(&format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}"), Then::Close, kind)
            .await;
    }
    for body in [
        "",
        "5",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nx: y\r\n",
    ] {
        cut(
            &format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
            Then::Close,
            kind,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_invalid_chunks() {
    for body in [
        "xyz\r\nhello",
        "-5\r\nhello",
        "5 5\r\nhello",
        "5\r\nhelloX\r\n",
        "fffffffffffffffff\r\nhello",
        "\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        cut(&answer, Then::Wait, "http_response_incomplete").await;
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_and_http_0_9() {
    for answer in [
        "nonsense\r\n\r\n",
        "<html>hello</html>",
        "\u{0}\u{1}\u{2}\u{3}",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2 200\r\n\r\n",
    ] {
        refused(answer, Then::Wait, PROTOCOL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_huge_head() {
    let long = "x".repeat(33 * 1024);
    refused(&format!("HTTP/1.1 200 OK\r\nx: {long}\r\n\r\n"), Then::Wait, PROTOCOL).await;
    refused(&format!("HTTP/1.1 200 OK\r\nx: {long}"), Then::Wait, PROTOCOL).await;
    let many = "x: y\r\n".repeat(101);
    refused(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), Then::Wait, PROTOCOL).await;
}

#[tokio::test(start_paused = true)]
async fn endless_interim_answers() {
    let many = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n".repeat(10_000);
    refused(&many, Then::Wait, PROTOCOL).await;
}

#[tokio::test(start_paused = true)]
async fn framing_that_could_be_read_in_two_ways() {
    for fields in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: 3, 3\r\n",
        "content-length: +3\r\n",
        "content-length: -3\r\n",
        "content-length: 0x3\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        refused(
            &format!("HTTP/1.1 200 OK\r\n{fields}\r\n3\r\nabc\r\n0\r\n\r\n"),
            Then::Wait,
            PROTOCOL,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_are_none() {
    for head in [
        "HTTP/1.1 2x0 OK\r\n",
        "HTTP/1.1 -20 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 600 OK\r\n",
        "HTTP/1.1 999 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded: z\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n",
        "HTTP/1.1 200 O\0K\r\n",
    ] {
        refused(&format!("{head}content-length: 0\r\n\r\n"), Then::Wait, PROTOCOL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn interim_response_is_never_the_final_one() {
    refused("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n", Then::Close, TERMINATED).await;
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            for status in ["100 Continue", "102 Processing", "103 Early Hints"] {
                pipe.write_all(format!("HTTP/1.1 {status}\r\nx-interim: 1\r\n\r\n").as_bytes())
                    .await
                    .expect("an open pipe");
                sleep(Duration::from_secs(1)).await;
            }
            pipe.write_all(OWN).await.expect("an open pipe");
        };
        let (got, ()) = tokio::join!(edge.exchange(GET), play);
        // weir itself sends `100 Continue`, and only to a client that waits for it.
        assert_eq!(got.matches("x-interim").count(), 2, "{got}");
        let response = final_response(&got);
        assert!(
            response.starts_with("HTTP/1.1 200 OK")
                && response.ends_with("own")
                && !response.contains("x-interim"),
            "{got}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_body_cuts_slow_body() {
    cut("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", Then::Wait, "connection_read_timeout")
        .await;
}

/// Two requests on one connection of a client; between them the upstream says something nobody
/// asked for.
async fn second_after(unasked: &'static str, pause: Duration) {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            pipe.write_all(
                format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst{unasked}").as_bytes(),
            )
            .await
            .expect("a pipe");
            let rest = request(&mut pipe).await;
            assert_eq!(rest, "", "the connection is used again");
            let mut pipe = pipes.recv().await.expect("a connection of its own");
            request(&mut pipe).await;
            pipe.write_all(OWN).await.expect("an open pipe");
        };
        let ask = async {
            let first = edge.exchange(GET).await;
            sleep(pause).await;
            (first, edge.exchange(GET).await)
        };
        let ((first, second), ()) = tokio::join!(ask, play);
        assert!(first.ends_with("\r\n\r\nfirst"), "{first}");
        assert!(
            second.starts_with("HTTP/1.1 200 OK") && second.ends_with("\r\n\r\nown"),
            "{second}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn extra_bytes_beyond_the_length() {
    for pause in [0, 10] {
        second_after(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            Duration::from_millis(pause),
        )
        .await;
        second_after("x", Duration::from_millis(pause)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unsolicited_bytes_or_408_on_an_idle_connection() {
    for unasked in [
        "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
            let play = async {
                let mut pipe = pipes.recv().await.expect("a connection");
                request(&mut pipe).await;
                pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst")
                    .await
                    .expect("an open pipe");
                sleep(Duration::from_millis(100)).await;
                pipe.write_all(unasked.as_bytes()).await.expect("an open pipe");
                assert_eq!(request(&mut pipe).await, "", "the connection is used again");
                let mut pipe = pipes.recv().await.expect("a connection of its own");
                request(&mut pipe).await;
                pipe.write_all(OWN).await.expect("an open pipe");
            };
            let ask = async {
                edge.exchange(GET).await;
                // At the very moment the other bytes come.
                sleep(Duration::from_millis(100)).await;
                edge.exchange(GET).await
            };
            let (second, ()) = tokio::join!(ask, play);
            assert!(second.ends_with("\r\n\r\nown"), "{second}");
        })
        .await;
    }
}

async fn answer_on(edge: &Edge, request: &str) -> (u16, DuplexStream) {
    let mut client = edge.connect();
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut answer = vec![0; 4096];
    let count = client.read(&mut answer).await.expect("an answer");
    (status(&String::from_utf8_lossy(&answer[..count])), client)
}

#[tokio::test(start_paused = true)]
async fn early_final_response_to_an_upload() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            pipe.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.expect("an open pipe");
            let mut pipe = pipes.recv().await.expect("a connection of its own");
            request(&mut pipe).await;
            pipe.write_all(OWN).await.expect("an open pipe");
        };
        let ask = async {
            let upload =
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
            let (early, _client) = answer_on(&edge, upload).await;
            let second = edge.exchange(GET).await;
            assert_eq!((early, edge.now()), (413, 0));
            assert!(second.ends_with("\r\n\r\nown"), "{second}");
        };
        tokio::join!(ask, play);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_without_a_length_end_with_the_connection() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            pipe.write_all(b"HTTP/1.0 200 OK\r\n\r\nwhatever comes").await.expect("an open pipe");
        };
        let (got, ()) = tokio::join!(edge.exchange(GET), play);
        assert!(
            got.contains("transfer-encoding: chunked")
                && got.ends_with("whatever comes\r\n0\r\n\r\n"),
            "{got}"
        );
    })
    .await;
}

/// The endpoint responds and goes on reading; then the upload breaks.
#[tokio::test(start_paused = true)]
async fn upload_broken_after_early_response_is_client_fault() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nbegun")
                .await
                .expect("an open pipe");
            pipe.read_to_end(&mut Vec::new()).await.expect("the end of the connection");
        };
        let ask = async {
            let upload =
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
            let (early, mut client) = answer_on(&edge, upload).await;
            client.write_all(b"zz\r\n").await.expect("an open pipe");
            client.read_to_end(&mut Vec::new()).await.expect("an end");
            let line = edge.line().await;
            assert_eq!((early, edge.now() < 1_000), (200, true));
            assert_eq!(
                (&line["error"]["side"], &line["error"]["kind"]),
                (&"client".into(), &"http_request_error".into()),
                "{line}"
            );
        };
        tokio::join!(ask, play);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn early_response_says_connection_close() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            request(&mut pipe).await;
            pipe.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
                .await
                .expect("an open pipe");
            pipe.read_to_end(&mut Vec::new()).await.expect("the end of the connection");
        };
        let upload = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhello";
        let (got, ()) = tokio::join!(edge.exchange(upload), play);
        assert!(got.starts_with("HTTP/1.1 413") && got.contains("connection: close\r\n"), "{got}");
    })
    .await;
}
