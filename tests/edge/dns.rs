//! Names that stand for several addresses, and how these share the requests.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use weir::upstream::balance::Balance;

use crate::harness::{Edge, address, config_to, on_edge_of, on_raw_edge, status};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// This many GETs, one after the other; all get a response.
async fn gets(edge: &Rc<Edge>, count: usize) {
    for _ in 0..count {
        assert_eq!(Rc::clone(edge).get().await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn three_addresses_of_a_name_get_equal_shares() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests] {
        let mut config = config_to(&["app"]);
        config.upstreams[0].balance = balance;
        on_edge_of(config, |edge| async move {
            edge.world.app_is(&[1, 2, 3]);
            gets(&edge, 30).await;
            assert_eq!(edge.shares(&[1, 2, 3]), [10, 10, 10], "{balance:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn balance_spreads_a_burst_over_the_addresses() {
    on_edge_of(config_to(&["app"]), |edge| async move {
        edge.world.app_is(&[1, 2, 3]);
        edge.burst(90).await;
        assert_eq!(edge.shares(&[1, 2, 3]), [30, 30, 30]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn weights_are_shares() {
    let mut config = config_to(&["1", "2"]);
    config.upstreams[0].endpoints[1].weight = 3;
    on_edge_of(config, |edge| async move {
        gets(&edge, 40).await;
        assert_eq!(edge.shares(&[1, 2]), [10, 30]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn balance_hash_keeps_address_when_another_leaves() {
    let mut config = config_to(&["app"]);
    config.upstreams[0].balance = Balance::HashClientIp;
    on_edge_of(config, |edge| async move {
        let visit = async |last: u8| {
            let mut client = edge.connect_from(&format!("192.0.2.{last}"));
            client.write_all(GET).await.expect("an open pipe");
            assert!(client.read(&mut [0; 1024]).await.expect("an answer") > 0);
            edge.seen.borrow().last().expect("a request").address
        };
        edge.world.app_is(&[1, 2, 3, 4]);
        let mut before = Vec::new();
        for last in 0..100 {
            before.push(visit(last).await);
            assert_eq!(visit(last).await, before[usize::from(last)]);
        }
        edge.world.app_is(&[1, 2, 4]);
        sleep(Duration::from_secs(5)).await;
        for last in 0..100 {
            let (now, before) = (visit(last).await, before[usize::from(last)]);
            assert!(now == before || before == address(3), "{last} moved from {before} to {now}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn balance_least_busy_counts_until_bodies_end() {
    on_raw_edge(config_to(&["1", "2"]), |edge, mut pipes| async move {
        let mut reading = edge.connect();
        reading.write_all(GET).await.expect("an open pipe");
        let (busy, mut pipe) = pipes.recv_at().await.expect("a connection");
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha";
        pipe.write_all(half).await.expect("an open pipe");
        assert!(reading.read(&mut [0; 1024]).await.expect("an answer") > 0);
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        for _ in 0..5 {
            let asking = tokio::task::spawn_local(Rc::clone(&edge).get());
            let (free, mut other) = pipes.recv_at().await.expect("a connection");
            assert_ne!(free, busy);
            other.write_all(ok).await.expect("an open pipe");
            assert_eq!(asking.await.expect("no panic").0, 200);
        }
        pipe.write_all(b"lf").await.expect("an open pipe");
        assert_eq!(reading.read(&mut [0; 8]).await.expect("the rest"), 2);
        drop(pipe);
        let asking = [(); 2].map(|()| tokio::task::spawn_local(Rc::clone(&edge).get()));
        let (one, other) = (
            pipes.recv_at().await.expect("a connection"),
            pipes.recv_at().await.expect("a connection"),
        );
        assert!(one.0 != other.0, "both were free again");
        asking.iter().for_each(tokio::task::JoinHandle::abort);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn new_addresses_get_traffic_within_the_refresh_and_gone_ones_drain() {
    on_raw_edge(config_to(&["app"]), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        let (mut reading, mut idle) = (edge.connect(), edge.connect());
        reading.write_all(GET).await.expect("an open pipe");
        let mut old = pipes.recv_at().await.expect("a connection");
        old.1
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            .await
            .expect("an open pipe");
        idle.write_all(GET).await.expect("an open pipe");
        let mut kept = pipes.recv_at().await.expect("a connection");
        edge.world.app_is(&[2]);
        sleep(Duration::from_millis(4_500)).await;
        kept.1
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("an open pipe");
        sleep(Duration::from_millis(1_000)).await;
        assert_eq!((old.0, kept.0), (address(1), address(1)));
        let mut request = Vec::new();
        kept.1.read_to_end(&mut request).await.expect("an end: the idle connection is closed");
        assert_eq!(edge.now(), 5_500);
        tokio::task::spawn_local(Rc::clone(&edge).get());
        assert_eq!(pipes.recv_at().await.expect("a connection").0, address(2));
        old.1.write_all(b"lf").await.expect("an open pipe");
        let mut answer = [0; 1024];
        let mut count = 0;
        while !answer[..count].ends_with(b"half") {
            count += reading.read(&mut answer[count..]).await.expect("the rest of the answer");
        }
        assert!(
            old.1.read_to_end(&mut request).await.is_ok(),
            "it is closed once its answer has ended"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dns_failing_resolver_keeps_last_addresses() {
    on_edge_of(config_to(&["app"]), |edge| async move {
        edge.world.app_is(&[1, 2]);
        gets(&edge, 2).await;
        edge.world.names.lock().expect("no panic").clear();
        sleep(Duration::from_secs(60)).await;
        gets(&edge, 2).await;
        assert_eq!(edge.shares(&[1, 2]), [2, 2]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dns_failed_connection_resolves_immediately_but_not_per_request() {
    on_edge_of(config_to(&["app"]), |edge| async move {
        edge.world.app_is(&[1]);
        gets(&edge, 1).await;
        sleep(Duration::from_secs(2)).await;
        let asked = edge.world.asked.load(Ordering::Relaxed);
        edge.world.app_is(&[2]);
        edge.world.down_are(&[1]);
        assert_eq!(Rc::clone(&edge).get().await.0, 502);
        gets(&edge, 1).await;
        assert_eq!((edge.shares(&[1, 2]), edge.now()), (vec![1, 1], 2_000));
        edge.world.down_are(&[1, 2]);
        sleep(Duration::from_secs(2)).await;
        let got = edge.burst(50).await;
        assert!(got.iter().all(|got| *got == (502, 0)), "{got:?}");
        assert_eq!(edge.world.asked.load(Ordering::Relaxed), asked + 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dns_unresolved_name_is_logged_and_used_later() {
    on_edge_of(config_to(&["app"]), |edge| async move {
        let answer = edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!((status(&answer), edge.now()), (502, 0));
        assert!(answer.contains("error=dns_error"), "{answer}");
        edge.world.app_is(&[1]);
        sleep(Duration::from_millis(260)).await;
        gets(&edge, 1).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hold_uses_new_dns_address_as_soon_as_known() {
    let mut config = config_to(&["app"]);
    config.upstreams[0].hold = Duration::from_secs(15);
    on_edge_of(config, |edge| async move {
        edge.world.app_is(&[1]);
        gets(&edge, 1).await;
        sleep(Duration::from_secs(2)).await;
        edge.world.down_are(&[1]);
        let replace = async {
            sleep(Duration::from_millis(3_010)).await;
            edge.world.app_is(&[2]);
        };
        let (got, ()) = tokio::join!(edge.burst(20), replace);
        assert!(got.iter().all(|(status, after)| *status == 200 && *after <= 3_260), "{got:?}");
        assert_eq!(edge.shares(&[1, 2]), [1, 20]);
    })
    .await;
}
