//! HTTP/2 clients that send many frames, or break off many requests, because that is what responses
//! and deadlines make of them: they stay. Those that send as much for nothing are cut
//! (`http2_abuse` has the floods).

use std::{cell::Cell, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::{
    frames::{
        self, ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, WINDOW_UPDATE,
    },
    harness::{Edge, Pipes, config, on_edge, on_edge_of, on_raw_edge},
};

const ENHANCE_YOUR_CALM: u32 = 11;

fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frames::frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Reads until a frame of this kind; none where the connection ends before it.
async fn next(client: &mut DuplexStream, kind: u8) -> Option<frames::Frame> {
    loop {
        let frame = frames::read(client).await?;
        if frame.kind == kind {
            return Some(frame);
        }
    }
}

/// As gRPC's C core and HAProxy do: room is granted for what came, on the stream and on the
/// connection, however little it was.
#[tokio::test(start_paused = true)]
async fn window_updates_that_respond_to_small_responses_are_no_flood() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for number in 0..10_000 {
            let stream = 2 * number + 1;
            let granted = [frames::get(stream), room(stream, 2), room(0, 2)].concat();
            client
                .write_all(&granted)
                .await
                .unwrap_or_else(|_| panic!("cut after {number} responses"));
            let data = next(&mut client, DATA)
                .await
                .unwrap_or_else(|| panic!("cut after {number} responses"));
            assert_eq!(
                (data.stream, data.flags & END_STREAM, &data.payload[..]),
                (stream, END_STREAM, &b"ok"[..])
            );
        }
        assert_eq!(edge.now(), 0);
    })
    .await;
}

/// A stream of messages of a byte each. The client measures its link with a PING beside each, as
/// gRPC does.
#[tokio::test(start_paused = true)]
async fn window_updates_and_pings_that_respond_to_small_messages_are_no_flood() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        assert!(upstream.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .expect("an open pipe");
        for number in 0..10_000 {
            upstream
                .write_all(b"1\r\nx\r\n")
                .await
                .unwrap_or_else(|_| panic!("cut after {number} messages"));
            let data = next(&mut client, DATA)
                .await
                .unwrap_or_else(|| panic!("cut after {number} messages"));
            assert_eq!(data.payload, b"x");
            let responded = [room(1, 1), room(0, 1), frames::frame(PING, 0, 0, &[0; 8])].concat();
            client
                .write_all(&responded)
                .await
                .unwrap_or_else(|_| panic!("cut after {number} messages"));
        }
        assert_eq!(edge.now(), 0);
    })
    .await;
}

/// A client that takes a large response byte by byte has each byte in a frame of its own: that
/// earns nothing.
#[tokio::test(start_paused = true)]
async fn window_updates_of_one_byte_are_a_flood() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[(4, 1)]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        assert!(upstream.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n";
        upstream.write_all(&[&head[..], &[b'x'; 50_000]].concat()).await.expect("an open pipe");
        let mut taken = 0;
        while next(&mut client, DATA).await.is_some() {
            taken += 1;
            let _cut = client.write_all(&room(1, 1)).await;
        }
        assert!((2_000..2_200).contains(&taken), "{taken}");
    })
    .await;
}

/// Frames that acknowledge what was never sent.
#[tokio::test(start_paused = true)]
async fn acknowledgements_of_nothing_are_a_flood() {
    on_edge(&[], |edge| async move {
        for kind in [PING, WINDOW_UPDATE] {
            let (mut reader, mut writer) = tokio::io::split(edge.connect());
            writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
            let piece =
                if kind == PING { frames::frame(PING, ACK, 0, &[0; 8]) } else { room(0, 1) };
            let send = async {
                let mut sent = 0;
                while sent < 20_000 && writer.write_all(&piece).await.is_ok() {
                    sent += 1;
                }
                sent
            };
            let mut said = Vec::new();
            let (sent, _) = tokio::join!(send, reader.read_to_end(&mut said));
            // What was sent and not looked at stands in the pipe and in what was read of it.
            assert!((2_000..8_000).contains(&sent), "{sent}");
        }
        assert_eq!(edge.now(), 0);
    })
    .await;
}

/// Responds to requests for `/watch` with the head of a stream that has no end, and no others.
fn stall(mut pipes: Pipes) {
    tokio::task::spawn_local(async move {
        while let Some(mut pipe) = pipes.recv().await {
            tokio::task::spawn_local(async move {
                let mut head = vec![0; 4096];
                let count = pipe.read(&mut head).await.unwrap_or(0);
                if head[..count].starts_with(b"GET /watch ") {
                    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nw\r\n";
                    pipe.write_all(answer).await.expect("an open pipe");
                }
                let _cancelled = pipe.read_to_end(&mut Vec::new()).await;
            });
        }
    });
}

const WATCH: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/watch")];

/// Watches, and begins `at_once` requests, breaks each off after it lasted `lasts`, and begins
/// again after `pause`; how many were broken off until there were `most`, or the connection ended,
/// and the code it ended with.
async fn broken_off(
    edge: &Edge,
    at_once: u32,
    lasts: Duration,
    pause: Duration,
    most: u32,
) -> (u32, Option<u32>) {
    let (mut reader, mut writer) = tokio::io::split(edge.connect());
    let watch =
        frames::frame(HEADERS, END_STREAM | frames::END_HEADERS, 1, &frames::fields(&WATCH));
    writer.write_all(&[frames::hello(&[]), watch].concat()).await.expect("an open pipe");
    let (count, code) = (Cell::new(0), Cell::new(None));
    let hear = async {
        while let Some(frame) = frames::read(&mut reader).await {
            if frame.kind == GOAWAY {
                code.set(Some(frames::code(&frame)));
            }
        }
    };
    let send = async {
        while count.get() < most {
            let streams = (0..at_once).map(|number| 2 * (count.get() + number) + 3);
            let begin: Vec<u8> = streams.clone().flat_map(frames::get).collect();
            let end: Vec<u8> = streams.flat_map(reset).collect();
            if writer.write_all(&begin).await.is_err() {
                return;
            }
            sleep(lasts).await;
            if writer.write_all(&end).await.is_err() {
                return;
            }
            count.set(count.get() + at_once);
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = send => {}
        () = hear => {}
    }
    (count.get(), code.get())
}

/// A method that is stalled, called with deadlines, beside a stream that is watched: 80 calls a
/// second, for a minute.
#[tokio::test(start_paused = true)]
async fn deadlines_of_a_stalled_method_leave_its_neighbour_alone() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        stall(pipes);
        let (lasts, pause) = (Duration::from_millis(149), Duration::from_millis(1));
        assert_eq!(broken_off(&edge, 12, lasts, pause, 4_800).await, (4_800, None));
        assert!(edge.now() >= 60_000);
    })
    .await;
}

/// A slow leak, however long it lasts: 240 in ten seconds, most of them broken off right away.
#[tokio::test(start_paused = true)]
async fn requests_broken_off_now_and_then_are_no_abuse() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        stall(pipes);
        let (lasts, pause) = (Duration::from_millis(1), Duration::from_millis(999));
        assert_eq!(broken_off(&edge, 24, lasts, pause, 7_200).await, (7_200, None));
        assert!(edge.now() >= 300_000);
    })
    .await;
}

/// A hundred at once, again and again: 200 of the first, and no more than time gives back of the
/// others.
#[tokio::test(start_paused = true)]
async fn requests_broken_off_as_fast_as_they_can_be_begun_end_the_connection() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        stall(pipes);
        let soon = Duration::from_millis(1);
        let (count, code) = broken_off(&edge, 90, soon, soon, 10_000).await;
        assert!((180..=450).contains(&count), "{count}");
        assert_eq!(code, Some(ENHANCE_YOUR_CALM));
        assert!(edge.now() < 1_100, "{}", edge.now());
    })
    .await;
}

/// All requests are refused before their bodies come, which are under way then, with trailers.
#[tokio::test(start_paused = true)]
async fn bodies_behind_early_responses_are_no_fault() {
    let mut small = config(&[]);
    small.routes[0].max_body = Some(1);
    on_edge_of(small, |edge| async move {
        let (mut client, streams) = (edge.connect(), || (1..200).step_by(2));
        let mut sent = frames::hello(&[]);
        for stream in streams() {
            sent.extend(frames::frame(
                HEADERS,
                END_HEADERS,
                stream,
                b"\x83\x86\x84\x01\x01a\x0f\x0d\x012",
            ));
        }
        client.write_all(&sent).await.expect("an open pipe");
        for stream in streams() {
            assert_eq!(next(&mut client, DATA).await.expect("a response").stream, stream);
        }
        for stream in streams() {
            let trailers = frames::frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                stream,
                &frames::fields(&[("x", "y")]),
            );
            let body = [
                frames::frame(DATA, 0, stream, b"x"),
                frames::frame(DATA, 0, stream, b"x"),
                trailers,
            ];
            client.write_all(&body.concat()).await.expect("an open connection");
        }
        client.write_all(&frames::get(1_001)).await.expect("an open connection");
        while next(&mut client, DATA).await.expect("a response").stream != 1_001 {}
        assert_eq!(edge.now(), 0);
    })
    .await;
}
