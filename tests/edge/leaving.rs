//! Clients that leave, and a process that stops.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use weir::downstream::drain::Idle;

use crate::harness::{config, on_edge, on_raw_edge, status};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn ten_of_twenty_parked_leave_and_ten_new_ones_are_let_in() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let mut clients = Vec::new();
        for _ in 0..21 {
            let mut client = edge.connect();
            client.write_all(GET).await.expect("an open pipe");
            clients.push(client);
            tokio::task::yield_now().await;
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(edge.queue.parked(), 20);
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        clients.truncate(11);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(edge.queue.parked(), 10);
        let statuses: Vec<u16> = edge.burst(11).await.into_iter().map(|got| got.0).collect();
        assert_eq!(statuses, [vec![200; 10], vec![503]].concat());
    })
    .await;
}

/// Whatever a client has sent behind its request, its leaving is noticed at once.
async fn parked_client_leaves_with(request: &'static str) {
    on_edge(&["1r/s burst=1"], |edge| async move {
        Rc::clone(&edge).get().await;
        edge.line().await;
        let mut client = edge.connect();
        client.write_all(request.as_bytes()).await.expect("an open pipe");
        sleep(Duration::from_millis(10)).await;
        assert_eq!(edge.queue.parked(), 1);
        drop(client);
        let line = edge.line().await;
        assert_eq!(edge.queue.parked(), 0);
        assert_eq!((&line["status"], &line["error"]["kind"]), (&499.into(), &"client_gone".into()));
        assert_eq!(edge.seen.borrow().len(), 1);
        assert_eq!(Rc::clone(&edge).get().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parked_get_leaves() {
    parked_client_leaves_with("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn parked_post_leaves() {
    parked_client_leaves_with("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789")
        .await;
}

#[tokio::test(start_paused = true)]
async fn parked_post_without_its_body_leaves() {
    parked_client_leaves_with("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn parked_pipeline_leaves() {
    parked_client_leaves_with(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn client_abort_cancels_upstream_request_and_is_logged() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        let mut buffer = [0; 1024];
        assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
        drop(client);
        assert_eq!(upstream.read(&mut buffer).await.expect("an end"), 0);
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["error"]["side"]), (&499.into(), &"client".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn queue_full_rejects_and_says_why() {
    let config = weir::config::Config { queue_max: 1, ..config(&["10r/s burst=20"]) };
    on_raw_edge(config, |edge, pipes| async move {
        drop(pipes);
        let answers = edge.burst(3).await;
        assert_eq!(answers, [(502, 0), (502, 100), (503, 0)]);
        let reasons: Vec<_> = [edge.line().await, edge.line().await]
            .into_iter()
            .map(|line| line["limit"]["reason"].clone())
            .filter(|reason| !reason.is_null())
            .collect();
        assert_eq!(reasons, ["queue_full"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn drain_releases_parked_in_time_and_rejects_others_immediately() {
    on_edge(&["1r/s burst=20"], |edge| async move {
        let asking = edge.burst(21);
        let stopping = async {
            sleep(Duration::from_millis(500)).await;
            edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        };
        let (got, ()) = tokio::join!(asking, stopping);
        // The last second of the eight is for responses: a slot at 8 s is not released any more.
        let served = (0..=7).map(|second| (200, second * 1000));
        let rejected = std::iter::repeat_n((503, 500), 13);
        assert_eq!(got, served.chain(rejected).collect::<Vec<_>>());
        edge.worker.finished().await;
        assert_eq!(edge.now(), 7000);
    })
    .await;
}

/// A quarter of a short drain: of 3.2 s the last 0.8.
#[tokio::test(start_paused = true)]
async fn parked_slot_within_the_reserve_of_a_drain_is_rejected() {
    for (drain_ms, last) in [(4_000, (200, 3_000)), (3_999, (503, 0)), (3_200, (503, 0))] {
        on_edge(&["1r/s burst=3"], |edge| async move {
            edge.order.by(Instant::now() + Duration::from_millis(drain_ms), Idle::Close);
            assert_eq!(
                edge.burst(4).await,
                [(200, 0), (200, 1_000), (200, 2_000), last],
                "{drain_ms} ms"
            );
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn drain_last_response_says_close_and_idle_connections_close() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let (mut idle, mut parked) = (edge.connect(), edge.connect());
        let mut buffer = vec![0; 1024];
        idle.write_all(GET).await.expect("an open pipe");
        assert!(idle.read(&mut buffer).await.expect("an answer") > 0);
        parked.write_all(GET).await.expect("an open pipe");
        sleep(Duration::from_millis(10)).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        assert_eq!(idle.read(&mut buffer).await.expect("an end"), 0);
        assert_eq!(edge.now(), 10);
        let mut answer = String::new();
        parked.read_to_string(&mut answer).await.expect("an answer and an end");
        assert_eq!((status(&answer), edge.now()), (200, 100));
        assert!(answer.contains("connection: close"), "{answer}");
    })
    .await;
}

/// A client that closes its sending side right behind its requests, and what comes back.
async fn half_closed(edge: &crate::harness::Edge, requests: &[u8]) -> String {
    let mut client = edge.connect();
    client.write_all(requests).await.expect("an open pipe");
    client.shutdown().await.expect("an open pipe");
    let mut came = String::new();
    client.read_to_string(&mut came).await.expect("an end");
    came
}

#[tokio::test(start_paused = true)]
async fn half_closed_client_gets_responses_in_flight() {
    on_edge(&[], |edge| async move {
        assert_eq!(half_closed(&edge, GET).await.matches("HTTP/1.1 200 OK").count(), 1);
        assert_eq!(half_closed(&edge, &GET.repeat(3)).await.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(
            half_closed(&edge, &[GET, b"GET /"].concat()).await.matches("HTTP/1.1 200 OK").count(),
            1
        );
        let post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(half_closed(&edge, post).await.matches("HTTP/1.1 200 OK").count(), 1);
        assert_eq!((half_closed(&edge, b"").await, edge.now()), (String::new(), 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn half_closed_client_gets_response_while_it_reads() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut buffer = [0; 1024];
            assert!(upstream.read(&mut buffer).await.expect("a request") > 0);
            upstream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
                .await
                .expect("an open pipe");
            for _ in 0..20 {
                sleep(Duration::from_millis(400)).await;
                upstream.write_all(b"moves").await.expect("an open pipe");
            }
            assert!(upstream.read(&mut buffer).await.is_ok());
        };
        let (came, ()) = tokio::join!(half_closed(&edge, GET), play);
        assert_eq!(came.matches("moves").count(), 20);
        let start = edge.now();
        let silent = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let mut buffer = Vec::new();
            upstream.read_to_end(&mut buffer).await.expect("an end");
        };
        let (came, ()) = tokio::join!(half_closed(&edge, GET), silent);
        assert_eq!(came, "");
        assert!((500..=1_000).contains(&(edge.now() - start)), "{}", edge.now() - start);
        edge.line().await;
        assert_eq!(edge.line().await["status"], 499);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parked_client_that_half_closes_leaves_immediately() {
    on_edge(&["1r/s burst=1"], |edge| async move {
        Rc::clone(&edge).get().await;
        assert_eq!(
            (half_closed(&edge, GET).await, edge.now(), edge.queue.parked()),
            (String::new(), 0, 0)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn drain_serves_late_connection_and_closes_silent_one() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
        let (mut silent, start, mut said) = (edge.connect(), Instant::now(), Vec::new());
        silent.read_to_end(&mut said).await.expect("an open pipe");
        assert!(
            said.is_empty() && start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    })
    .await;
}

/// It was accepted before the order and heard of it first: the connections are told a moment later.
#[tokio::test(start_paused = true)]
async fn drain_serves_connection_accepted_just_before() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        sleep(Duration::from_millis(20)).await;
        client.write_all(GET).await.expect("an open pipe");
        let mut came = String::new();
        client.read_to_string(&mut came).await.expect("an end");
        assert!(
            came.starts_with("HTTP/1.1 200 OK") && came.contains("connection: close\r\n"),
            "{came}"
        );
    })
    .await;
}

/// No window holds more than the rate, one more for its edge, and what was released of a line that
/// moved up.
fn assert_spaced(forwarded: &[u64], interval: u64) {
    for (first, begin) in forwarded.iter().enumerate() {
        for (count, end) in (1..).zip(&forwarded[first..]) {
            assert!(
                count <= 1 + (end - begin) / interval,
                "{count} in {begin}..={end} of {forwarded:?}"
            );
        }
    }
}

/// A client that asks, hangs up after its patience and asks again, until the time is over.
async fn impatient(edge: Rc<crate::harness::Edge>, patience: u64, end: u64) {
    while edge.now() < end {
        let mut client = edge.connect();
        let asked = async {
            client.write_all(GET).await.expect("an open pipe");
            let mut buffer = [0; 1024];
            client.read(&mut buffer).await.is_ok_and(|read| read > 0)
        };
        if tokio::time::timeout(Duration::from_millis(patience), asked).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn storm_of_impatient_clients_is_forwarded_at_the_rate() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let clients = (0..80).map(|client| {
            let edge = Rc::clone(&edge);
            async move {
                sleep(Duration::from_millis(client * 13)).await;
                impatient(edge, 1_000, 10_000).await;
            }
        });
        futures_util::future::join_all(clients).await;
        let forwarded: Vec<u64> = edge.forwarded().into_iter().filter(|at| *at < 10_000).collect();
        assert_spaced(&forwarded, 100);
        assert_eq!(
            forwarded.len(),
            100,
            "one each 100 ms, though nearly everybody leaves: {forwarded:?}"
        );
    })
    .await;
}

/// One client that parks as many as it can, closes each connection just before its slot, and asks
/// again.
#[tokio::test(start_paused = true)]
async fn leaving_just_before_the_slot_and_asking_again_gains_nothing() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let mut parked = std::collections::VecDeque::new();
        assert_eq!(
            Rc::clone(&edge).get().await,
            (200, 0),
            "from here on every one that asks is parked"
        );
        for round in 0..100_u64 {
            while parked.len() < 20 {
                let mut client = edge.connect();
                client.write_all(GET).await.expect("an open pipe");
                parked.push_back(client);
                tokio::task::yield_now().await;
            }
            sleep(Duration::from_millis((round + 1) * 100 - 1 - edge.now())).await;
            drop(parked.pop_front());
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_secs(5)).await;
        assert_spaced(&edge.forwarded(), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn line_moves_up_over_the_wire_and_the_log_has_the_wait_that_was() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let ask = async |milliseconds: u64| {
            sleep(Duration::from_millis(milliseconds)).await;
            Rc::clone(&edge).get().await
        };
        let leave = async {
            sleep(Duration::from_millis(2)).await;
            assert!(
                tokio::time::timeout(Duration::from_millis(148), Rc::clone(&edge).get())
                    .await
                    .is_err()
            );
        };
        // At 2 ms the third is told 200; it leaves at 150, and the two behind it come 100 ms
        // earlier than told.
        let (first, second, (), fourth, fifth) =
            tokio::join!(ask(0), ask(1), leave, ask(3), ask(4));
        assert_eq!([first, second, fourth, fifth], [(200, 0), (200, 99), (200, 197), (200, 296)]);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let line = edge.line().await;
            waits.push((
                line["status"].as_u64().unwrap_or(0),
                line["limit"]["wait_ms"].as_u64().unwrap_or(0),
            ));
        }
        waits.sort_unstable();
        assert_eq!(waits, [(200, 0), (200, 99), (200, 197), (200, 296), (499, 148)]);
    })
    .await;
}

/// Who is too late for the end of a drain is told from the place it has, not from what it was told
/// on arrival.
#[tokio::test(start_paused = true)]
async fn drain_serves_who_moved_up_into_time() {
    on_edge(&["1r/s burst=20"], |edge| async move {
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
        let mut impatient = Vec::new();
        for _ in 0..4 {
            let mut client = edge.connect();
            client.write_all(GET).await.expect("an open pipe");
            impatient.push(client);
        }
        let impatient = async {
            sleep(Duration::from_millis(100)).await;
            drop(impatient);
        };
        let patient = async {
            sleep(Duration::from_millis(10)).await;
            edge.burst(8).await
        };
        let stopping = async {
            sleep(Duration::from_millis(500)).await;
            edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        };
        // Told 5 to 12 s on arrival, they are due at 1 to 8 s: all but what the reserve at the end
        // takes are served.
        let ((), got, ()) = tokio::join!(impatient, patient, stopping);
        let served: Vec<u64> =
            got.iter().filter(|got| got.0 == 200).map(|got| got.1 + 10).collect();
        assert_eq!(
            served,
            (1..=served.len() as u64).map(|second| second * 1_000).collect::<Vec<_>>()
        );
        assert!((7..=8).contains(&served.len()), "{got:?}");
        assert!(got.iter().filter(|got| got.0 != 200).all(|got| *got == (503, 490)), "{got:?}");
    })
    .await;
}
