//! `slow_start`: an address that becomes available gets its share by and by.

use std::{rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::sleep;
use weir::config::Config;

use crate::harness::{Edge, on_edge_of, parsed, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn config(balance: &str, endpoints: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]
upstreams:
  app:
    balance: {balance}
    slow_start: 20s
    endpoints: [ {endpoints} ]
    health: {{ passive: {{ failures: 1, window: 1s, eject: 10s }} }}
routes: [ {{ path: /, upstream: app }} ]
"
    ))
}

/// How many of so many GETs each of the addresses got.
async fn gets(edge: &Rc<Edge>, count: usize, addresses: &[u8]) -> Vec<usize> {
    edge.seen.borrow_mut().clear();
    for _ in 0..count {
        assert_eq!(status(&edge.exchange(GET).await), 200);
    }
    edge.shares(addresses)
}

#[tokio::test(start_paused = true)]
async fn slow_start_gives_a_returned_address_its_share_by_and_by() {
    for balance in ["round_robin", "least_requests"] {
        on_edge_of(config(balance, "10.0.0.1:80, 10.0.0.2:80"), |edge| async move {
            assert_eq!(gets(&edge, 10, &[1, 2]).await, [5, 5]);
            // No connection is kept so long.
            sleep(Duration::from_secs(2)).await;
            edge.world.down_are(&[2]);
            assert_eq!(gets(&edge, 10, &[1, 2]).await, [10, 0]);
            edge.world.down_are(&[]);
            // The ejection ends after 10 s; a quarter of 20 s later its weight is a quarter.
            sleep(Duration::from_secs(15)).await;
            assert_eq!(gets(&edge, 100, &[1, 2]).await, [80, 20], "{balance}");
            sleep(Duration::from_secs(5)).await;
            assert_eq!(gets(&edge, 90, &[1, 2]).await, [60, 30], "{balance}");
            sleep(Duration::from_secs(10)).await;
            assert_eq!(gets(&edge, 10, &[1, 2]).await, [5, 5], "{balance}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_start_holds_for_a_new_address_and_not_at_the_start() {
    on_edge_of(config("round_robin", "app:80"), |edge| async move {
        edge.world.app_is(&[1, 2]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(gets(&edge, 10, &[1, 2, 3]).await, [5, 5, 0]);
        edge.world.app_is(&[1, 2, 3]);
        // The name is resolved every 5 s.
        let asked = edge.world.asked.load(Relaxed);
        while edge.world.asked.load(Relaxed) == asked {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_secs(10)).await;
        // Half of its weight: one in five requests, as the others have the whole.
        let shares = gets(&edge, 100, &[1, 2, 3]).await;
        assert!((20..=21).contains(&shares[2]), "{shares:?}");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(gets(&edge, 9, &[1, 2, 3]).await, [3, 3, 3]);
    })
    .await;
}

/// An only address gets every request, and the first hundred requests do not wait.
#[tokio::test(start_paused = true)]
async fn slow_start_of_an_only_address_means_nothing() {
    on_edge_of(config("least_requests", "10.0.0.1:80"), |edge| async move {
        assert_eq!(gets(&edge, 100, &[1]).await, [100]);
        assert_eq!(edge.now(), 0);
    })
    .await;
}
