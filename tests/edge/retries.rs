//! What is tried again, where, and how often.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::harness::{Edge, Pipes, config_to, on_edge_of, on_raw_edge, status};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test(start_paused = true)]
async fn retry_unsent_request_moves_to_another_address() {
    on_edge_of(config_to(&["1", "2"]), |edge| async move {
        edge.world.down_are(&[1]);
        for request in [GET, POST, GET, POST] {
            assert_eq!(status(&edge.exchange(request).await), 200);
        }
        assert_eq!(edge.shares(&[1, 2]), [0, 4]);
        let mut tries = Vec::new();
        for _ in 0..4 {
            tries.push(edge.line().await["upstream"]["tries"].as_u64().expect("a count"));
        }
        tries.sort_unstable();
        assert_eq!(tries, [1, 1, 2, 2]);
    })
    .await;
}

/// A connection that could not be opened is no try, and spends nothing of the retry budget.
#[tokio::test(start_paused = true)]
async fn addresses_that_refuse_are_no_tries() {
    for attempts in [1, 2] {
        let mut config = config_to(&["1", "2", "3", "4"]);
        config.upstreams[0].attempts = attempts;
        on_edge_of(config, |edge| async move {
            edge.world.down_are(&[1, 2, 3]);
            for _ in 0..200 {
                assert_eq!(status(&edge.exchange(GET).await), 200);
                assert_eq!(status(&edge.exchange(POST).await), 200);
            }
            edge.world.down_are(&[1, 2, 3, 4]);
            // No connection is kept so long.
            sleep(Duration::from_secs(2)).await;
            assert_eq!(status(&edge.exchange(GET).await), 502);
            for _ in 0..400 {
                edge.line().await;
            }
            assert_eq!(edge.line().await["upstream"]["tries"], 4);
        })
        .await;
    }
}

/// Addresses that are silent take time: as many are waited for as there are attempts.
#[tokio::test(start_paused = true)]
async fn addresses_that_are_silent_are_tried_for_as_long_as_attempts_last() {
    for (attempts, millis) in [(1, 2_000), (3, 6_000)] {
        let mut config = config_to(&["1", "2", "3", "4"]);
        config.upstreams[0].attempts = attempts;
        on_edge_of(config, |edge| async move {
            edge.world.silent.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(status(&edge.exchange(GET).await), 504);
            assert_eq!(edge.line().await["upstream"]["tries"], attempts);
            assert!((millis..millis + 100).contains(&edge.now()), "{}", edge.now());
        })
        .await;
    }
}

/// Tries are counted over all kept connections and addresses.
#[tokio::test(start_paused = true)]
async fn one_attempt_is_no_retry() {
    for (attempts, expected) in [(1, [200, 502]), (2, [200, 200])] {
        let mut config = config_to(&["1"]);
        config.upstreams[0].attempts = attempts;
        on_raw_edge(config, |edge, mut pipes| async move {
            let got = tokio::select! {
                got = statuses(&edge, &[GET, GET]) => got,
                () = one_answer_each(&mut pipes) => unreachable!("pipes never end"),
            };
            assert_eq!(got, expected);
        })
        .await;
    }
}

/// Responds to the first 30 requests, each on its connection, loses the 30 that follow on these,
/// and responds to all others.
async fn lose_thirty(mut pipes: Pipes) {
    let mut kept = Vec::new();
    for _ in 0..30 {
        let mut pipe = pipes.recv().await.expect("a connection");
        assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
        kept.push(pipe);
    }
    for pipe in &mut kept {
        pipe.write_all(OK).await.expect("an open pipe");
    }
    for pipe in &mut kept {
        assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
    }
    drop(kept);
    while let Some(mut pipe) = pipes.recv().await {
        tokio::task::spawn_local(async move {
            while pipe.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {
                pipe.write_all(OK).await.expect("an open pipe");
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn retry_budget_is_a_fifth_and_then_failure_is_logged() {
    on_raw_edge(config_to(&["1"]), |edge, pipes| async move {
        tokio::task::spawn_local(lose_thirty(pipes));
        assert_eq!(edge.burst(30).await, [(200, 0); 30]);
        // Ten to begin with, and one for each five of sixty requests.
        let got = edge.burst(30).await;
        assert_eq!(got.iter().filter(|got| got.0 == 200).count(), 22, "{got:?}");
        let mut spent = 0;
        for _ in 0..60 {
            let line = edge.line().await;
            let detail = line["error"]["detail"].as_str().unwrap_or("").to_owned();
            assert_eq!(
                line["status"] == 502,
                detail.starts_with("the retry budget is spent: "),
                "{line}"
            );
            spent += u32::from(line["status"] == 502);
        }
        assert_eq!(spent, 8);
    })
    .await;
}

/// The first request on each connection gets a response, the next one is taken and lost.
async fn one_answer_each(pipes: &mut Pipes) {
    while let Some(mut pipe) = pipes.recv().await {
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 1024];
            assert!(pipe.read(&mut buffer).await.expect("a request") > 0);
            pipe.write_all(OK).await.expect("an open pipe");
            // Taken, and the connection closed without a word.
            pipe.read(&mut buffer).await.expect("a request or an end")
        });
    }
}

/// Statuses of these requests, one after the other.
async fn statuses(edge: &Rc<Edge>, requests: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(status(&edge.exchange(request).await));
        sleep(Duration::from_millis(1)).await;
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn lost_on_a_kept_connection_only_what_is_idempotent_and_has_no_body_is_sent_again() {
    let put = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    let delete = "DELETE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let empty_post = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (request, expected) in
        [(GET, 200), (delete, 200), (put, 502), (POST, 502), (empty_post, 502)]
    {
        on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
            let requests = [GET, request];
            let got = tokio::select! {
                got = statuses(&edge, &requests) => got,
                () = one_answer_each(&mut pipes) => unreachable!("pipes never end"),
            };
            assert_eq!(got, [200, expected], "{request}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_lost_again_and_again_are_not_kept_and_nothing_fails() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let requests = vec![GET; 200];
        let got = tokio::select! {
            got = statuses(&edge, &requests) => got,
            () = one_answer_each(&mut pipes) => unreachable!("pipes never end"),
        };
        assert_eq!(got, [200; 200]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lost_on_a_fresh_connection_nothing_is_sent_again() {
    on_raw_edge(config_to(&["1", "2"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
        };
        let (got, ()) = tokio::join!(edge.exchange(GET), play);
        assert_eq!(status(&got), 502);
        assert_eq!(edge.line().await["upstream"]["tries"], 1);
    })
    .await;
}

/// An endpoint that takes so many connections without a word, and responds on the next.
async fn held_through(lost: usize, request: &'static str) -> (u16, u64) {
    let mut held = config_to(&["1"]);
    held.upstreams[0].hold = Duration::from_secs(15);
    let got = Rc::new(std::cell::Cell::new((0, 0)));
    let put = Rc::clone(&got);
    on_raw_edge(held, |edge, mut pipes| async move {
        let play = async {
            for _ in 0..lost {
                let mut pipe = pipes.recv().await.expect("a connection");
                assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            }
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            pipe.write_all(OK).await.expect("an open pipe");
            std::future::pending::<()>().await;
        };
        let told = tokio::select! {
            told = edge.exchange(request) => told,
            () = play => unreachable!("it never ends"),
        };
        put.set((status(&told), edge.line().await["upstream"]["tries"].as_u64().expect("a count")));
    })
    .await;
    got.get()
}

#[tokio::test(start_paused = true)]
async fn with_hold_what_a_fresh_connection_lost_is_sent_once_more_after_a_pause() {
    assert_eq!(held_through(1, GET).await, (200, 2));
    // It may be what kills the endpoint.
    assert_eq!(held_through(2, GET).await, (502, 2));
    assert_eq!(held_through(1, POST).await, (502, 1));
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_on_a_kept_connection_is_never_asked_for_again() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            let mut buffer = [0; 1024];
            assert!(pipe.read(&mut buffer).await.expect("a request") > 0);
            pipe.write_all(OK).await.expect("an open pipe");
            assert!(pipe.read(&mut buffer).await.expect("a request") > 0);
            pipe.write_all(b"HTTP/1.1 2").await.expect("an open pipe");
        };
        let (got, ()) = tokio::join!(statuses(&edge, &[GET, GET]), play);
        assert_eq!(got, [200, 502]);
        edge.line().await;
        assert_eq!(edge.line().await["upstream"]["tries"], 1);
    })
    .await;
}

/// A client that sends much at once uses up its turn: what is known of kept connections does not
/// depend on that.
#[tokio::test(start_paused = true)]
async fn upload_large_uses_kept_connection() {
    on_raw_edge(config_to(&["1"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            let mut request = Vec::new();
            for end in ["\r\n\r\n", "xyz"] {
                request.clear();
                while !request.ends_with(end.as_bytes()) {
                    assert!(
                        pipe.read_buf(&mut request).await.expect("more of the request") > 0,
                        "the connection is closed"
                    );
                }
                pipe.write_all(OK).await.expect("an open pipe");
            }
        };
        let ask = async {
            let mut client = edge.connect();
            let head = "HTTP/1.1\r\nhost: a\r\ncontent-length:";
            let post = format!("POST / {head} 30003\r\n\r\n{}xyz", "x".repeat(30_000));
            for request in [format!("GET / {head} 0\r\n\r\n"), post] {
                client.write_all(request.as_bytes()).await.expect("an open pipe");
                let mut answer = Vec::new();
                while !answer.ends_with(b"\r\n\r\nok") {
                    assert!(client.read_buf(&mut answer).await.expect("an answer") > 0);
                }
            }
        };
        tokio::join!(ask, play);
    })
    .await;
}
