//! The worked tables, over the whole data path, to the millisecond.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, sleep_until},
};
use weir_test::{
    limit::{Delay, Exempt, Pass, Reject},
    worked_tables::{self, WorkedTable},
};

use crate::harness::{Edge, Got, on_edge};

/// Runs a table by a burst at each of its instants, and what follows it on the same worker.
pub async fn on_table<F: Future<Output = ()>>(
    table: &WorkedTable,
    burst: impl AsyncFn(&Rc<Edge>, usize) -> Vec<Got>,
    test: impl FnOnce(Rc<Edge>) -> F,
) {
    let texts = table.texts();
    let limits: Vec<_> = texts.iter().map(String::as_str).collect();
    on_edge(&limits, |edge| async move {
        let (mut got, start) = (Vec::new(), Instant::now());
        for (at_ms, count) in table.arrivals() {
            sleep_until(start + Duration::from_millis(at_ms)).await;
            got.extend(burst(&edge, count).await);
        }
        let expected = table.verdicts().into_iter().map(|verdict| match verdict {
            Pass | Exempt => (200, 0),
            Delay(wait_ms) => (200, wait_ms),
            Reject(_) => (503, 0),
        });
        assert_eq!(got, expected.collect::<Vec<_>>(), "{}", table.name);
        test(edge).await;
    })
    .await;
}

/// Each request on a connection of its own.
async fn burst(edge: &Rc<Edge>, count: usize) -> Vec<Got> {
    edge.burst(count).await
}

#[tokio::test(start_paused = true)]
async fn table_a_one_a_second_without_burst() {
    on_table(&worked_tables::A, burst, async |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn table_a_has_retry_times() {
    on_edge(&["1r/s"], |edge| async move {
        Rc::clone(&edge).get().await;
        sleep(Duration::from_millis(100)).await;
        let answer = edge
            .exchange(
                "GET / HTTP/1.1\r\nhost: a\r\naccept: text/plain\r\nconnection: close\r\n\r\n",
            )
            .await;
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(
            answer
                .contains("proxy-status: weir; error=http_request_denied; details=\"zone zone0\""),
            "{answer}"
        );
        assert!(answer.ends_with("(in 900 ms)\n"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b_thirty_at_once_wait_pass_and_are_rejected() {
    on_table(&worked_tables::B, burst, async |edge| {
        assert_eq!(edge.forwarded(), (0..=20).map(|k| k * 100).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b_nodelay() {
    on_table(&worked_tables::B_NODELAY, burst, async |edge| {
        sleep(Duration::from_millis(99)).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b_delay_8() {
    on_table(&worked_tables::B_DELAY_8, burst, async |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn c_fifteen_at_five_a_second() {
    on_table(&worked_tables::C, burst, async |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn d_thirty_a_minute() {
    on_table(&worked_tables::D, burst, async |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn e_two_limits_on_one_route() {
    on_table(&worked_tables::E, burst, async |edge| {
        let answer = edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.contains("zone zone0"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_turn() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(4).as_bytes())
            .await
            .expect("an open pipe");
        let mut buffer = vec![0; 4096];
        for expected in [0, 100, 200, 300] {
            let count = client.read(&mut buffer).await.expect("an answer");
            assert!(
                buffer[..count].starts_with(b"HTTP/1.1 200"),
                "{:?}",
                String::from_utf8_lossy(&buffer[..count])
            );
            assert_eq!(edge.now(), expected);
        }
        assert_eq!(edge.forwarded(), [0, 100, 200, 300]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn max_wait_rejects_on_arrival() {
    on_edge(&["10r/s burst=20 max_wait=300"], |edge| async move {
        assert_eq!(
            edge.burst(6).await,
            [(200, 0), (200, 100), (200, 200), (200, 300), (503, 0), (503, 0)]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_line_has_limit_numbers() {
    on_edge(&["1r/s burst=1"], |edge| async move {
        Rc::clone(&edge).get().await;
        let passed = edge.line().await;
        assert_eq!(
            (&passed["status"], &passed["limit"]["decision"]),
            (&200.into(), &"pass".into())
        );
        let waited = Rc::clone(&edge).get().await;
        let line = edge.line().await;
        assert_eq!(line["limit"]["decision"], "delay");
        assert_eq!(line["limit"]["wait_ms"], waited.1);
        assert_eq!(
            (&line["bytes_out"], &line["upstream"]["endpoint"]),
            (&2.into(), &"10.0.0.1:80".into())
        );
    })
    .await;
}
