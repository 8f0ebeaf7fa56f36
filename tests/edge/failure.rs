//! The table of `src/upstream/failure.rs`, row by row: why a stream was lost, and which requests
//! are sent again.

use std::{cell::Cell, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    frames::DATA,
    grpc::to_http2,
    harness::{Edge, Pipes, on_raw_edge, status},
    http2_endpoint::Endpoint,
};

/// How an endpoint loses a stream before its response.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The connection ends behind the response before, at the moment of the request.
    Unsent,
    /// GOAWAY with this code, above whose last stream the request is.
    GoAway(u32),
    /// The same, and the request is the last stream; then the connection ends.
    GoAwayBehind,
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection ends.
    Closed,
    /// DATA that belongs to no stream.
    Malformed,
}

const KINDS: [&str; 4] = [
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
];

const ALWAYS: [bool; 4] = [true; 4];
const NEVER: [bool; 4] = [false; 4];
/// What is idempotent and has no body.
const IDEMPOTENT: [bool; 4] = [true, false, false, false];

/// Loses the request of this number, and responds to all others. Returns at the end of the
/// connection.
async fn serve(mut endpoint: Endpoint, (lost, loss): (u32, Loss), count: &Cell<u32>) {
    while let Some((stream, body)) = endpoint.request().await {
        assert!(matches!(&*body, b"" | b"hi"));
        count.set(count.get() + 1);
        if count.get() != lost || matches!(loss, Loss::Unsent) {
            endpoint.respond(stream).await;
            if count.get() + 1 == lost && matches!(loss, Loss::Unsent) {
                return;
            }
            continue;
        }
        match loss {
            Loss::GoAway(code) => endpoint.go_away(0, code).await,
            Loss::GoAwayBehind => {
                endpoint.go_away(stream, 0).await;
                return;
            }
            Loss::Reset(code) => endpoint.reset(stream, code).await,
            Loss::Malformed => endpoint.send(DATA, 0, 0, b"x").await,
            Loss::Closed => return,
            Loss::Unsent => unreachable!("it was ended before"),
        }
    }
}

/// Status of a request that is lost once on a connection that had served before, or on a fresh one;
/// and how often it was sent.
async fn outcome(loss: Loss, reused: bool, request: &'static str) -> (u16, u32) {
    let got = Rc::new(Cell::new((0, 0)));
    let put = Rc::clone(&got);
    on_raw_edge(to_http2(&[]), |edge, pipes| async move {
        let before = u32::from(reused);
        let count = Rc::new(Cell::new(0));
        play(pipes, (before + 1, loss), Rc::clone(&count));
        let answer = if reused {
            ask_behind_another(&edge, request).await
        } else {
            edge.exchange(request).await
        };
        put.set((status(&answer), count.get() - before));
    })
    .await;
    got.get()
}

fn play(mut pipes: Pipes, lost: (u32, Loss), count: Rc<Cell<u32>>) {
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            let count = Rc::clone(&count);
            tokio::task::spawn_local(async move {
                serve(Endpoint::accept(pipe, &[]).await, lost, &count).await;
            });
        }
    });
}

/// Asks as soon as another request got a response on the connection, in the same turn of the
/// endpoint.
async fn ask_behind_another(edge: &Edge, request: &str) -> String {
    let mut client = edge.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
    let mut first = Vec::new();
    while !first.ends_with(b"ok\r\n0\r\n\r\n") {
        assert!(client.read_buf(&mut first).await.expect("a response") > 0);
    }
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("a response");
    answer
}

#[tokio::test(start_paused = true)]
async fn loss_of_a_stream_is_judged_by_the_table() {
    // The codes of RFC 9113, section 7.
    let (none, internal, cancel, calm, http_1_1, refused) = (0, 2, 8, 11, 13, 7);
    for (loss, fresh, reused) in [
        (Loss::GoAway(none), ALWAYS, ALWAYS),
        (Loss::GoAway(internal), ALWAYS, ALWAYS),
        (Loss::GoAway(calm), ALWAYS, ALWAYS),
        (Loss::Reset(refused), ALWAYS, ALWAYS),
        (Loss::GoAwayBehind, NEVER, IDEMPOTENT),
        (Loss::Closed, NEVER, IDEMPOTENT),
        (Loss::Reset(none), NEVER, NEVER),
        (Loss::Reset(internal), NEVER, NEVER),
        (Loss::Reset(cancel), NEVER, NEVER),
        (Loss::Reset(calm), NEVER, NEVER),
        (Loss::Reset(http_1_1), NEVER, NEVER),
        (Loss::Malformed, NEVER, NEVER),
    ] {
        for (is_reused, again) in [(false, fresh), (true, reused)] {
            for (request, again) in KINDS.into_iter().zip(again) {
                let expected = if again { (200, 2) } else { (502, 1) };
                assert_eq!(
                    outcome(loss, is_reused, request).await,
                    expected,
                    "{loss:?}, {is_reused}: {request}"
                );
            }
        }
    }
}

/// The connection that had served before ends before anything of the request was sent: no endpoint
/// saw it before the next one.
#[tokio::test(start_paused = true)]
async fn loss_before_anything_was_sent_is_none() {
    for request in KINDS {
        assert_eq!(outcome(Loss::Unsent, true, request).await, (200, 1), "{request}");
    }
}
