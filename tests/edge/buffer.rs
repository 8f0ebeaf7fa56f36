//! `request.buffer`: bodies of unknown length are collected, and go out with their length; and can
//! be sent again.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};
use weir::config::Config;

use crate::{
    frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS},
    harness::{Edge, Pipes, config, on_edge_of, on_raw_edge, status},
    recorder::{Message, message},
};

const CHUNKED: &str =
    "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

fn buffering(most: usize) -> Config {
    let mut config = config(&[]);
    config.routes[0].buffer = most;
    config
}

async fn said(pipe: &mut DuplexStream, text: &str) {
    pipe.write_all(text.as_bytes()).await.expect("an open pipe");
}

/// The next request that a connection carries.
async fn asked(pipe: &mut DuplexStream) -> Message {
    let mut bytes = Vec::new();
    loop {
        if let Some((request, length)) = message(&bytes).expect("a request") {
            assert_eq!(length, bytes.len());
            return request;
        }
        assert!(
            pipe.read_buf(&mut bytes).await.expect("an open pipe") > 0,
            "cut: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// A request's length, its coding, and its body, as an endpoint sees them.
fn told(request: &Message) -> (Vec<&str>, Vec<&str>, &[u8]) {
    (request.all("content-length"), request.all("transfer-encoding"), &request.body)
}

/// Nothing has been opened to an endpoint, however long it takes.
async fn nobody_is_asked(pipes: &mut Pipes) {
    sleep(Duration::from_millis(10)).await;
    assert!(pipes.try_recv().is_none());
}

async fn response(client: &mut DuplexStream) -> String {
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an end");
    response
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test(start_paused = true)]
async fn buffer_gives_a_chunked_body_its_length() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        let mut client = edge.connect();
        for piece in [CHUNKED, "3\r\nabc\r\n", "7\r\ndefghij\r\n0", "\r\n"] {
            said(&mut client, piece).await;
            nobody_is_asked(&mut pipes).await;
        }
        said(&mut client, "\r\n").await;
        let mut endpoint = pipes.recv().await.expect("a connection");
        assert_eq!(told(&asked(&mut endpoint).await), (vec!["10"], vec![], &b"abcdefghij"[..]));
        said(&mut endpoint, OK).await;
        assert_eq!(status(&response(&mut client).await), 200);
        assert_eq!(edge.line().await["bytes_in"], 10);
    })
    .await;
}

/// The head of a POST, and its body in pieces.
fn post(stream: u32, pieces: &[&[u8]]) -> Vec<u8> {
    let fields =
        frames::fields(&[(":method", "POST"), frames::GET[1], frames::GET[2], frames::GET[3]]);
    let mut bytes = frames::frame(HEADERS, END_HEADERS, stream, &fields);
    for (index, piece) in pieces.iter().enumerate() {
        let flags = if index + 1 == pieces.len() { END_STREAM } else { 0 };
        bytes.extend(frames::frame(DATA, flags, stream, piece));
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn buffer_gives_a_body_of_http_2_its_length() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        for (stream, pieces, length) in
            [(1, &[&b"abc"[..], b"def"][..], "6"), (3, &[b"abc", b""], "3"), (5, &[b""], "0")]
        {
            let mut client = edge.connect();
            client
                .write_all(&[frames::hello(&[]), post(stream, pieces)].concat())
                .await
                .expect("an open pipe");
            let mut endpoint = pipes.recv().await.expect("a connection");
            let request = asked(&mut endpoint).await;
            assert_eq!(
                (request.all("content-length"), request.body.len()),
                (vec![length], length.parse().expect("a number"))
            );
            said(&mut endpoint, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            frames::until(&mut client, HEADERS).await.expect("a response");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn buffer_that_is_too_small_lets_a_body_go_on_as_it_came() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        let mut client = edge.connect();
        said(&mut client, &format!("{CHUNKED}a\r\n0123456789\r\n")).await;
        nobody_is_asked(&mut pipes).await;
        said(&mut client, "1\r\nx\r\n").await;
        let mut endpoint = pipes.recv().await.expect("a connection");
        let mut begun = Vec::new();
        while !begun.ends_with(b"1\r\nx\r\n") {
            assert!(endpoint.read_buf(&mut begun).await.expect("an open pipe") > 0);
        }
        said(&mut client, "2\r\nyz\r\n0\r\n\r\n").await;
        while !begun.ends_with(b"0\r\n\r\n") {
            assert!(endpoint.read_buf(&mut begun).await.expect("an open pipe") > 0);
        }
        let (request, _) = message(&begun).expect("a request").expect("the whole of it");
        assert_eq!(told(&request), (vec![], vec!["chunked"], &b"0123456789xyz"[..]));
        said(&mut endpoint, OK).await;
        assert_eq!(status(&response(&mut client).await), 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn buffer_of_an_empty_body_says_so_where_a_method_has_one() {
    for (method, length) in [("POST", vec!["0"]), ("GET", vec![])] {
        on_raw_edge(buffering(10), |edge, mut pipes| async move {
            let mut client = edge.connect();
            said(&mut client, &format!("{}0\r\n\r\n", CHUNKED.replace("POST", method))).await;
            let mut endpoint = pipes.recv().await.expect("a connection");
            assert_eq!(told(&asked(&mut endpoint).await), (length, vec![], &b""[..]));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn buffer_keeps_trailers_which_need_chunks() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        let mut client = edge.connect();
        said(&mut client, &format!("{CHUNKED}2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n")).await;
        let mut endpoint = pipes.recv().await.expect("a connection");
        let request = asked(&mut endpoint).await;
        assert_eq!(told(&request), (vec![], vec!["chunked"], &b"hi"[..]));
        assert_eq!(request.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    })
    .await;
}

/// A body that says its length, and every body of a route that collects none, begins to go out at
/// once.
#[tokio::test(start_paused = true)]
async fn buffer_holds_no_other_body_up() {
    let known = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab";
    for (most, begun) in
        [(10, known.to_owned()), (0, format!("{CHUNKED}2\r\nab\r\n")), (0, known.to_owned())]
    {
        on_raw_edge(buffering(most), |edge, mut pipes| async move {
            let mut client = edge.connect();
            said(&mut client, &begun).await;
            let mut endpoint = pipes.recv().await.expect("a connection");
            let mut came = Vec::new();
            while !String::from_utf8_lossy(&came).contains("ab") {
                assert!(endpoint.read_buf(&mut came).await.expect("an open pipe") > 0);
            }
        })
        .await;
    }
}

/// A first request whose connection is kept, and then one that this connection loses.
async fn lost_on_a_kept_connection(
    edge: &Rc<Edge>,
    pipes: &mut Pipes,
    request: &str,
) -> (DuplexStream, Message) {
    let mut client = edge.connect();
    said(&mut client, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut kept = pipes.recv().await.expect("a connection");
    asked(&mut kept).await;
    said(&mut kept, OK).await;
    assert_eq!(status(&response(&mut client).await), 200);
    let mut client = edge.connect();
    said(&mut client, request).await;
    let seen = asked(&mut kept).await;
    (client, seen)
}

#[tokio::test(start_paused = true)]
async fn buffer_lets_a_request_be_sent_again_whole() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        let put = format!("{}3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", CHUNKED.replace("POST", "PUT"));
        let (mut client, first) = lost_on_a_kept_connection(&edge, &mut pipes, &put).await;
        let mut fresh = pipes.recv().await.expect("another connection");
        let second = asked(&mut fresh).await;
        assert_eq!(
            (told(&first), told(&second)),
            (told(&second), (vec!["6"], vec![], &b"abcdef"[..]))
        );
        said(&mut fresh, OK).await;
        assert_eq!(status(&response(&mut client).await), 200);
        edge.line().await;
        assert_eq!(edge.line().await["upstream"]["tries"], 2);
    })
    .await;
}

/// What may have been acted on is not sent again, nor what is not kept.
#[tokio::test(start_paused = true)]
async fn buffer_lets_no_other_request_be_sent_again() {
    let put = CHUNKED.replace("POST", "PUT");
    for (most, request) in [
        (10, format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n")),
        (2, format!("{put}3\r\nabc\r\n0\r\n\r\n")),
        (0, format!("{put}3\r\nabc\r\n0\r\n\r\n")),
    ] {
        on_raw_edge(buffering(most), |edge, mut pipes| async move {
            let (mut client, _) = lost_on_a_kept_connection(&edge, &mut pipes, &request).await;
            assert_eq!(status(&response(&mut client).await), 502, "{request}");
            assert!(pipes.try_recv().is_none());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn buffer_takes_no_more_than_a_body_may_have() {
    let mut small = buffering(1_000);
    small.routes[0].max_body = Some(5);
    on_raw_edge(small, |edge, mut pipes| async move {
        let answer = edge.exchange(&format!("{CHUNKED}6\r\nabcdef\r\n0\r\n\r\n")).await;
        assert!(status(&answer) == 413 && answer.contains("connection: close\r\n"), "{answer}");
        assert!(pipes.try_recv().is_none());
        assert_eq!(edge.line().await["error"]["side"], "client");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn buffer_of_a_body_that_breaks_reaches_nobody() {
    for (rest, told) in [("", 499), ("no size\r\n", 400)] {
        on_raw_edge(buffering(10), |edge, mut pipes| async move {
            let mut client = edge.connect();
            said(&mut client, &format!("{CHUNKED}2\r\nhi\r\n{rest}")).await;
            client.shutdown().await.expect("an open pipe");
            response(&mut client).await;
            assert_eq!(edge.line().await["status"], told);
            assert!(pipes.try_recv().is_none());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn buffer_of_a_body_that_does_not_come_has_the_time_of_a_body() {
    on_raw_edge(buffering(10), |edge, mut pipes| async move {
        let mut client = edge.connect();
        said(&mut client, &format!("{CHUNKED}2\r\nhi\r\n")).await;
        assert_eq!(response(&mut client).await, "");
        assert!((10_000..=10_500).contains(&edge.now()), "{}", edge.now());
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"]),
            (&408.into(), &"request_timeout".into())
        );
        assert!(pipes.try_recv().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn buffer_asks_a_client_that_waits_to_go_on() {
    on_edge_of(buffering(10), |edge| async move {
        let mut client = edge.connect();
        said(&mut client, &CHUNKED.replace("connection", "expect: 100-continue\r\nconnection"))
            .await;
        let mut told = vec![0; 100];
        let count = client.read(&mut told).await.expect("an open pipe");
        assert_eq!(&told[..count], b"HTTP/1.1 100 Continue\r\n\r\n");
        said(&mut client, "2\r\nhi\r\n0\r\n\r\n").await;
        assert_eq!(status(&response(&mut client).await), 200);
        let seen = edge.seen.borrow();
        assert_eq!(
            (&seen[0].headers["content-length"], &seen[0].body[..]),
            (&"2".parse().expect("a value"), &b"hi"[..])
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn buffer_is_filled_after_the_wait_for_a_slot() {
    let mut limited = config(&["1r/s burst=1"]);
    limited.routes[0].buffer = 10;
    on_edge_of(limited, |edge| async move {
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
        let answer = edge.exchange(&format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n")).await;
        assert_eq!((status(&answer), edge.forwarded()), (200, vec![0, 1_000]));
    })
    .await;
}

/// Lost on a fresh connection, it is sent once more after a pause where the upstream has a `hold`.
#[tokio::test(start_paused = true)]
async fn buffer_lets_a_held_request_be_sent_again_whole() {
    let put = format!("{}3\r\nabc\r\n0\r\n\r\n", CHUNKED.replace("POST", "PUT"));
    for (most, expected) in [(10, 200), (0, 502)] {
        let mut held = buffering(most);
        held.upstreams[0].hold = Duration::from_secs(5);
        let put = put.clone();
        on_raw_edge(held, |edge, mut pipes| async move {
            let mut client = edge.connect();
            said(&mut client, &put).await;
            asked(&mut pipes.recv().await.expect("a connection")).await;
            if expected == 200 {
                let mut second = pipes.recv().await.expect("another connection");
                assert_eq!((edge.now(), &asked(&mut second).await.body[..]), (500, &b"abc"[..]));
                said(&mut second, OK).await;
            }
            assert_eq!(status(&response(&mut client).await), expected);
            assert!(pipes.try_recv().is_none());
        })
        .await;
    }
}

/// No more than a worker has room for is collected: the next body goes on in chunks, and once there
/// is room again bodies are collected.
#[tokio::test(start_paused = true)]
async fn buffer_of_a_worker_is_bounded() {
    const BODY: usize = 16 << 20;
    let mut large = buffering(BODY);
    large.routes[0].max_body = None;
    on_raw_edge(large, |edge, mut pipes| async move {
        let upload = |edge: &Rc<Edge>| {
            let mut client = edge.connect();
            tokio::task::spawn_local(async move {
                let size = format!("{CHUNKED}{BODY:x}\r\n");
                // What nobody takes is never sent to its end.
                let _cut = client.write_all(size.as_bytes()).await;
                let _cut = client.write_all(&vec![b'x'; BODY]).await;
                let _cut = client.write_all(b"\r\n0\r\n\r\n").await;
                response(&mut client).await
            })
        };
        let mut heads = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(upload(&edge));
            let mut endpoint = pipes.recv().await.expect("a connection");
            let mut head = vec![0; 512];
            let count = endpoint.read(&mut head).await.expect("an open pipe");
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            heads.push(head.contains("transfer-encoding: chunked"));
            // It takes no more of it: what was collected stays where it is.
            waiting.push(tokio::task::spawn_local(async move {
                std::future::pending::<()>().await;
                drop(endpoint);
                String::new()
            }));
        }
        assert_eq!(heads, [false, false, false, false, true]);
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        sleep(Duration::from_secs(1)).await;
        let _uploading = upload(&edge);
        let mut endpoint = pipes.recv().await.expect("a connection");
        let mut head = vec![0; 512];
        let count = endpoint.read(&mut head).await.expect("an open pipe");
        assert!(String::from_utf8_lossy(&head[..count]).contains("content-length: 16777216"));
    })
    .await;
}

/// The time to the first byte begins again with each piece that an endpoint takes, whether it was
/// collected before or not; also where the body is sent again.
#[tokio::test(start_paused = true)]
async fn buffer_counts_first_byte_from_the_last_piece_that_was_taken() {
    const BODY: usize = 1_000_000;
    let put = CHUNKED.replacen("POST", "PUT", 1);
    for lost in [false, true] {
        let mut large = buffering(1 << 20);
        large.upstreams[0].hold = Duration::from_secs(5);
        let put = put.clone();
        on_raw_edge(large, |edge, mut pipes| async move {
            let take_slowly = async {
                if lost {
                    // It reads what it can, and is gone without a word.
                    let mut gone = pipes.recv().await.expect("a connection");
                    assert!(gone.read(&mut [0; 512]).await.is_ok_and(|count| count > 0));
                    drop(gone);
                }
                let mut endpoint = pipes.recv().await.expect("a connection");
                let (mut taken, mut piece) = (Vec::new(), vec![0; 20_000]);
                while !taken.ends_with(b"xend") {
                    let count = endpoint.read(&mut piece).await.expect("an open pipe");
                    assert!(count > 0, "cut at {} ms behind {} bytes", edge.now(), taken.len());
                    taken.extend_from_slice(&piece[..count]);
                    // The whole of it takes longer than `first_byte`, and no piece of it does.
                    sleep(Duration::from_secs(1)).await;
                }
                said(&mut endpoint, OK).await;
                std::future::pending::<()>().await;
            };
            let body = format!("{put}{:x}\r\n{}end\r\n0\r\n\r\n", BODY + 3, "x".repeat(BODY));
            let response = tokio::select! {
                response = edge.exchange(&body) => response,
                () = take_slowly => String::new(),
            };
            assert_eq!(status(&response), 200, "{lost}: {response}");
            assert!(edge.now() > 45_000, "{}", edge.now());
        })
        .await;
    }
}
