//! Faults of endpoints that speak HTTP/2: each is told as what it is, and the next request gets its
//! own response.

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason,
    server::{Connection, SendResponse},
};
use http::Response;
use tokio::{io::DuplexStream, time::sleep};
use weir::config::Config;

use crate::{
    grpc::to_http2,
    harness::{Edge, Pipes, on_raw_edge, status},
};

/// Outcome of one request; the others get a response.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Reset(Reason),
    GoAway(Reason),
    Silence,
    CutAnswer(Reason),
    TwoLengths,
    LengthOfNone,
}

impl Fault {
    fn play(
        self,
        connection: &mut Connection<DuplexStream, Bytes>,
        mut respond: SendResponse<Bytes>,
    ) {
        let with = |lengths: &[&str]| {
            let answer = Response::builder();
            lengths
                .iter()
                .fold(answer, |answer, length| answer.header("content-length", *length))
                .body(())
                .expect("an answer")
        };
        match self {
            Self::Reset(reason) => respond.send_reset(reason),
            Self::GoAway(reason) => connection.abrupt_shutdown(reason),
            // Forgotten, and not dropped: that would reset it.
            Self::Silence => std::mem::forget(respond),
            Self::CutAnswer(reason) => {
                let mut answer = respond.send_response(with(&[]), false).expect("a stream");
                answer.send_data("hel".into(), false).expect("a stream");
                tokio::task::spawn_local(async move {
                    // A reset takes back what was not sent yet.
                    sleep(Duration::from_millis(1)).await;
                    answer.send_reset(reason);
                });
            }
            Self::TwoLengths => drop(respond.send_response(with(&["3", "4"]), true)),
            Self::LengthOfNone => drop(respond.send_response(with(&["many"]), true)),
        }
    }
}

/// How many connections were opened, and how many requests came.
type Heard = Rc<(Cell<u32>, Cell<u32>)>;

async fn serve(pipe: DuplexStream, (number, fault): (u32, Fault), heard: Heard) {
    let mut connection = h2::server::handshake(pipe).await.expect("a handshake");
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        heard.1.set(heard.1.get() + 1);
        if heard.1.get() == number {
            fault.play(&mut connection, respond);
        } else {
            let mut answer = respond.send_response(Response::new(()), false).expect("a stream");
            answer.send_data("ok".into(), true).expect("a stream");
        }
    }
}

/// Serves, with this fault at the request of this number.
fn listen(mut pipes: Pipes, number: u32, fault: Fault) -> Heard {
    let heard = Heard::default();
    let serving = Rc::clone(&heard);
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            serving.0.set(serving.0.get() + 1);
            tokio::task::spawn_local(serve(pipe, (number, fault), Rc::clone(&serving)));
        }
    });
    heard
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

/// Asks this first, and says what came of it; the next request gets a complete response.
async fn asked(edge: &Edge, request: &str) -> (u16, String) {
    let answer = edge.exchange(request).await;
    let kind = edge.line().await["error"]["kind"].as_str().unwrap_or("").to_owned();
    let next = edge.exchange(GET).await;
    assert!(status(&next) == 200 && next.contains("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{next}");
    assert_eq!(edge.line().await["status"], 200);
    (status(&answer), kind)
}

fn config() -> Config {
    to_http2(&[])
}

#[tokio::test(start_paused = true)]
async fn http2_refused_stream_is_sent_again() {
    for request in [GET, POST] {
        on_raw_edge(config(), |edge, pipes| async move {
            let heard = listen(pipes, 1, Fault::Reset(Reason::REFUSED_STREAM));
            assert_eq!(
                (asked(&edge, request).await, heard.1.get()),
                ((200, String::new()), 3),
                "{request}"
            );
        })
        .await;
    }
}

/// A connection may end at any time: what was sent on one that had served before is sent again,
/// where that is safe.
#[tokio::test(start_paused = true)]
async fn upstream_connection_lost() {
    let lost = (502, "connection_terminated");
    for (number, request, expected, requests) in
        [(1, GET, lost, 2), (2, GET, (200, ""), 4), (2, POST, lost, 3)]
    {
        on_raw_edge(config(), |edge, pipes| async move {
            let heard = listen(pipes, number, Fault::GoAway(Reason::ENHANCE_YOUR_CALM));
            for _ in 1..number {
                assert_eq!(status(&edge.exchange(GET).await), 200);
                edge.line().await;
            }
            let (status, kind) = asked(&edge, request).await;
            assert_eq!((status, kind.as_str()), expected, "{number} {request}");
            assert_eq!((heard.0.get(), heard.1.get()), (2, requests), "{number} {request}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn http2_upstream_reset_is_not_retried() {
    on_raw_edge(config(), |edge, pipes| async move {
        let heard = listen(pipes, 1, Fault::Reset(Reason::INTERNAL_ERROR));
        assert_eq!(asked(&edge, GET).await, (502, "connection_terminated".to_owned()));
        assert_eq!((heard.0.get(), heard.1.get()), (1, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_stream_without_response_times_out() {
    on_raw_edge(config(), |edge, pipes| async move {
        let heard = listen(pipes, 1, Fault::Silence);
        let answer = edge.exchange(GET).await;
        assert!(
            status(&answer) == 504 && (30_000..31_000).contains(&edge.now()),
            "{} ms: {answer}",
            edge.now()
        );
        assert_eq!(edge.line().await["error"]["kind"], "connection_read_timeout");
        assert_eq!(status(&edge.exchange(GET).await), 200);
        // Nothing came on the first connection all the while: it may be dead.
        assert_eq!((heard.0.get(), heard.1.get()), (2, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn response_cut_is_cut_towards_the_client() {
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR, Reason::CANCEL] {
        on_raw_edge(config(), |edge, pipes| async move {
            listen(pipes, 1, Fault::CutAnswer(reason));
            let answer = edge.exchange(GET).await;
            assert!(
                status(&answer) == 200 && !answer.ends_with("0\r\n\r\n"),
                "{reason:?}: {answer}"
            );
            assert_eq!(edge.line().await["error"]["kind"], "http_response_incomplete");
            assert!(edge.exchange(GET).await.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn response_ambiguous_head_is_refused() {
    for first in [Fault::TwoLengths, Fault::LengthOfNone] {
        on_raw_edge(config(), |edge, pipes| async move {
            listen(pipes, 1, first);
            let (status, kind) = asked(&edge, GET).await;
            assert_eq!((status, kind.as_str()), (502, "http_protocol_error"), "{first:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn timeout_connect_is_paid_once_per_request() {
    on_raw_edge(to_http2(&[]), |edge, pipes| async move {
        drop(pipes);
        edge.world.silent.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(edge.burst(20).await, [(504, 2_000); 20]);
        // Who comes late waits for the same outcome, and the next look is a new one.
        let late = async {
            sleep(Duration::from_millis(1_500)).await;
            Rc::clone(&edge).get().await
        };
        assert_eq!(tokio::join!(Rc::clone(&edge).get(), late), ((504, 2_000), (504, 500)));
        assert_eq!(Rc::clone(&edge).get().await, (504, 2_000));
        for _ in 0..23 {
            let line = edge.line().await;
            assert_eq!(line["error"]["kind"], "connection_timeout", "{line}");
        }
    })
    .await;
}

/// The others wait for it still.
#[tokio::test(start_paused = true)]
async fn connect_continues_without_its_client() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        edge.world.slow.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut gone = edge.connect();
        tokio::io::AsyncWriteExt::write_all(&mut gone, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .expect("a pipe");
        sleep(Duration::from_millis(500)).await;
        let asking = tokio::task::spawn_local(Rc::clone(&edge).get());
        sleep(Duration::from_millis(100)).await;
        drop(gone);
        let pipe = pipes.recv().await.expect("a connection");
        let mut connection = h2::server::handshake(pipe).await.expect("a handshake");
        tokio::task::spawn_local(async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(Response::new(()), true).expect("a stream");
            }
        });
        assert_eq!(asking.await.expect("no panic"), (200, 500));
        assert!(pipes.try_recv().is_none());
    })
    .await;
}
