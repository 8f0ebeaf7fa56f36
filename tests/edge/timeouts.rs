//! How long clients may take: each wait has its end.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use weir::downstream::drain::Idle;

use crate::{
    harness::{Edge, Pipes, config, on_edge, on_raw_edge},
    recorder::{messages, on_recorded},
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn silent_client_is_closed_without_log_line() {
    on_edge(&[], |edge| async move {
        assert_eq!(edge.exchange("").await, "");
        assert!((10_000..=10_500).contains(&edge.now()), "{}", edge.now());
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(edge.line().await["status"], 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn keepalive_idle_connection_is_closed_in_time() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.expect("an end");
        assert_eq!(messages(&came).len(), 1);
        assert!((75_000..=75_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

/// Reads one response of a connection that stays open.
async fn answer(client: &mut DuplexStream) -> String {
    let mut came = Vec::new();
    while !came.ends_with(b"\r\n\r\nok") {
        assert!(
            client.read_buf(&mut came).await.expect("an open pipe") > 0,
            "the connection is closed"
        );
    }
    String::from_utf8(came).expect("text")
}

#[tokio::test(start_paused = true)]
async fn idle_connection_serves_as_before_and_keeps_its_timeouts() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        for pause in [0, 1_200, 5_000, 60_000] {
            sleep(Duration::from_millis(pause)).await;
            client.write_all(GET).await.expect("an open pipe");
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        }
        // Two at once, in pieces that end within the second one's head.
        sleep(Duration::from_secs(5)).await;
        client.write_all(&[GET, b"GET / HT"].concat()).await.expect("an open pipe");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_secs(5)).await;
        client.write_all(b"TP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        let rested = edge.now();
        assert_eq!(client.read(&mut [0; 9]).await.expect("an end"), 0);
        assert!((75_000..=75_500).contains(&(edge.now() - rested)), "{}", edge.now() - rested);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_header_holds_after_idle_time() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        answer(&mut client).await;
        sleep(Duration::from_secs(20)).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("an open pipe");
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.expect("an end");
        assert!((30_000..=30_500).contains(&edge.now()), "{}", edge.now());
        assert_eq!(
            (edge.line().await["status"].clone(), edge.line().await["status"].clone()),
            (200.into(), 408.into())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_by_drain_and_by_client() {
    on_edge(&[], |edge| async move {
        let mut clients = [edge.connect(), edge.connect()];
        for client in &mut clients {
            client.write_all(GET).await.expect("an open pipe");
            answer(client).await;
        }
        sleep(Duration::from_secs(5)).await;
        let [mut leaving, mut staying] = clients;
        leaving.shutdown().await.expect("an open pipe");
        assert_eq!(leaving.read(&mut [0; 9]).await.expect("an end"), 0);
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        assert_eq!(staying.read(&mut [0; 9]).await.expect("an end"), 0);
        assert_eq!(edge.now(), 5_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn slowloris_the_second_head_has_its_deadline_too() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        // The beginning of the second request comes with the first one.
        client.write_all(&[GET, b"GET / HTTP/1.1\r\n"].concat()).await.expect("an open pipe");
        while client.write_all(b"x: y\r\n").await.is_ok() && edge.now() < 60_000 {
            sleep(Duration::from_millis(700)).await;
        }
        assert!((10_000..=12_000).contains(&edge.now()), "{}", edge.now());
        assert_eq!(
            (edge.line().await["status"].clone(), edge.line().await["status"].clone()),
            (200.into(), 408.into())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn slow_read_an_answer_nobody_takes_is_cut() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let flood = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
            upstream.write_all(head).await.expect("an open pipe");
            while upstream.write_all(&[0; 1000]).await.is_ok() {}
            edge.now()
        };
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let ended = flood.await;
        assert!((30_000..=31_000).contains(&ended), "{ended}");
        assert_eq!(edge.line().await["error"]["kind"], "write_timeout");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_write_serves_slow_reader() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let body = async {
            let mut upstream = pipes.recv().await.expect("a connection");
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
            upstream.write_all(head).await.expect("an open pipe");
            upstream.write_all(&vec![b'x'; 1_000_000]).await.expect("an open pipe");
            upstream
        };
        let reader = async {
            let (mut client, mut took, mut piece) = (edge.connect(), 0, vec![0; 65_536]);
            client.write_all(GET).await.expect("an open pipe");
            while took < 1_000_000 {
                sleep(Duration::from_secs(20)).await;
                took += client.read(&mut piece).await.expect("more of the answer");
            }
            took
        };
        let (_upstream, took) = tokio::join!(body, reader);
        assert!(took > 1_000_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn slow_body_each_piece_has_its_time_and_the_whole_its_rate() {
    on_recorded(&[], |edge, recorder| async move {
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .expect("an open pipe");
        // A byte of a chunk each 29 s: within the time for a piece, below the rate.
        while client.write_all(b"1\r\nx\r\n").await.is_ok() && edge.now() < 200_000 {
            sleep(Duration::from_secs(29)).await;
        }
        assert!(edge.now() <= 29_000, "{}", edge.now());
        assert_eq!(
            (recorder.seen(), edge.line().await["error"]["side"].clone()),
            (vec![], "client".into())
        );
    })
    .await;
}

/// Response that the upstream sends before it has the body; then it reads on.
async fn answered_early(edge: &Edge, pipes: &mut Pipes) -> (DuplexStream, DuplexStream) {
    let mut client = edge.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
        .await
        .expect("an open pipe");
    let mut upstream = pipes.recv().await.expect("a connection");
    assert!(upstream.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
        .await
        .expect("an open pipe");
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        assert!(client.read_buf(&mut answer).await.is_ok_and(|count| count > 0));
    }
    (client, upstream)
}

#[tokio::test(start_paused = true)]
async fn body_after_early_response_has_body_timeout() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, _upstream) = answered_early(&edge, &mut pipes).await;
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        assert!((0..=30_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_after_early_response_and_body_has_header_timeout() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut client, mut upstream) = answered_early(&edge, &mut pipes).await;
        tokio::task::spawn_local(async move { upstream.read_to_end(&mut Vec::new()).await });
        for _ in 0..10 {
            sleep(Duration::from_millis(500)).await;
            // Where the response ended the upload, the connection ends too.
            let _closed = client.write_all(&vec![b'x'; 10_000]).await;
        }
        let _reset = client.read_to_end(&mut Vec::new()).await;
        assert!(edge.now() <= 5_000 + 75_500, "{}", edge.now());
    })
    .await;
}
