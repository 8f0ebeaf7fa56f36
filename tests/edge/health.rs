//! Which addresses get requests: what failed requests tell of them, and what probes tell.

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Empty;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use weir::{
    config::Config,
    upstream::{
        balance::Balance,
        settings::{ActiveSettings, PassiveSettings, Protocol},
    },
};

use crate::{
    harness::{Edge, Pipes, address, config_to, on_edge_of, on_raw_edge, status},
    http2::Local,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Five failures in ten seconds eject for ten seconds; addresses take turns.
fn passive(endpoints: &[&str]) -> Config {
    let mut config = config_to(endpoints);
    config.upstreams[0].balance = Balance::RoundRobin;
    config.upstreams[0].passive =
        Some(PassiveSettings { failures: 5, window: seconds(10), eject: seconds(10) });
    config
}

/// Probes of `/health` every second: two bad ones and it is down, one good one and it is up.
fn active(endpoints: &[&str]) -> Config {
    let mut config = config_to(endpoints);
    config.upstreams[0].balance = Balance::RoundRobin;
    config.upstreams[0].active = Some(ActiveSettings {
        path: "/health".parse().expect("a path"),
        interval: seconds(1),
        timeout: Duration::from_millis(500),
        healthy: 1,
        unhealthy: 2,
    });
    config
}

/// Statuses and numbers of tries of this many GETs, one after the other.
async fn gets(edge: &Rc<Edge>, count: usize) -> Vec<(u16, u64)> {
    let mut got = Vec::new();
    for _ in 0..count {
        let status = status(&edge.exchange(GET).await);
        got.push((status, edge.line().await["upstream"]["tries"].as_u64().expect("a count")));
    }
    got
}

fn retried(got: &[(u16, u64)]) -> usize {
    got.iter().filter(|got| got.1 > 1).count()
}

#[tokio::test(start_paused = true)]
async fn health_failing_address_is_ejected_and_returns() {
    on_edge_of(passive(&["1", "2"]), |edge| async move {
        edge.world.down_are(&[1]);
        let got = gets(&edge, 40).await;
        assert!(got.iter().all(|got| got.0 == 200), "{got:?}");
        assert_eq!(retried(&got), 5, "{got:?}");
        edge.world.down_are(&[]);
        edge.seen.borrow_mut().clear();
        sleep(seconds(8)).await;
        gets(&edge, 20).await;
        let shares = edge.shares(&[1, 2]);
        assert!(shares[0] == 0 || edge.now() > 10_000, "{shares:?}");
        sleep(seconds(3)).await;
        edge.seen.borrow_mut().clear();
        gets(&edge, 20).await;
        assert_eq!(edge.shares(&[1, 2]), [10, 10]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_three_addresses_never_more_than_one_is_ejected() {
    let mut config = passive(&["1", "2", "3"]);
    config.upstreams[0].attempts = 3;
    on_edge_of(config, |edge| async move {
        edge.world.down_are(&[1, 2, 3]);
        gets(&edge, 40).await;
        edge.world.down_are(&[]);
        edge.seen.borrow_mut().clear();
        let got = gets(&edge, 30).await;
        assert!(got.iter().all(|got| *got == (200, 1)), "{got:?}");
        let mut shares = edge.shares(&[1, 2, 3]);
        shares.sort_unstable();
        assert_eq!(shares, [0, 15, 15]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_address_that_is_well_serves_everything_while_the_others_refuse() {
    let all = ["1", "2", "3", "4", "5"];
    for (addresses, down) in [(3, &[1, 2][..]), (4, &[1, 2, 3]), (5, &[1, 2, 3]), (3, &[2, 3])] {
        on_edge_of(passive(&all[..addresses]), |edge| async move {
            edge.world.down_are(down);
            let got = gets(&edge, 600).await;
            assert!(got.iter().all(|got| got.0 == 200), "{down:?} of {addresses}: {got:?}");
            // Each is found out with five requests, and again after each ejection of 10, 20 and 40
            // s.
            assert!(retried(&got) <= 20 * down.len(), "{}", retried(&got));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_while_most_addresses_refuse() {
    on_raw_edge(passive(&["1", "2", "3"]), |edge, mut pipes| async move {
        edge.world.down_are(&[1, 2]);
        let opened = Rc::new(Cell::new(0));
        let counted = Rc::clone(&opened);
        tokio::task::spawn_local(async move {
            while let Some(mut pipe) = pipes.recv().await {
                counted.set(counted.get() + 1);
                tokio::task::spawn_local(async move {
                    while pipe.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {
                        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        pipe.write_all(ok).await.expect("an open pipe");
                    }
                });
            }
        });
        gets(&edge, 400).await;
        assert_eq!(opened.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_down_then_up_serves_with_the_first_request() {
    for config in [passive(&["1", "2"]), active(&["1", "2"])] {
        on_edge_of(config, |edge| async move {
            edge.world.down_are(&[1, 2]);
            assert!(gets(&edge, 60).await.iter().all(|got| got.0 == 502));
            sleep(seconds(5)).await;
            edge.world.down_are(&[1]);
            let got = gets(&edge, 2).await;
            assert!(got.iter().all(|got| got.0 == 200), "{got:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn health_response_of_ejected_address_ends_ejection() {
    on_edge_of(passive(&["1", "2"]), |edge| async move {
        edge.world.down_are(&[1]);
        gets(&edge, 12).await;
        edge.world.down_are(&[2]);
        sleep(seconds(2)).await;
        // The only one that is not ejected refuses, so the other is asked too.
        assert_eq!(gets(&edge, 1).await, [(200, 2)]);
        edge.world.down_are(&[]);
        edge.seen.borrow_mut().clear();
        gets(&edge, 20).await;
        assert_eq!(edge.shares(&[1, 2]), [10, 10]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_break_off_their_uploads_eject_nobody() {
    on_raw_edge(passive(&["1", "2"]), |edge, mut pipes| async move {
        for _ in 0..20 {
            let mut client = edge.connect();
            let broken = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nnonsense\r\n";
            client.write_all(broken.as_bytes()).await.expect("an open pipe");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("an answer and an end");
            assert_eq!(status(&answer), 400, "{answer}");
        }
        let mut addresses = Vec::new();
        while let Ok(Some((address, _))) = tokio::time::timeout(seconds(1), pipes.recv_at()).await {
            addresses.push(address);
        }
        assert_eq!([1, 2].map(|last| addresses.iter().filter(|one| **one == address(last)).count()), [10, 10]);
    })
    .await;
}

/// Responds to one request on each connection: with `first` those to 10.0.0.1, or never if it is
/// empty, the others well.
async fn play(mut pipes: Pipes, first: &'static str) {
    while let Some((to, mut pipe)) = pipes.recv_at().await {
        let well = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let answer = if to == address(1) { first } else { well };
        tokio::task::spawn_local(async move {
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            pipe.write_all(answer.as_bytes()).await.expect("an open pipe");
            // What waits for a response to the end has closed it by itself.
            let _ = pipe.read_to_end(&mut Vec::new()).await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn health_silent_address_is_ejected() {
    on_raw_edge(passive(&["1", "2"]), |edge, pipes| async move {
        tokio::task::spawn_local(play(pipes, ""));
        let unanswered = async || edge.burst(10).await.iter().filter(|got| got.0 == 504).count();
        assert_eq!([unanswered().await, unanswered().await], [5, 0]);
    })
    .await;
}

/// A response is never a failure of its address: what is in it may be a client's choice.
#[tokio::test(start_paused = true)]
async fn responses_that_are_refused_eject_nobody() {
    for first in
        ["HTTP/1.1 302 Found\r\nlocation: /x\u{1}\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
    {
        on_raw_edge(passive(&["1", "2"]), |edge, pipes| async move {
            tokio::task::spawn_local(play(pipes, first));
            let got = gets(&edge, 40).await;
            assert_eq!(got.iter().filter(|got| got.0 == 502).count(), 20, "{got:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn probes_decide_before_requests_do() {
    on_edge_of(active(&["1", "2"]), |edge| async move {
        edge.world.down_are(&[1]);
        sleep(seconds(3)).await;
        let got = gets(&edge, 10).await;
        assert!(got.iter().all(|got| *got == (200, 1)), "{got:?}");
        edge.world.down_are(&[]);
        sleep(seconds(1)).await;
        edge.seen.borrow_mut().clear();
        let got = gets(&edge, 10).await;
        assert!(got.iter().all(|got| *got == (200, 1)), "{got:?}");
        let seen = edge.seen.borrow();
        let asked = |last: u8| {
            seen.iter().filter(|seen| seen.address == address(last) && seen.target == "/").count()
        };
        assert_eq!((asked(1), asked(2)), (5, 5));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_address_is_probed_once_an_interval_and_no_more_when_it_is_gone() {
    on_edge_of(active(&["app"]), |edge| async move {
        edge.world.app_is(&[1, 2]);
        sleep(seconds(10)).await;
        let probes = |last: u8| {
            let seen = edge.seen.borrow();
            assert!(
                seen.iter()
                    .all(|seen| seen.target == "/health" && seen.headers["host"] == "app:80"),
                "{seen:?}"
            );
            seen.iter().filter(|seen| seen.address == address(last)).count()
        };
        assert_eq!((probes(1), probes(2)), (10, 10));
        edge.world.app_is(&[2]);
        sleep(seconds(6)).await;
        edge.seen.borrow_mut().clear();
        sleep(seconds(5)).await;
        assert_eq!((probes(1), probes(2)), (0, 5));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn probe_bad_or_slow_response_is_a_failure() {
    for answer in ["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", ""] {
        on_raw_edge(active(&["1", "2"]), |edge, pipes| async move {
            tokio::task::spawn_local(play(pipes, answer));
            sleep(seconds(4)).await;
            assert_eq!(edge.burst(10).await, [(200, 0); 10]);
        })
        .await;
    }
}

/// Responds over HTTP/2 with these statuses for 10.0.0.1 and for the others, and counts what is not
/// `/health` at the first.
async fn serve_http2(mut pipes: Pipes, first: StatusCode, asked: Rc<Cell<u32>>) {
    while let Some((to, pipe)) = pipes.recv_at().await {
        let asked = Rc::clone(&asked);
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let is_first = to == address(1);
            let host = request.uri().host().expect("an authority").to_owned();
            if request.uri().path() == "/health" {
                assert_eq!(host, to.ip().to_string());
            } else {
                asked.set(asked.get() + u32::from(is_first));
            }
            let mut response = http::Response::new(Empty::<Bytes>::new());
            *response.status_mut() = if is_first { first } else { StatusCode::NO_CONTENT };
            async { Ok::<_, std::convert::Infallible>(response) }
        });
        tokio::task::spawn_local(
            http2::Builder::new(Local).serve_connection(TokioIo::new(pipe), service),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn probes_speak_the_protocol_of_the_upstream() {
    for (first, asked_of_first) in
        [(StatusCode::OK, 5), (StatusCode::FOUND, 5), (StatusCode::NOT_FOUND, 0)]
    {
        let mut config = active(&["1", "2"]);
        config.upstreams[0].protocol = Protocol::Http2;
        on_raw_edge(config, |edge, pipes| async move {
            let asked = Rc::new(Cell::new(0));
            tokio::task::spawn_local(serve_http2(pipes, first, Rc::clone(&asked)));
            sleep(seconds(4)).await;
            for _ in 0..10 {
                edge.exchange(GET).await;
            }
            assert_eq!(asked.get(), asked_of_first, "{first}");
        })
        .await;
    }
}

/// What is refused as a response to a request is none to a probe.
#[tokio::test(start_paused = true)]
async fn probe_response_is_parsed_as_strictly_as_any() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n";
    on_raw_edge(active(&["1", "2"]), |edge, pipes| async move {
        tokio::task::spawn_local(play(pipes, both));
        sleep(seconds(4)).await;
        assert_eq!(edge.burst(10).await, [(200, 0); 10]);
    })
    .await;
}
