//! The worked tables, over the whole data path, to the millisecond.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::harness::{Got, on_edge};

fn passes(count: usize) -> Vec<Got> {
    vec![(200, 0); count]
}

fn delays(times: impl IntoIterator<Item = u64>) -> Vec<Got> {
    times.into_iter().map(|at| (200, at)).collect()
}

fn rejects(count: usize) -> Vec<Got> {
    vec![(503, 0); count]
}

#[tokio::test(start_paused = true)]
async fn table_a_one_a_second_without_burst() {
    on_edge(&["1r/s"], |edge| async move {
        let mut got = Vec::new();
        for pause in [0, 100, 899, 1, 100] {
            sleep(Duration::from_millis(pause)).await;
            got.push(Rc::clone(&edge).get().await);
        }
        assert_eq!(got, [(200, 0), (503, 0), (503, 0), (200, 0), (503, 0)]);
    })
    .await;
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
    on_edge(&["10r/s burst=20"], |edge| async move {
        let expected = [passes(1), delays((1..=20).map(|k| k * 100)), rejects(9)].concat();
        assert_eq!(edge.burst(30).await, expected);
        assert_eq!(edge.forwarded(), (0..=20).map(|k| k * 100).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b_nodelay() {
    on_edge(&["10r/s burst=20 nodelay"], |edge| async move {
        assert_eq!(edge.burst(30).await, [passes(21), rejects(9)].concat());
        sleep(Duration::from_millis(99)).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b_delay_8() {
    on_edge(&["10r/s burst=20 delay=8"], |edge| async move {
        let expected = [passes(9), delays((1..=12).map(|k| k * 100)), rejects(9)].concat();
        assert_eq!(edge.burst(30).await, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c_fifteen_at_five_a_second() {
    on_edge(&["5r/s burst=12 delay=8"], |edge| async move {
        let expected = [passes(9), delays([200, 400, 600, 800]), rejects(2)].concat();
        assert_eq!(edge.burst(15).await, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn d_thirty_a_minute() {
    on_edge(&["30r/m burst=2 delay=1"], |edge| async move {
        assert_eq!(edge.burst(4).await, [passes(2), delays([2000]), rejects(1)].concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn e_two_limits_on_one_route() {
    on_edge(&["1r/s burst=5 nodelay", "10r/s burst=10 global"], |edge| async move {
        let expected = [passes(1), delays([100, 200, 300, 400, 500]), rejects(3)].concat();
        assert_eq!(edge.burst(9).await, expected);
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
        assert_eq!(edge.burst(6).await, [passes(1), delays([100, 200, 300]), rejects(2)].concat());
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
