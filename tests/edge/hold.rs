//! An endpoint that comes and goes: nothing fails where requests may be held, and it is used again
//! at once.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use crate::harness::{Edge, config_to, on_edge_of};

/// A request on a connection of its own each 50 ms for 20 s, while the endpoint is away every
/// second half second.
async fn while_flapping(edge: &Rc<Edge>) -> Vec<(u16, u64)> {
    let flapping = Rc::clone(edge);
    let flaps = tokio::task::spawn_local(async move {
        for flap in 0..40 {
            flapping.world.refusing.store(flap % 2 == 1, Ordering::Relaxed);
            sleep(Duration::from_millis(500)).await;
        }
        flapping.world.refusing.store(false, Ordering::Relaxed);
    });
    let mut asking = Vec::new();
    for _ in 0..400 {
        asking.push(tokio::task::spawn_local(Rc::clone(edge).get()));
        sleep(Duration::from_millis(50)).await;
    }
    flaps.await.expect("no panic");
    let mut got = Vec::new();
    for one in asking {
        got.push(one.await.expect("no panic"));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn where_requests_are_held_none_fails() {
    let mut config = config_to(&["1"]);
    config.upstreams[0].hold = Duration::from_secs(2);
    // No kept connection, so that each request needs the endpoint to take one.
    config.upstreams[0].keepalive_max_idle = 0;
    on_edge_of(config, |edge| async move {
        let got = while_flapping(&edge).await;
        assert!(got.iter().all(|(status, _)| *status == 200), "{got:?}");
        // Away for half a second, and looked for at least that often.
        assert!(got.iter().all(|(_, took)| *took <= 1_000), "{got:?}");
        assert!(got.iter().any(|(_, took)| *took > 100), "nobody was held");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_they_are_not_each_failure_is_at_once_and_the_end_of_an_outage_is_the_end_of_failures()
 {
    let mut config = config_to(&["1"]);
    config.upstreams[0].keepalive_max_idle = 0;
    on_edge_of(config, |edge| async move {
        let got = while_flapping(&edge).await;
        assert!(
            got.iter().all(|(status, took)| matches!(status, 200 | 502) && *took <= 10),
            "{got:?}"
        );
        let failed = got.iter().filter(|(status, _)| *status == 502).count();
        assert!((195..=205).contains(&failed), "{failed}");
        assert_eq!(Rc::clone(&edge).get().await.0, 200);
    })
    .await;
}
