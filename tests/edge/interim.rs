//! Interim responses of an endpoint to a client of HTTP/1.1 (RFC 9110, section 15.2).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};
use weir_test::harness::{config_to, on_raw_edge};

const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";

/// Bytes received until none comes for a moment.
async fn received(client: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    while let Ok(Ok(count)) =
        tokio::time::timeout(Duration::from_millis(10), client.read_buf(&mut bytes)).await
    {
        if count == 0 {
            break;
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// Reads a request to its empty line.
async fn request(pipe: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(pipe.read_buf(&mut head).await.expect("an open pipe") > 0);
    }
}

/// Bytes that a client with this request received after each piece of its endpoint.
async fn pieces(asked: &'static str, sent: &'static [&'static str]) -> Vec<String> {
    let (told, mut got) = tokio::sync::mpsc::unbounded_channel();
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(asked.as_bytes()).await.expect("an open pipe");
        let mut pipe = pipes.recv().await.expect("a connection");
        request(&mut pipe).await;
        for piece in sent {
            pipe.write_all(piece.as_bytes()).await.expect("an open pipe");
            told.send(received(&mut client).await).expect("a receiver");
            sleep(Duration::from_secs(1)).await;
        }
        drop(pipe);
        told.send(received(&mut client).await).expect("a receiver");
    })
    .await;
    let mut all = Vec::new();
    while let Some(piece) = got.recv().await {
        all.push(piece);
    }
    all
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn interim_responses_reach_the_client_as_they_come() {
    let got = pieces(
        GET,
        &["HTTP/1.1 100 Continue\r\n\r\n", HINTS, "HTTP/1.1 102 Processing\r\n\r\n", FINAL],
    )
    .await;
    assert_eq!(got[0], "");
    assert_eq!(got[1], "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    assert_eq!(got[2], "HTTP/1.1 102 Processing\r\n\r\n");
    assert!(got[3].starts_with("HTTP/1.1 200 OK\r\n") && got[3].ends_with("\r\n\r\nok"), "{got:?}");
    assert_eq!(got[4], "");
}

#[tokio::test(start_paused = true)]
async fn interim_response_in_one_piece_with_the_response_comes_first() {
    let both = Box::leak(format!("{HINTS}{FINAL}").into_boxed_str());
    let got = pieces(GET, Box::leak(vec![&*both].into_boxed_slice())).await;
    assert!(
        got[0].starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{got:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn interim_response_is_not_sent_to_http_1_0() {
    let got = pieces("GET / HTTP/1.0\r\nhost: a\r\n\r\n", &[HINTS, FINAL]).await;
    assert_eq!(got[0], "");
    assert!(got[1].starts_with("HTTP/1.1 200 OK\r\n"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn error_comes_behind_the_interim_response_of_an_endpoint_that_fails() {
    let got = pieces(GET, &[HINTS]).await;
    assert!(got[0].starts_with("HTTP/1.1 103 "), "{got:?}");
    assert!(got[1].starts_with("HTTP/1.1 502 "), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn interim_response_to_an_upload_comes_behind_continue() {
    let post = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let got = pieces(post, &[HINTS]).await;
    assert!(
        got[0].starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n"),
        "{got:?}"
    );
}
