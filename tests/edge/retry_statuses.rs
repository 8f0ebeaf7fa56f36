//! Responses in place of which another address is asked.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weir::config::Config;

use crate::harness::{Edge, Pipes, address, config_to, on_raw_edge, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
const PUT: &str = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

/// Responds at each address with its status, and says which address it is.
async fn endpoints(mut pipes: Pipes, of: fn(u8) -> u16) {
    while let Some((at, pipe)) = pipes.recv_at().await {
        tokio::task::spawn_local(endpoint(pipe, at, of));
    }
}

async fn endpoint(mut pipe: DuplexStream, at: SocketAddr, of: fn(u8) -> u16) {
    let last = (1..=9).find(|last| address(*last) == at).expect("an address of the test");
    let body = "x".repeat(5_000);
    let response =
        format!("HTTP/1.1 {} X\r\ncontent-length: 5000\r\nat: {last}\r\n\r\n{body}", of(last));
    while pipe.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {
        if pipe.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn config(addresses: &[&str], attempts: u32) -> Config {
    let mut config = config_to(addresses);
    config.upstreams[0].attempts = attempts;
    config.upstreams[0].retry_statuses =
        vec![StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
    config
}

/// Status and tries of each of so many requests, in order of tries.
async fn asked(edge: &Edge, request: &str, count: usize) -> Vec<(u16, u64)> {
    let mut got = Vec::new();
    for _ in 0..count {
        let status = status(&edge.exchange(request).await);
        let line = edge.line().await;
        assert_eq!(line["upstream"]["status"], status, "{line}");
        got.push((status, line["upstream"]["tries"].as_u64().expect("a count")));
    }
    got.sort_unstable_by_key(|(_, tries)| *tries);
    got
}

#[tokio::test(start_paused = true)]
async fn retry_status_asks_another_address() {
    on_raw_edge(config(&["1", "2"], 2), |edge, pipes| async move {
        tokio::task::spawn_local(endpoints(pipes, |last| if last == 1 { 503 } else { 200 }));
        assert_eq!(asked(&edge, GET, 4).await, [(200, 1), (200, 1), (200, 2), (200, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_status_is_passed_on_when_all_attempts_or_addresses_are_used() {
    for (addresses, attempts, tries) in
        [(&["1", "2", "3"][..], 2, 2), (&["1", "2", "3"], 5, 3), (&["1"], 3, 1)]
    {
        on_raw_edge(config(addresses, attempts), |edge, pipes| async move {
            tokio::task::spawn_local(endpoints(pipes, |_| 503));
            assert_eq!(asked(&edge, GET, 1).await, [(503, tries)]);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_status_and_request_that_cannot_be_repeated_are_not_retried() {
    for (request, status) in [(GET, 500), (POST, 503), (PUT, 503)] {
        let of = if status == 500 { |_| 500 } else { |_| 503 };
        on_raw_edge(config(&["1", "2"], 2), |edge, pipes| async move {
            tokio::task::spawn_local(endpoints(pipes, of));
            assert_eq!(asked(&edge, request, 2).await, [(status, 1), (status, 1)]);
        })
        .await;
    }
}

/// A body that is collected is sent to the second address whole.
#[tokio::test(start_paused = true)]
async fn retry_status_sends_a_collected_body_again() {
    let mut config = config(&["1", "2"], 2);
    config.routes[0].buffer = 1_024;
    on_raw_edge(config, |edge, mut pipes| async move {
        let chunked = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                       transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let asking = edge.exchange(chunked);
        let serving = async {
            for status in [503, 200] {
                let mut pipe = pipes.recv().await.expect("a connection");
                let mut request = vec![0; 1024];
                let count = pipe.read(&mut request).await.expect("a request");
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                assert!(request.ends_with("\r\n\r\nhi"), "{request}");
                let response = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                pipe.write_all(response.as_bytes()).await.expect("an open pipe");
            }
        };
        let (response, ()) = tokio::join!(asking, serving);
        assert_eq!(status(&response), 200);
    })
    .await;
}

/// The budget bounds it: a failing upstream gets a fifth more requests, and not twice as many.
#[tokio::test(start_paused = true)]
async fn retry_status_is_within_the_budget() {
    on_raw_edge(config(&["1", "2"], 2), |edge, pipes| async move {
        tokio::task::spawn_local(endpoints(pipes, |_| 503));
        for _ in 0..200 {
            assert_eq!(status(&edge.exchange(GET).await), 503);
        }
        let mut tries = 0;
        for _ in 0..200 {
            tries += edge.line().await["upstream"]["tries"].as_u64().expect("a count");
        }
        // Ten that are there at the start, and one for each five requests.
        assert_eq!(tries, 200 + 10 + 40);
    })
    .await;
}
