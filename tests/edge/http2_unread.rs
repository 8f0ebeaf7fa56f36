//! Uploads over HTTP/2 that get a response before they end: the stream stays open behind it, until
//! the client has seen it.

use std::time::Duration;

use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{Instant, timeout},
};
use weir::config::Config;

use crate::{
    frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM},
    harness::{config, on_edge, on_edge_of, on_raw_edge, parsed},
    http2_flow::post,
    recorder::on_recorded,
};

const NO_ERROR: u32 = 0;
/// Window of a stream.
const WINDOW: usize = 256 * 1024;
/// Longest data in a frame.
const FRAME: usize = 16 * 1024;

async fn say(client: &mut DuplexStream, frames: &[Vec<u8>]) {
    client.write_all(&frames.concat()).await.expect("an open pipe");
}

fn data(flags: u8, stream: u32, length: usize) -> Vec<u8> {
    frames::frame(DATA, flags, stream, &vec![b'x'; length])
}

/// Reads to the end of the response on a stream.
async fn response(client: &mut DuplexStream, stream: u32) {
    loop {
        let frame = frames::read(client).await.expect("a response");
        assert!(frame.kind != RST_STREAM, "{frame:?}");
        if frame.stream == stream && frame.flags & END_STREAM != 0 {
            return;
        }
    }
}

/// Time until the stream is reset, and the code.
async fn reset(client: &mut DuplexStream) -> Option<(Duration, u32)> {
    let start = Instant::now();
    let reset = timeout(Duration::from_secs(20), frames::until(client, RST_STREAM)).await;
    Some((start.elapsed(), frames::code(&reset.ok()??)))
}

#[tokio::test(start_paused = true)]
async fn unread_rest_of_rejected_upload_is_discarded() {
    on_recorded(&["1r/d"], |edge, recorder| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), frames::get(1)]).await;
        response(&mut client, 1).await;
        say(&mut client, &[post(3, &[("content-length", "100000")]), data(0, 3, FRAME)]).await;
        response(&mut client, 3).await;
        for _ in 0..5 {
            say(&mut client, &[data(0, 3, FRAME)]).await;
        }
        say(&mut client, &[data(END_STREAM, 3, 100_000 - 6 * FRAME)]).await;
        assert_eq!(reset(&mut client).await, None);
        assert_eq!(recorder.requests.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unread_upload_that_goes_on_is_reset_after_a_second() {
    on_edge(&["1r/d"], |edge| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), frames::get(1)]).await;
        response(&mut client, 1).await;
        // Its length is not known, as with gRPC.
        say(&mut client, &[post(3, &[]), data(0, 3, 1)]).await;
        response(&mut client, 3).await;
        assert_eq!(reset(&mut client).await, Some((Duration::from_secs(1), NO_ERROR)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unread_upload_is_reset_after_a_window_of_it() {
    on_edge(&["1r/d"], |edge| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), frames::get(1)]).await;
        response(&mut client, 1).await;
        say(&mut client, &[post(3, &[])]).await;
        response(&mut client, 3).await;
        for _ in 0..=WINDOW / FRAME {
            say(&mut client, &[data(0, 3, FRAME)]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(reset(&mut client).await, Some((Duration::ZERO, NO_ERROR)));
    })
    .await;
}

/// More of them than the window of the connection holds.
#[tokio::test(start_paused = true)]
async fn unread_uploads_leave_the_window_of_the_connection() {
    on_recorded(&["1r/d"], |edge, recorder| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), frames::get(1)]).await;
        response(&mut client, 1).await;
        let (mut room, uploads) = (0, 8);
        let streams = || (3..).step_by(2).take(uploads);
        for stream in streams() {
            say(&mut client, &[post(stream, &[])]).await;
            response(&mut client, stream).await;
        }
        for stream in streams() {
            for _ in 0..10 {
                say(&mut client, &[data(0, stream, FRAME)]).await;
            }
            let moment = Duration::from_millis(1);
            while let Ok(Some(frame)) = timeout(moment, frames::read(&mut client)).await {
                if frame.kind == frames::WINDOW_UPDATE && frame.stream == 0 {
                    room += frames::code(&frame) as usize;
                }
            }
        }
        assert!(room > uploads * 10 * FRAME - 1024 * 1024 / 2, "{room}");
        assert_eq!(recorder.requests.borrow().len(), 1);
    })
    .await;
}

fn refusing() -> Config {
    parsed(
        "listeners: [ ':8080' ]\n\
         upstreams: { app: { endpoints: [ '10.0.0.1:80' ] } }\n\
         routes: [ { path: /small, upstream: app, request: { max_body: 2B } } ]\n",
    )
}

#[tokio::test(start_paused = true)]
async fn unread_upload_is_discarded_whatever_refuses_it() {
    on_edge_of(refusing(), |edge| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[])]).await;
        let refused: [&[(&str, &str)]; 3] = [
            &[(":path", "/small"), ("content-length", "3")],
            &[(":path", "/nowhere"), ("content-length", "3")],
            &[(":path", "/small"), ("content-length", "3"), ("connection", "x")],
        ];
        for (stream, more) in (1..).step_by(2).zip(refused) {
            let head = [&[(":method", "POST"), (":scheme", "http"), (":authority", "a")], more];
            let head = frames::fields(&head.concat());
            say(&mut client, &[frames::frame(HEADERS, END_HEADERS, stream, &head)]).await;
            response(&mut client, stream).await;
            say(&mut client, &[data(END_STREAM, stream, 3)]).await;
        }
        assert_eq!(reset(&mut client).await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unread_upload_is_discarded_behind_an_early_response() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), post(1, &[("content-length", "10")])]).await;
        let mut endpoint = pipes.recv().await.expect("a connection");
        endpoint
            .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
            .await
            .expect("an open pipe");
        response(&mut client, 1).await;
        say(&mut client, &[data(END_STREAM, 1, 10)]).await;
        assert_eq!(reset(&mut client).await, None);
    })
    .await;
}
