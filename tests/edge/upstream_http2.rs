//! Connections of HTTP/2 to endpoints: how long they are kept, and what goes on when one is going
//! away.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::TokioIo;
use tokio::{sync::mpsc, time::sleep};

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING},
    grpc::to_http2,
    harness::{Edge, Pipes, on_raw_edge, status},
    http2::Local,
    http2_endpoint::Endpoint,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const POST: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
const EMPTY_POST: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// HTTP/2 error codes (RFC 9113, section 7).
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

const MAX_CONCURRENT_STREAMS: u16 = 3;

/// gRPC servers end a connection on which the second PING in a few minutes comes without data.
#[tokio::test(start_paused = true)]
async fn endpoint_that_is_quiet_for_ten_minutes_gets_no_ping() {
    let mut config = to_http2(&[]);
    config.upstreams[0].first_byte_timeout = Duration::from_secs(3_600);
    on_raw_edge(config, |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
            let (stream, _) = endpoint.request().await.expect("a request");
            let quiet = tokio::time::timeout(Duration::from_secs(600), async {
                while let Some(frame) = endpoint.read().await {
                    assert_ne!(frame.kind, PING, "after {} ms", edge.now());
                }
            });
            assert!(quiet.await.is_err(), "the connection ended");
            endpoint.respond(stream).await;
        };
        let (answer, ()) = tokio::join!(edge.exchange(GET), play);
        assert_eq!(status(&answer), 200);
    })
    .await;
}

/// Time from the end of the last of `at_once` requests, each on a connection of its own, to the
/// ends of the connections.
async fn closed_after(max_idle: usize, at_once: usize) -> Vec<u64> {
    let mut config = to_http2(&[]);
    config.upstreams[0].keepalive_max_idle = max_idle;
    let closed = Rc::new(RefCell::new(Vec::new()));
    let put = Rc::clone(&closed);
    on_raw_edge(config, |edge, mut pipes| async move {
        let serving = Rc::clone(&edge);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                let (edge, closed) = (Rc::clone(&serving), Rc::clone(&put));
                tokio::task::spawn_local(async move {
                    let mut endpoint = Endpoint::accept(pipe, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
                    let (stream, _) = endpoint.request().await.expect("a request");
                    sleep(Duration::from_secs(1)).await;
                    endpoint.respond(stream).await;
                    while endpoint.read().await.is_some() {}
                    closed.borrow_mut().push(edge.now() - 1_000);
                });
            }
        });
        let mut asking = Vec::new();
        for _ in 0..at_once {
            let edge = Rc::clone(&edge);
            asking.push(tokio::task::spawn_local(async move { status(&edge.exchange(GET).await) }));
            // The next one finds the connection full.
            sleep(Duration::from_millis(1)).await;
        }
        for one in asking {
            assert_eq!(one.await.expect("no panic"), 200);
        }
        sleep(Duration::from_secs(30)).await;
    })
    .await;
    closed.take()
}

#[tokio::test(start_paused = true)]
async fn keepalive_max_idle_holds_for_http2() {
    assert_eq!(closed_after(0, 1).await, [0]);
    let two = closed_after(1, 2).await;
    assert!(two[0] <= 1 && (1_500..=3_000).contains(&two[1]), "{two:?}");
    let kept = closed_after(64, 1).await;
    assert!((1_500..=3_000).contains(&kept[0]), "{kept:?}");
}

/// What an endpoint saw: for each connection the bodies of the requests it responded to.
type Served = Rc<RefCell<Vec<Vec<Vec<u8>>>>>;

/// Each connection serves so many requests, says so in a GOAWAY with this code, and ignores what
/// comes later. Responses take 10 ms.
fn serve_few(mut pipes: Pipes, each: usize, code: u32) -> Served {
    let served = Served::default();
    let serving = Rc::clone(&served);
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            serving.borrow_mut().push(Vec::new());
            let (number, served) = (serving.borrow().len() - 1, Rc::clone(&serving));
            tokio::task::spawn_local(async move {
                let mut endpoint = Endpoint::accept(pipe, &[]).await;
                let mut streams = Vec::new();
                while streams.len() < each {
                    let Some((stream, body)) = endpoint.request().await else { return };
                    streams.push(stream);
                    served.borrow_mut()[number].push(body);
                }
                endpoint.go_away(streams.iter().copied().max().unwrap_or(0), code).await;
                sleep(Duration::from_millis(10)).await;
                for stream in streams {
                    endpoint.respond(stream).await;
                }
                while endpoint.read().await.is_some() {}
            });
        }
    });
    served
}

/// Statuses of these requests, all at once.
async fn all_at_once(edge: &Rc<Edge>, requests: &[&'static str]) -> Vec<u16> {
    let ask = |request: &&'static str| {
        let (edge, request) = (Rc::clone(edge), *request);
        tokio::task::spawn_local(async move { status(&edge.exchange(request).await) })
    };
    let asking: Vec<_> = requests.iter().map(ask).collect();
    let mut statuses = Vec::new();
    for one in asking {
        statuses.push(one.await.expect("no panic"));
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn goaway_loses_no_request_whatever_its_method_and_body() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        for request in [GET, POST, EMPTY_POST] {
            on_raw_edge(to_http2(&[]), |edge, pipes| async move {
                let served = serve_few(pipes, 5, code);
                assert_eq!(all_at_once(&edge, &[request; 20]).await, [200; 20], "{request}");
                let body = if request == POST { b"hello".to_vec() } else { Vec::new() };
                let (bodies, connections) = (served.borrow().concat(), served.borrow().len());
                assert_eq!((bodies, connections), (vec![body; 20], 4), "{request}");
            })
            .await;
        }
    }
}

/// With ten retries in the budget and one try each.
#[tokio::test(start_paused = true)]
async fn goaway_spends_neither_tries_nor_the_retry_budget() {
    let mut config = to_http2(&[]);
    config.upstreams[0].attempts = 1;
    on_raw_edge(config, |edge, pipes| async move {
        serve_few(pipes, 10, NO_ERROR);
        assert_eq!(all_at_once(&edge, &[POST; 60]).await, [200; 60]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn goaway_takes_the_connection_out_of_use_while_its_streams_go_on() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let first = async {
            let mut endpoint =
                Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
            let (stream, _) = endpoint.request().await.expect("a request");
            endpoint.begin_response(stream).await;
            endpoint.go_away(stream, NO_ERROR).await;
            let mut second =
                Endpoint::accept(pipes.recv().await.expect("another connection"), &[]).await;
            for _ in 0..3 {
                let (stream, _) = second.request().await.expect("a request");
                second.respond(stream).await;
            }
            endpoint.end_response(stream).await;
            assert!(
                endpoint.request().await.is_none(),
                "the dying connection is closed with its last stream"
            );
        };
        let ask = async {
            let long = async { edge.exchange(GET).await };
            let others = async {
                sleep(Duration::from_millis(5)).await;
                for request in [GET, POST, EMPTY_POST] {
                    assert_eq!(status(&edge.exchange(request).await), 200);
                }
            };
            let (long, ()) = tokio::join!(long, others);
            assert!(long.ends_with("2\r\nok\r\n0\r\n\r\n"), "{long}");
            for _ in 0..4 {
                assert_eq!(edge.line().await["upstream"]["tries"], 1);
            }
        };
        tokio::join!(ask, first);
    })
    .await;
}

/// An endpoint that never processes anything is given up.
#[tokio::test(start_paused = true)]
async fn goaway_on_every_connection_ends_with_502() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let connections = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                count.set(count.get() + 1);
                tokio::task::spawn_local(async move {
                    let mut endpoint = Endpoint::accept(pipe, &[]).await;
                    endpoint.head().await;
                    endpoint.go_away(0, NO_ERROR).await;
                    while endpoint.read().await.is_some() {}
                });
            }
        });
        for request in [GET, POST] {
            assert_eq!(status(&edge.exchange(request).await), 502);
            assert_eq!(edge.line().await["error"]["kind"], "connection_terminated");
        }
        assert_eq!(connections.get(), 22);
    })
    .await;
}

/// The length of a body of which the endpoint takes all but the last byte, and then says that it
/// processed nothing; the status.
async fn resent(length: usize) -> u16 {
    let got = Rc::new(std::cell::Cell::new(0));
    let put = Rc::clone(&got);
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let play = async {
            // Room for all of it.
            let settings = [(4, 1 << 20)];
            let mut endpoint = Endpoint::accept(pipes.recv().await.expect("a connection"), &settings).await;
            let room = u32::try_from(length).expect("a short body").to_be_bytes();
            endpoint.send(crate::frames::WINDOW_UPDATE, 0, 0, &room).await;
            endpoint.request().await.expect("a request");
            endpoint.go_away(0, NO_ERROR).await;
            let Some(pipe) = pipes.recv().await else { return };
            let mut endpoint = Endpoint::accept(pipe, &settings).await;
            endpoint.send(crate::frames::WINDOW_UPDATE, 0, 0, &room).await;
            let (stream, body) = endpoint.request().await.expect("a request");
            assert!(body.len() == length && body.iter().all(|byte| *byte == b'x'));
            endpoint.respond(stream).await;
            while endpoint.read().await.is_some() {}
        };
        let body = "x".repeat(length);
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let answer = tokio::select! {
            answer = edge.exchange(&request) => answer,
            () = play => unreachable!("it ends with its connection"),
        };
        put.set(status(&answer));
    })
    .await;
    got.get()
}

#[tokio::test(start_paused = true)]
async fn goaway_body_is_kept_up_to_64_kib() {
    assert_eq!([resent(60_000).await, resent(65_536).await, resent(65_537).await], [200, 200, 502]);
}

/// A call whose first message came before the GOAWAY and whose second comes behind it, and a
/// response that begins before the request has ended.
#[tokio::test(start_paused = true)]
async fn goaway_in_the_middle_of_a_bidirectional_stream_loses_nothing_of_it() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
            let stream = endpoint.head().await.expect("a head");
            while endpoint.bodies[&stream].0 != b"one" {
                endpoint.read().await.expect("a message");
            }
            endpoint.go_away(0, NO_ERROR).await;
            let mut second =
                Endpoint::accept(pipes.recv().await.expect("another connection"), &[]).await;
            let stream = second.head().await.expect("a head");
            while second.bodies[&stream].0 != b"one" {
                second.read().await.expect("a message");
            }
            second.begin_response(stream).await;
            while !second.bodies[&stream].1 {
                second.read().await.expect("a message");
            }
            assert_eq!(second.bodies[&stream].0, b"onetwo");
            second.end_response(stream).await;
            while second.read().await.is_some() {}
        };
        let ask = async {
            let (sender, mut messages) =
                mpsc::unbounded_channel::<Result<Frame<Bytes>, std::convert::Infallible>>();
            let body = StreamBody::new(futures_util::stream::poll_fn(move |context| {
                messages.poll_recv(context)
            }));
            let (mut client, connection) =
                http2::handshake(Local, TokioIo::new(edge.connect())).await.expect("a handshake");
            tokio::task::spawn_local(connection);
            let say = |text: &'static [u8]| {
                sender.send(Ok(Frame::data(Bytes::from_static(text)))).expect("a stream");
            };
            say(b"one");
            let call = Request::post("http://a/").body(body).expect("a request");
            let response = client.send_request(call).await.expect("a response");
            assert_eq!(response.status(), 200);
            say(b"two");
            drop(sender);
            assert_eq!(
                response.into_body().collect().await.expect("a whole response").to_bytes(),
                "ok"
            );
        };
        tokio::select! {
            () = ask => {}
            () = play => unreachable!("the client ends first"),
        }
    })
    .await;
}

/// A stream that is refused goes out again, once for nothing and then as a try.
#[tokio::test(start_paused = true)]
async fn refused_stream_is_sent_again_whatever_its_method_and_body() {
    for (request, refusals, attempts, expected) in [
        (GET, 1, 1, 200),
        (POST, 1, 1, 200),
        (EMPTY_POST, 1, 1, 200),
        (POST, 2, 1, 502),
        (POST, 2, 2, 200),
        (GET, 3, 2, 502),
    ] {
        let mut config = to_http2(&[]);
        config.upstreams[0].attempts = attempts;
        on_raw_edge(config, |edge, mut pipes| async move {
            let left = Rc::new(std::cell::Cell::new(refusals));
            tokio::task::spawn_local(async move {
                while let Some(pipe) = pipes.recv().await {
                    let left = Rc::clone(&left);
                    tokio::task::spawn_local(async move {
                        let mut endpoint = Endpoint::accept(pipe, &[]).await;
                        while let Some((stream, body)) = endpoint.request().await {
                            if left.get() > 0 {
                                left.set(left.get() - 1);
                                endpoint.reset(stream, REFUSED_STREAM).await;
                            } else {
                                assert_eq!(body.is_empty(), request != POST);
                                endpoint.respond(stream).await;
                            }
                        }
                    });
                }
            });
            assert_eq!(
                status(&edge.exchange(request).await),
                expected,
                "{request} {refusals} {attempts}"
            );
        })
        .await;
    }
}

/// 100 requests at once to an endpoint that allows ten streams, on the first connection to it.
#[tokio::test(start_paused = true)]
async fn streams_that_are_allowed_are_known_from_the_connection_before() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        let refused = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&refused);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                let count = Rc::clone(&count);
                tokio::task::spawn_local(async move {
                    // Requests are on their way before the settings are.
                    sleep(Duration::from_millis(5)).await;
                    let mut endpoint =
                        Endpoint::accept(pipe, &[(MAX_CONCURRENT_STREAMS, 10)]).await;
                    let (mut open, mut requests) = (Vec::new(), 0);
                    loop {
                        tokio::select! {
                            request = endpoint.request() => {
                                let Some((stream, _)) = request else { return };
                                requests += 1;
                                if open.len() < 10 {
                                    open.push(stream);
                                } else {
                                    count.set(count.get() + 1);
                                    endpoint.reset(stream, REFUSED_STREAM).await;
                                }
                            }
                            () = sleep(Duration::from_millis(10)), if !open.is_empty() => {
                                for stream in open.drain(..) {
                                    endpoint.respond(stream).await;
                                }
                            }
                        }
                        assert!(requests <= 110);
                    }
                });
            }
        });
        assert_eq!(all_at_once(&edge, &[POST; 100]).await, [200; 100]);
        // Those of the first connection, which are all that did not know.
        assert_eq!(refused.get(), 90);
    })
    .await;
}

/// Requests time out on a connection from which nothing comes at all: the next ones go out on
/// another. One that is alive is kept.
#[tokio::test(start_paused = true)]
async fn connection_without_a_sign_of_life_during_a_time_out_is_not_used_again() {
    for (alive, connections) in [(false, 2), (true, 1)] {
        on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
            let opened = Rc::new(std::cell::Cell::new(0));
            let count = Rc::clone(&opened);
            tokio::task::spawn_local(async move {
                while let Some(pipe) = pipes.recv().await {
                    count.set(count.get() + 1);
                    tokio::task::spawn_local(async move {
                        let mut endpoint = Endpoint::accept(pipe, &[]).await;
                        for number in 0.. {
                            let Some((stream, _)) = endpoint.request().await else { return };
                            if number != 1 {
                                endpoint.respond(stream).await;
                            } else if alive {
                                sleep(Duration::from_secs(10)).await;
                                endpoint.send(PING, 0, 0, &[0; 8]).await;
                            }
                        }
                    });
                }
            });
            let mut got = Vec::new();
            for _ in 0..3 {
                got.push(status(&edge.exchange(GET).await));
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!((got, opened.get()), (vec![200, 504, 200], connections), "{alive}");
        })
        .await;
    }
}

/// A body that is there goes out with its head, in one write.
#[tokio::test(start_paused = true)]
async fn body_that_is_there_comes_with_its_head() {
    let long = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\nconnection: close\r\n\r\n{}",
        "x".repeat(9_000)
    );
    for (request, expected) in
        [(POST, &[HEADERS, DATA][..]), (&long, &[HEADERS, DATA]), (GET, &[HEADERS])]
    {
        on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
            let play = async {
                let mut endpoint =
                    Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
                let (stream, _) = endpoint.request().await.expect("a request");
                endpoint.respond(stream).await;
                let kinds = endpoint.kinds_beside_a_head().await;
                assert!(
                    kinds.starts_with(expected)
                        && kinds.contains(&DATA) == expected.contains(&DATA),
                    "{kinds:?}"
                );
                endpoint.respond(stream + 2).await;
                while endpoint.read().await.is_some() {}
            };
            let ask = async {
                assert_eq!(status(&edge.exchange(GET).await), 200);
                assert_eq!(status(&edge.exchange(request).await), 200);
            };
            tokio::select! {
                () = ask => {}
                () = play => unreachable!("the requests end first"),
            }
        })
        .await;
    }
}

/// A panic while one is opened is an internal error of those that waited for it, and of no others.
#[tokio::test(start_paused = true)]
async fn opening_that_panics_is_followed_by_another() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                let mut endpoint = Endpoint::accept(pipe, &[]).await;
                while let Some((stream, _)) = endpoint.request().await {
                    endpoint.respond(stream).await;
                }
            }
        });
        let curse =
            |is_cursed| edge.world.cursed.store(is_cursed, std::sync::atomic::Ordering::Relaxed);
        curse(true);
        assert_eq!(status(&edge.exchange(GET).await), 500);
        curse(false);
        assert_eq!(status(&edge.exchange(GET).await), 200);
    })
    .await;
}

/// A request that waits until a stream is allowed was not sent, and goes out elsewhere when its
/// connection goes away.
#[tokio::test(start_paused = true)]
async fn goaway_loses_no_request_that_waits_for_a_stream() {
    for request in [GET, POST, EMPTY_POST] {
        on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
            // A task of its own says its settings before weir has sent the request.
            let play = tokio::task::spawn_local(async move {
                let pipe = pipes.recv().await.expect("a connection");
                let mut first = Endpoint::accept(pipe, &[(MAX_CONCURRENT_STREAMS, 0)]).await;
                let waiting = tokio::time::timeout(Duration::from_millis(10), first.read()).await;
                assert!(waiting.is_err(), "it was sent: {waiting:?}");
                first.go_away(0, NO_ERROR).await;
                let mut second =
                    Endpoint::accept(pipes.recv().await.expect("another connection"), &[]).await;
                let (stream, body) = second.request().await.expect("a request");
                assert_eq!(body.is_empty(), request != POST);
                second.respond(stream).await;
            });
            assert_eq!(status(&edge.exchange(request).await), 200, "{request}");
            play.await.expect("no panic");
        })
        .await;
    }
}

/// HTTP/1.1 has no name with a quotation mark, though the library lets one pass.
#[tokio::test(start_paused = true)]
async fn name_that_is_no_token_crosses_from_no_endpoint() {
    const FIELD: &[u8] = b"\x00\x03x\"y\x011";
    for (head, trailers, expected) in [(FIELD, &b"\x00\x01z\x011"[..], 502), (b"", FIELD, 200)] {
        on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
            let play = async {
                let mut endpoint =
                    Endpoint::accept(pipes.recv().await.expect("a connection"), &[]).await;
                let (stream, _) = endpoint.request().await.expect("a request");
                endpoint.send(HEADERS, END_HEADERS, stream, &[b"\x88", head].concat()).await;
                endpoint.send(DATA, 0, stream, b"ok").await;
                endpoint.send(HEADERS, END_HEADERS | END_STREAM, stream, trailers).await;
                // As long as the connection is wanted.
                while endpoint.read().await.is_some() {}
            };
            let get = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
            let response = tokio::select! {
                response = edge.exchange(get) => response,
                () = play => panic!("the connection ended"),
            };
            assert_eq!(status(&response), expected, "{response}");
            assert!(!response.contains("x\"y"), "{response}");
        })
        .await;
    }
}
