//! Responses of a limited rate, to the millisecond: proxied and of files, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};
use weir::config::Config;

use crate::{
    frames::{self, DATA, HEADERS},
    harness::{Pipes, on_edge_of, on_raw_edge, parsed},
};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn proxied(response: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nupstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         routes: [ {{ path: /, upstream: app, response: {{ {response} }} }} ]"
    ))
}

/// Plays an upstream that responds with so many bytes.
async fn respond(pipes: &mut Pipes, length: usize) -> DuplexStream {
    let mut pipe = pipes.recv().await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(pipe.read_u8().await.expect("a request"));
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    pipe.write_all(head.as_bytes()).await.expect("an open pipe");
    pipe.write_all(&vec![b'x'; length]).await.expect("an open pipe");
    pipe
}

/// Bytes of the body that had come at each instant, in milliseconds since the beginning.
async fn arrivals(mut client: DuplexStream) -> Vec<(usize, u128)> {
    let began = Instant::now();
    let (mut whole, mut arrivals) = (Vec::new(), Vec::new());
    while client.read_buf(&mut whole).await.expect("an open pipe") > 0 {
        let end = whole.windows(4).position(|end| end == b"\r\n\r\n");
        let Some(head) = end else { continue };
        let (body, time) = (whole.len() - head - 4, began.elapsed().as_millis());
        match arrivals.last_mut() {
            Some((last, at)) if *at == time => *last = body,
            _ => arrivals.push((body, time)),
        }
    }
    arrivals
}

#[tokio::test(start_paused = true)]
async fn limit_rate_paces_a_proxied_response() {
    on_raw_edge(proxied("limit_rate: 1000"), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let _upstream = respond(&mut pipes, 170).await;
        let expected = [(0, 0), (50, 50), (100, 100), (150, 150), (170, 170)];
        assert_eq!(arrivals(client).await, expected);
        let line = edge.line().await;
        assert_eq!((&line["bytes_out"], &line["dur_ms"]), (&170.into(), &170.0.into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limit_rate_after_lets_the_first_bytes_pass() {
    let config = proxied("limit_rate: 1KiB, limit_rate_after: 10KiB");
    on_raw_edge(config, |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let _upstream = respond(&mut pipes, 11 * 1024).await;
        let arrivals = arrivals(client).await;
        assert_eq!(arrivals[0], (10 * 1024, 0));
        assert_eq!(arrivals.last(), Some(&(11 * 1024, 1_000)));
        assert_eq!(arrivals.len(), 21, "twenty turns of 51 bytes or 52: {arrivals:?}");
    })
    .await;
}

/// Neither the time-out for a client that takes nothing nor that for a silent upstream is meant.
#[tokio::test(start_paused = true)]
async fn limit_rate_outlasts_the_timeouts_of_both_sides() {
    on_raw_edge(proxied("limit_rate: 1"), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let _upstream = respond(&mut pipes, 200).await;
        assert_eq!(arrivals(client).await.last(), Some(&(200, 200_000)));
        let line = edge.line().await;
        assert!(line["status"] == 200 && line.get("error").is_none(), "{line}");
    })
    .await;
}

/// The upload is read together with the response, so a client that uploads waits for weir then.
#[tokio::test(start_paused = true)]
async fn limit_rate_does_not_make_an_upload_late() {
    on_raw_edge(proxied("limit_rate: 10"), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let head = "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
            transfer-encoding: chunked\r\n\r\n1\r\na\r\n";
        client.write_all(head.as_bytes()).await.expect("an open pipe");
        let _upstream = respond(&mut pipes, 600).await;
        let (mut reads, mut writes) = tokio::io::split(client);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(45)).await;
            writes.write_all(b"1\r\nb\r\n0\r\n\r\n").await.expect("an open pipe");
            std::future::pending::<()>().await;
        });
        let (began, mut whole) = (Instant::now(), Vec::new());
        reads.read_to_end(&mut whole).await.expect("an open pipe");
        let whole = String::from_utf8(whole).expect("ASCII");
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with(&"x".repeat(600)), "{whole}");
        assert_eq!(began.elapsed().as_secs(), 60);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limit_rate_ends_with_its_client() {
    on_raw_edge(proxied("limit_rate: 100"), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let mut upstream = respond(&mut pipes, 60_000).await;
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        drop(client);
        // The next turn finds that it has left.
        let line = edge.line_within(Duration::from_secs(1)).await;
        assert_eq!(
            (&line["bytes_out"], &line["error"]["kind"]),
            (&105.into(), &"client_gone".into())
        );
        let end = upstream.read(&mut [0; 1]).await;
        assert!(matches!(end, Ok(0)), "the connection to the upstream is closed: {end:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limit_rate_counts_for_each_response_alone() {
    let config = parsed(
        "listeners: [ ':1' ]\nroutes:\n\
         - { path: /, respond: { status: 200, body: xxxxxxxxxx }, response: { limit_rate: 100 } }\n\
         - { path: /fast, respond: { status: 200, body: xxxxxxxxxx } }\n",
    );
    on_edge_of(config, |edge| async move {
        let fast = b"GET /fast HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for (request, end) in [(GET, 100), (&fast[..], 0), (GET, 100)] {
            let mut client = edge.connect();
            client.write_all(request).await.expect("an open pipe");
            assert_eq!(arrivals(client).await.last(), Some(&(10, end)));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limit_rate_paces_files_and_streams_of_http_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a"), vec![b'x'; 120]).expect("a file");
    let config = parsed(&format!(
        "listeners: [ ':1' ]\nroutes: [ {{ path: /, files: {{ root: '{}' }}, \
         response: {{ limit_rate: 1000 }} }} ]",
        folder.path().display()
    ));
    on_edge_of(config, |edge| async move {
        let mut client = edge.connect();
        let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a")];
        let head = |stream| frames::frame(HEADERS, 5, stream, &frames::fields(&get));
        let asked = [frames::hello(&[]), head(1), head(3)].concat();
        client.write_all(&asked).await.expect("an open pipe");
        let mut began = None;
        let mut pieces = Vec::new();
        while pieces.iter().map(|(_, size, _)| size).sum::<usize>() < 240 {
            let frame = frames::read(&mut client).await.expect("a frame");
            // The file is opened beside the worker, in time that is not paused.
            if frame.kind == HEADERS {
                began.get_or_insert_with(Instant::now);
            }
            if frame.kind == DATA {
                let time = began.expect("a head comes first").elapsed().as_millis();
                pieces.push((frame.stream, frame.payload.len(), time));
            }
        }
        let of_stream = |stream: u32| {
            let of_it = pieces.iter().filter(|(of, ..)| *of == stream);
            of_it.map(|(_, size, time)| (*size, *time)).collect::<Vec<_>>()
        };
        let expected = [(50, 50), (50, 100), (20, 120)];
        assert_eq!(of_stream(1), expected);
        assert_eq!(of_stream(3), expected);
    })
    .await;
}
