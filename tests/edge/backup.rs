//! `backup: true`: endpoints that get requests only while no other is available.

use std::rc::Rc;

use tokio::time::{Duration, sleep};
use weir::config::Config;

use crate::harness::{Edge, on_edge_of, parsed, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Endpoints 10.0.0.1 and 10.0.0.2, and 10.0.0.3 as their backup.
fn with_backup(balance: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]
upstreams:
  app:
    balance: {balance}
    endpoints: [ 10.0.0.1:80, 10.0.0.2:80, {{ address: 10.0.0.3:80, weight: 100, backup: true }} ]
routes: [ {{ path: /, upstream: app }} ]
"
    ))
}

/// Addresses that got this many GETs, all of which got a response.
async fn gets(edge: &Rc<Edge>, count: usize) -> Vec<usize> {
    edge.seen.borrow_mut().clear();
    for _ in 0..count {
        assert_eq!(status(&edge.exchange(GET).await), 200);
    }
    edge.shares(&[1, 2, 3])
}

#[tokio::test(start_paused = true)]
async fn backup_gets_nothing_while_another_is_available() {
    for balance in ["round_robin", "least_requests"] {
        on_edge_of(with_backup(balance), |edge| async move {
            assert_eq!(gets(&edge, 10).await, [5, 5, 0], "{balance}");
            edge.world.down_are(&[1]);
            // Kept connections would still be used.
            sleep(Duration::from_secs(5)).await;
            assert_eq!(gets(&edge, 10).await, [0, 10, 0], "{balance}");
        })
        .await;
    }
    on_edge_of(with_backup("hash:client_ip"), |edge| async move {
        let shares = gets(&edge, 10).await;
        assert_eq!(shares[2], 0, "{shares:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backup_gets_all_requests_while_no_other_is_available() {
    for balance in ["round_robin", "least_requests", "hash:client_ip"] {
        on_edge_of(with_backup(balance), |edge| async move {
            edge.world.down_are(&[1, 2]);
            assert_eq!(gets(&edge, 20).await, [0, 0, 20], "{balance}");
            edge.world.down_are(&[]);
            sleep(Duration::from_secs(120)).await;
            let shares = gets(&edge, 20).await;
            assert_eq!((shares[0] + shares[1], shares[2]), (20, 0), "{balance}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn backup_that_is_down_too_is_no_worse_than_none() {
    on_edge_of(with_backup("round_robin"), |edge| async move {
        edge.world.down_are(&[1, 2, 3]);
        assert_eq!(status(&edge.exchange(GET).await), 502);
        edge.world.down_are(&[3]);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(gets(&edge, 10).await, [5, 5, 0]);
    })
    .await;
}
