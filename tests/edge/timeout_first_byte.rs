//! `timeouts.first_byte`: from the last piece of the request to the head of its response.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::harness::{Edge, config, on_raw_edge, status};

/// Status of a request whose pieces come five seconds apart, and when it came; the endpoint sends
/// `interim` every 20 s, four times, and then responds, or nothing at all.
async fn outcome(pieces: &'static [&'static str], interim: &'static str) -> (u16, u64) {
    let got = Rc::new(std::cell::Cell::new((0, 0)));
    let put = Rc::clone(&got);
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let mut pipe = pipes.recv().await.expect("a connection");
            if !interim.is_empty() {
                at_work(&mut pipe, interim).await;
            }
            // Without a response weir closes it.
            let _ = pipe.read_to_end(&mut Vec::new()).await;
        });
        let answer = ask(&edge, pieces).await;
        put.set((status(&answer), edge.now()));
    })
    .await;
    got.get()
}

async fn at_work(pipe: &mut DuplexStream, interim: &str) {
    for _ in 0..4 {
        sleep(Duration::from_secs(20)).await;
        pipe.write_all(interim.as_bytes()).await.expect("an open pipe");
    }
    pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("an open pipe");
}

async fn ask(edge: &Edge, pieces: &[&str]) -> String {
    let mut client = edge.connect();
    for (index, piece) in pieces.iter().enumerate() {
        sleep(Duration::from_secs(if index == 0 { 0 } else { 5 })).await;
        client.write_all(piece.as_bytes()).await.expect("an open pipe");
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(start_paused = true)]
async fn first_byte_is_as_long_with_a_body_as_without() {
    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const POST: &str =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    const BEGUN: &str =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhel";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    // The last chunk ends the request and brings nothing of it.
    for (pieces, seconds) in
        [(&[GET][..], 30), (&[POST], 30), (&[BEGUN, "lo"], 35), (&[CHUNKED, "0\r\n\r\n"], 35)]
    {
        let (status, millis) = outcome(pieces, "").await;
        assert_eq!(status, 504, "{pieces:?}");
        assert!((seconds * 1_000..seconds * 1_000 + 500).contains(&millis), "{pieces:?}: {millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn first_byte_starts_again_with_each_interim_response() {
    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for interim in ["102 Processing", "103 Early Hints", "100 Continue"] {
        let interim = format!("HTTP/1.1 {interim}\r\n\r\n").leak();
        assert_eq!(outcome(&[GET], interim).await, (200, 80_000), "{interim}");
    }
}
