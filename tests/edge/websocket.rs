//! Changes of protocols: tunnelled after the 101 that was asked for, and never otherwise.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use weir::downstream::drain::Idle;

use crate::{
    harness::{Edge, Pipes, config, on_raw_edge, status},
    recorder::on_recorded,
};

const ASKS: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";
const AGREES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nx: y\r\n\r\n";

async fn read_some(pipe: &mut DuplexStream) -> String {
    let mut buffer = vec![0; 8192];
    let count = pipe.read(&mut buffer).await.expect("an open pipe");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

async fn said(pipe: &mut DuplexStream, text: &str) {
    pipe.write_all(text.as_bytes()).await.expect("an open pipe");
}

/// A client that asks, and the endpoint that was asked.
async fn ask(
    edge: &Rc<Edge>,
    pipes: &mut Pipes,
    request: &str,
) -> (DuplexStream, DuplexStream, String) {
    let mut client = edge.connect();
    said(&mut client, request).await;
    let mut endpoint = pipes.recv().await.expect("a connection");
    let asked = read_some(&mut endpoint).await;
    (client, endpoint, asked)
}

/// A tunnel, and what the client was told.
async fn tunnel(edge: &Rc<Edge>, pipes: &mut Pipes) -> (DuplexStream, DuplexStream) {
    let (mut client, mut endpoint, _) = ask(edge, pipes, ASKS).await;
    said(&mut endpoint, AGREES).await;
    assert_eq!(status(&read_some(&mut client).await), 101);
    (client, endpoint)
}

#[tokio::test(start_paused = true)]
async fn websocket_101_opens_tunnel_and_its_end_is_logged() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint, asked) = ask(&edge, &mut pipes, ASKS).await;
        assert!(
            asked.contains("connection: upgrade\r\n") && asked.contains("upgrade: websocket\r\n"),
            "{asked}"
        );
        said(&mut endpoint, &format!("{AGREES}first")).await;
        let mut told = read_some(&mut client).await;
        while !told.ends_with("first") {
            told += &read_some(&mut client).await;
        }
        assert!(
            told.contains("\r\nupgrade: WebSocket\r\n") && told.contains("\r\nx: y\r\n"),
            "{told}"
        );
        said(&mut client, "GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(read_some(&mut endpoint).await, "GET / HTTP/1.1\r\n\r\n");
        said(&mut endpoint, "pong").await;
        assert_eq!(read_some(&mut client).await, "pong");
        drop(endpoint);
        assert_eq!(read_some(&mut client).await, "");
        drop(client);
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["bytes_in"], &line["bytes_out"]),
            (&101.into(), &18.into(), &9.into())
        );
        assert_eq!(line["error"], serde_json::Value::Null);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websocket_half_closed_side_still_receives() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = tunnel(&edge, &mut pipes).await;
        said(&mut client, "bye").await;
        client.shutdown().await.expect("an open pipe");
        let mut heard = String::new();
        endpoint.read_to_string(&mut heard).await.expect("an end");
        sleep(Duration::from_secs(5)).await;
        said(&mut endpoint, "farewell").await;
        assert_eq!((heard.as_str(), read_some(&mut client).await.as_str()), ("bye", "farewell"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websocket_silent_tunnel_is_closed_after_idle_timeout() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = tunnel(&edge, &mut pipes).await;
        sleep(Duration::from_secs(50)).await;
        said(&mut endpoint, "here").await;
        assert_eq!(read_some(&mut client).await, "here");
        assert_eq!(read_some(&mut client).await, "");
        assert!((110_000..110_500).contains(&edge.now()), "{}", edge.now());
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"]),
            (&101.into(), &"connection_read_timeout".into())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn drain_closes_websocket_tunnels_at_its_end() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = tunnel(&edge, &mut pipes).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        sleep(Duration::from_secs(7)).await;
        said(&mut endpoint, "still here").await;
        assert_eq!(read_some(&mut client).await, "still here");
        assert_eq!(read_some(&mut client).await, "");
        assert_eq!((edge.now(), edge.line().await["status"].clone()), (7_900, 101.into()));
    })
    .await;
}

/// Response that a client gets when an endpoint responds to its request with this.
async fn told(request: &'static str, answer: &'static str) -> String {
    let mut told = String::new();
    let text = &mut told;
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint, asked) = ask(&edge, &mut pipes, request).await;
        said(&mut endpoint, answer).await;
        *text = format!("{asked}{}", read_some(&mut client).await);
    })
    .await;
    told
}

#[tokio::test(start_paused = true)]
async fn unrequested_101_is_an_upstream_error() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
    let default_authority = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let h2c = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n";
    let switches =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    for (request, answer) in
        [(ASKS, other), (ASKS, default_authority), (plain, AGREES), (h2c, switches)]
    {
        let told = told(request, answer).await;
        assert!(told.contains("HTTP/1.1 502 "), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn h2c_and_a_connection_that_does_not_name_it_ask_for_nothing() {
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let h2c = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n";
    for request in [h2c, "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n"] {
        let told = told(request, fine).await;
        assert!(
            told.contains("HTTP/1.1 200 OK")
                && !told.contains("upgrade")
                && !told.contains("http2"),
            "{told}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn upgrade_response_other_than_101_is_an_ordinary_response() {
    let told =
        told(ASKS, "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: 2\r\n\r\nno")
            .await;
    let (_, answer) = told.split_once("HTTP/1.1 426").expect("an answer");
    // It must say to what (RFC 9110, section 15.5.22).
    assert!(answer.ends_with("\r\n\r\nno") && answer.contains("upgrade: other\r\n"), "{answer}");
}

/// The response was given: a 101 behind it is nothing anybody waits for, and its connection is not
/// used again.
#[tokio::test(start_paused = true)]
async fn websocket_late_101_opens_nothing() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut endpoint, _) = ask(&edge, &mut pipes, ASKS).await;
        said(&mut endpoint, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert!(read_some(&mut client).await.ends_with("\r\n\r\nok"));
        // The endpoint is gone, or drops what comes: either is its right.
        let _ = endpoint.write_all(AGREES.as_bytes()).await;
        said(&mut client, "GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut other = pipes.recv().await.expect("a connection of the next request's own");
        assert!(read_some(&mut other).await.starts_with("GET /next HTTP/1.1\r\n"));
        said(&mut other, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown").await;
        assert!(read_some(&mut client).await.ends_with("\r\n\r\nown"));
    })
    .await;
}

/// A client may offer to change protocols beside its body; whoever ignores that serves the request
/// (RFC 9110, section 7.8).
#[tokio::test(start_paused = true)]
async fn upgrade_beside_a_body_is_ignored() {
    let offers = "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: tcp\r\n";
    for (framing, body) in [
        ("content-length: 3\r\n", "abc"),
        ("transfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("content-length: 3\r\nexpect: 100-continue\r\n", "abc"),
    ] {
        on_recorded(&[], |edge, recorder| async move {
            let answer = edge.exchange(&format!("{offers}{framing}\r\n{body}")).await;
            assert!(
                answer.contains("HTTP/1.1 200 OK\r\n") && answer.ends_with("POST / abc"),
                "{answer}"
            );
            let requests = recorder.requests.borrow();
            assert_eq!(
                (requests[0].all("upgrade").len(), requests[0].all("connection").len()),
                (0, 0),
                "{framing}"
            );
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn upgrade_beside_a_body_of_no_bytes_is_asked_for() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let request = ASKS.replace("sec-websocket-key: x", "content-length: 0");
        let (mut client, mut endpoint, asked) = ask(&edge, &mut pipes, &request).await;
        assert!(asked.contains("upgrade: websocket\r\n"), "{asked}");
        said(&mut endpoint, AGREES).await;
        assert_eq!(status(&read_some(&mut client).await), 101);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upgrade_beside_a_body_opens_no_tunnel() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi";
    let told = told(request, AGREES).await;
    assert!(told.contains("HTTP/1.1 502 "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn websocket_bytes_before_the_response_are_not_tunnelled() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let smuggled = format!("{ASKS}GET /admin HTTP/1.1\r\nhost: a\r\n\r\n");
        let (mut client, mut endpoint, asked) = ask(&edge, &mut pipes, &smuggled).await;
        assert!(!asked.contains("/admin"), "{asked}");
        said(&mut endpoint, AGREES).await;
        let mut told = String::new();
        client.read_to_string(&mut told).await.expect("an end");
        let mut rest = String::new();
        endpoint.read_to_string(&mut rest).await.expect("an end");
        assert_eq!((status(&told), rest.as_str()), (101, ""));
    })
    .await;
}
