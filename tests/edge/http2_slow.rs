//! Clients of HTTP/2 that are slow and not gone: what they take, or send, piece by piece is a sign
//! of life.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::{
    frames::{self, ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, WINDOW_UPDATE},
    harness::{Pipes, config, on_edge, on_raw_edge},
};

/// Responds to every request with so many bytes.
fn serve(mut pipes: Pipes, length: usize) {
    tokio::task::spawn_local(async move {
        while let Some(mut pipe) = pipes.recv().await {
            tokio::task::spawn_local(async move {
                let mut request = [0; 4096];
                while pipe.read(&mut request).await.is_ok_and(|count| count > 0) {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                    if pipe
                        .write_all(&[head.into_bytes(), vec![b'x'; length]].concat())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
}

fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frames::frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Asks for everything at once with all the room there may be, and takes so many bytes a second
/// until `answers` have ended; how much that was.
async fn take_slowly(client: &mut DuplexStream, answers: u32, rate: u64, grants: bool) -> usize {
    let asked = (0..answers).flat_map(|number| frames::get(2 * number + 1)).collect();
    let hello = [frames::hello(&[(4, 1 << 20)]), room(0, 16 << 20), asked].concat();
    client.write_all(&hello).await.expect("an open pipe");
    let (mut got, mut ended) = (0, 0);
    while ended < answers {
        let frame = frames::read(client).await.expect("more of the answers");
        sleep(Duration::from_micros(1_000_000 * (frame.payload.len() as u64 + 9) / rate)).await;
        if frame.kind == PING && frame.flags & ACK == 0 {
            client
                .write_all(&frames::frame(PING, ACK, 0, &frame.payload))
                .await
                .expect("an open pipe");
        } else if frame.kind == DATA {
            got += frame.payload.len();
            ended += u32::from(frame.flags & END_STREAM != 0);
            if grants && frame.flags & END_STREAM == 0 {
                let length = u32::try_from(frame.payload.len()).expect("a frame");
                client.write_all(&room(frame.stream, length)).await.expect("an open pipe");
            }
        }
    }
    got
}

#[tokio::test(start_paused = true)]
async fn many_answers_that_are_taken_slowly_are_taken_whole() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        serve(pipes, 60_000);
        assert_eq!(take_slowly(&mut edge.connect(), 20, 16_000, false).await, 1_200_000);
        assert!(edge.now() > 70_000);
    })
    .await;
}

/// The ping lies behind all that the pipe holds.
#[tokio::test(start_paused = true)]
async fn one_answer_that_is_taken_slowly_is_taken_whole() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        serve(pipes, 1_000_000);
        assert_eq!(take_slowly(&mut edge.connect(), 1, 4_000, true).await, 1_000_000);
        assert!(edge.now() > 240_000);
    })
    .await;
}

/// No acknowledgement of a ping can pass within a frame.
#[tokio::test(start_paused = true)]
async fn http2_slow_body_in_large_frames_is_accepted() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let head = frames::frame(HEADERS, END_HEADERS, 1, &frames::fields(&post));
        writer.write_all(&[frames::hello(&[]), head].concat()).await.expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        let send = async {
            for flags in [0, 0, END_STREAM] {
                for piece in frames::frame(DATA, flags, 1, &[b'x'; 16_384]).chunks(350) {
                    writer.write_all(piece).await.expect("an open pipe");
                    sleep(Duration::from_millis(500)).await;
                }
            }
        };
        let mut body = Vec::new();
        let take = async {
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                assert!(upstream.read_buf(&mut body).await.expect("an open pipe") > 0);
            }
        };
        let hear = async { while frames::read(&mut reader).await.is_some() {} };
        tokio::select! {
            ((), ()) = async { tokio::join!(send, take) } => {}
            () = hear => panic!("cut after {} ms", edge.now()),
        }
        assert!(
            body.iter().filter(|byte| **byte == b'x').count() >= 3 * 16_384 && edge.now() > 70_000
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn response_to_head_has_no_body() {
    on_edge(&["1r/m"], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        frames::until(&mut client, DATA).await.expect("an answer");
        let head = [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let rejected = frames::frame(HEADERS, END_STREAM | END_HEADERS, 3, &frames::fields(&head));
        client.write_all(&rejected).await.expect("an open pipe");
        let answer = loop {
            let frame = frames::read(&mut client).await.expect("an answer");
            if frame.stream == 3 {
                break frame;
            }
        };
        assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, END_STREAM));
        edge.line().await;
        assert_eq!(edge.line().await["status"], 503);
    })
    .await;
}
