//! What crosses the proxy, and what never does.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::harness::{Edge, config, on_edge, on_raw_edge, status};

#[tokio::test(start_paused = true)]
async fn target_and_fields_cross_as_they_came() {
    on_edge(&[], |edge| async move {
        let request = "GET /a//b/../%2e?x=%20&y HTTP/1.1\r\nHost: A.test:81\r\nX-One: 1\r\nX-One: 2\r\n\
                       X-Forwarded-For: 6.6.6.6\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n";
        assert_eq!(status(&edge.exchange(request).await), 200);
        let seen = edge.seen.borrow();
        assert_eq!(seen[0].target, "/a//b/../%2e?x=%20&y");
        let field = |name: &str| {
            seen[0].headers.get_all(name).iter().map(|v| v.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(field("x-one"), ["1", "2"]);
        assert_eq!(field("host"), ["A.test:81"]);
        assert_eq!((field("x-forwarded-for"), field("x-real-ip")), (vec!["192.0.2.1".into()], vec!["192.0.2.1".into()]));
        assert_eq!(
            (field("x-forwarded-proto"), field("x-forwarded-host")),
            (vec!["http".into()], vec!["A.test:81".into()])
        );
        assert_eq!((field("via"), field("x-hop")), (vec!["1.1 weir".to_owned()], vec![]));
        assert_eq!(field("x-request-id")[0].len(), 32);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_keep_their_framing_and_their_bytes() {
    on_edge(&[], |edge| async move {
        edge.exchange("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await;
        edge.exchange(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .await;
        edge.exchange("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        let seen = edge.seen.borrow();
        assert_eq!(
            (&seen[0].body[..], &seen[0].headers["content-length"]),
            (&b"hello"[..], &"5".parse().expect("a value"))
        );
        assert_eq!(
            (&seen[1].body[..], &seen[1].headers["transfer-encoding"]),
            (&b"abc"[..], &"chunked".parse().expect("a value"))
        );
        assert_eq!([&seen[0].method, &seen[1].method, &seen[2].method], ["POST", "GET", "POST"]);
        assert_eq!((seen[2].body.len(), &seen[2].headers["content-length"]), (0, &"0".parse().expect("a value")));
    })
    .await;
}

/// A reject to a request with a body: the body must never be read as the next request.
async fn early_answer(edge: &Edge, body: &str) -> String {
    let smuggled =
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    edge.exchange(&format!("{smuggled}GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
        .await
}

#[tokio::test(start_paused = true)]
async fn reject_body_is_never_the_next_request() {
    on_edge(&["1r/d"], |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let answers = early_answer(&edge, "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answers.matches("HTTP/1.1 503").count(), 2, "{answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 2, "{answers}");
        assert_eq!(edge.seen.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reject_with_long_body_closes_connection() {
    on_edge(&["1r/d"], |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut client = edge.connect();
        client
            .write_all(
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nGET /x HTTP/1.1\r\n",
            )
            .await
            .expect("a pipe");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer and an end");
        assert_eq!(status(&answer), 503);
        assert!(answer.contains("connection: close"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_continue_is_sent_to_a_parked_or_rejected_client() {
    on_edge(&["1r/s burst=1"], |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut client = edge.connect();
        let expecting =
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(expecting).await.expect("an open pipe");
        let mut buffer = [0; 1024];
        let count = client.read(&mut buffer).await.expect("an answer");
        assert_eq!((&buffer[..count], edge.now()), (&b"HTTP/1.1 100 Continue\r\n\r\n"[..], 1000));
        client.write_all(b"ok").await.expect("an open pipe");
        let count = client.read(&mut buffer).await.expect("an answer");
        assert!(buffer[..count].starts_with(b"HTTP/1.1 200"));
        let mut second = edge.connect();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
        tokio::task::yield_now().await;
        let rejected = edge
            .exchange(
                "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            )
            .await;
        assert!(rejected.starts_with("HTTP/1.1 503"), "{rejected}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_header_cuts_slow_head_and_logs() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("an open pipe");
        for _ in 0..30 {
            sleep(Duration::from_millis(300)).await;
            client.write_all(b"x: y\r\n").await.expect("an open pipe");
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("an end");
        assert!((10_000..=10_500).contains(&edge.now()), "{}", edge.now());
        assert_eq!(edge.line().await["status"], 408);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trickling_body_is_cut() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
            .await
            .expect("an open pipe");
        let mut open_for = 0;
        // Ten bytes each 100 ms: no pause is long, but 100 bytes a second are too few.
        while client.write_all(b"0123456789").await.is_ok() && open_for < 20_000 {
            sleep(Duration::from_millis(100)).await;
            open_for += 100;
        }
        assert!((10_000..=11_500).contains(&open_for), "{open_for}");
        assert!(edge.seen.borrow().is_empty());
        assert_eq!(edge.line().await["error"]["side"], "client");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_body_cuts_silent_and_keeps_steady_body() {
    on_edge(&[], |edge| async move {
        let mut steady = edge.connect();
        steady
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\n\r\n")
            .await
            .expect("an open pipe");
        for _ in 0..40 {
            sleep(Duration::from_millis(500)).await;
            steady.write_all(&[b'x'; 500]).await.expect("an open pipe");
        }
        let mut buffer = [0; 1024];
        let count = steady.read(&mut buffer).await.expect("an answer");
        assert!(
            buffer[..count].starts_with(b"HTTP/1.1 200"),
            "{:?}",
            String::from_utf8_lossy(&buffer[..count])
        );
        let (mut silent, start) = (edge.connect(), edge.now());
        silent
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000\r\n\r\n")
            .await
            .expect("an open pipe");
        silent.write_all(&[b'x'; 7900]).await.expect("an open pipe");
        assert_eq!(silent.read(&mut buffer).await.expect("an end"), 0);
        assert!((30_000..=31_000).contains(&(edge.now() - start)), "{}", edge.now() - start);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upstream_faults_have_their_status_and_kind() {
    for (answer, expected, kind) in [
        ("", 502, "connection_terminated"),
        ("HTTP/1.1 20", 502, "connection_terminated"),
        ("nonsense\r\n\r\n", 502, "http_protocol_error"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            502,
            "http_protocol_error",
        ),
    ] {
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let play = async {
                let mut upstream = pipes.recv().await.expect("a connection");
                let mut buffer = [0; 1024];
                assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
                upstream.write_all(answer.as_bytes()).await.expect("an open pipe");
            };
            let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let (got, ()) = tokio::join!(edge.exchange(request), play);
            assert_eq!(status(&got), expected, "{answer:?}: {got}");
            assert!(got.contains(&format!("error={kind}")), "{answer:?}: {got}");
            assert_eq!(edge.line().await["error"]["side"], "upstream");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn response_cut_is_never_complete() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut buffer = [0; 1024];
            assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
            upstream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await
                .expect("a pipe");
        };
        let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let (got, ()) = tokio::join!(edge.exchange(request), play);
        assert!(got.contains("hello") && !got.contains("\r\n0\r\n\r\n"), "{got}");
        assert_eq!(edge.line().await["error"]["kind"], "http_response_incomplete");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_first_byte_is_504() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let held = async { pipes.recv().await.expect("a connection") };
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let (got, _pipe) = tokio::join!(edge.exchange(request), held);
        assert_eq!(status(&got), 504);
        assert!((30_000..=30_200).contains(&edge.now()), "{}", edge.now());
        assert!(got.contains("error=connection_read_timeout"), "{got}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_stale_connection_costs_get_nothing_and_post_a_try() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let play = async {
            let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            let mut buffer = [0; 1024];
            for _ in 0..2 {
                // One response on each connection; the second request on it meets a silent close.
                let mut upstream = pipes.recv().await.expect("a connection");
                assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
                upstream.write_all(ok).await.expect("an open pipe");
                assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
            }
        };
        let ask = async {
            let mut client = edge.connect();
            let mut buffer = [0; 1024];
            let mut statuses = Vec::new();
            let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok";
            for request in
                ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", post]
            {
                client.write_all(request.as_bytes()).await.expect("an open pipe");
                let count = client.read(&mut buffer).await.expect("an answer");
                statuses.push(status(&String::from_utf8_lossy(&buffer[..count])));
            }
            statuses
        };
        let (statuses, ()) = tokio::join!(ask, play);
        assert_eq!(statuses, [200, 200, 502]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hold_waits_for_endpoint_and_no_longer_than_hold() {
    let mut held = config(&[]);
    held.upstreams[0].hold = Duration::from_secs(15);
    held.upstreams[0].connect_timeout = Duration::from_secs(60);
    on_raw_edge(held, |edge, pipes| async move {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        drop(pipes);
        let got = edge.exchange(request).await;
        assert_eq!(status(&got), 502);
        assert!(got.contains("error=connection_refused"), "{got}");
        assert!((14_500..=15_000).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hold_forwards_when_endpoint_returns_and_post_once() {
    let mut held = config(&[]);
    held.upstreams[0].hold = Duration::from_secs(15);
    on_raw_edge(held, |edge, mut pipes| async move {
        edge.world.refusing.store(true, Ordering::Relaxed);
        let come_back = async {
            sleep(Duration::from_secs(3)).await;
            edge.world.refusing.store(false, Ordering::Relaxed);
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"ok") {
                assert!(upstream.read_buf(&mut request).await.expect("more of the request") > 0);
            }
            upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("an open pipe");
        };
        let post = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        let (got, ()) = tokio::join!(edge.exchange(post), come_back);
        assert_eq!(status(&got), 204);
        assert!((3_000..=3_600).contains(&edge.now()), "{}", edge.now());
        assert!(edge.line().await["upstream"]["tries"].as_u64().expect("a count") > 5);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn options_asterisk_and_the_last_hop_are_answered_here() {
    on_edge(&[], |edge| async move {
        let star =
            edge.exchange("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let last = edge
            .exchange(
                "OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n",
            )
            .await;
        assert_eq!((status(&star), status(&last)), (200, 200));
        assert!(edge.seen.borrow().is_empty());
        edge.exchange(
            "OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 7\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(edge.seen.borrow()[0].headers["max-forwards"], "6");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_cross_in_both_directions_and_are_never_fields() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"0\r\nx-sum: 1\r\n\r\n") {
                assert!(upstream.read_buf(&mut request).await.expect("more of the request") > 0);
            }
            let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, host\r\n\r\n\
                          2\r\nok\r\n0\r\nx-sum: 2\r\nhost: evil\r\n\r\n";
            upstream.write_all(answer.as_bytes()).await.expect("an open pipe");
            String::from_utf8(request).expect("text")
        };
        let request = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\n\
                       trailer: x-sum, x-real-ip\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\nx-real-ip: 6.6.6.6\r\n\r\n";
        let (got, forwarded) = tokio::join!(edge.exchange(request), play);
        assert!(got.ends_with("0\r\nx-sum: 2\r\n\r\n"), "{got}");
        assert!(!forwarded.contains("6.6.6.6") && !got.contains("evil"), "{forwarded}{got}");
        assert!(forwarded.contains("trailer: x-sum\r\n") && got.contains("trailer: x-sum\r\n"), "{forwarded}{got}");
    })
    .await;
}
