//! Sticky sessions: a cookie leads a client back to the address that served it.

use std::{collections::HashSet, rc::Rc, time::Duration};

use tokio::time::sleep;
use weir::config::Config;

use crate::harness::{Edge, on_edge_of, parsed, status};

fn config(rest: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]
upstreams:
  app:
    balance: round_robin
    endpoints: [ 10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80 ]
    sticky: {{ cookie: at{rest} }}
    health: {{ passive: {{ failures: 1 }} }}
routes: [ {{ path: /, upstream: app }} ]
"
    ))
}

/// One GET with this cookie: the value of the cookie that is set, and the address that served it.
async fn get(edge: &Edge, cookie: &str) -> (Option<String>, std::net::SocketAddr) {
    let response = edge
        .exchange(&format!("GET / HTTP/1.1\r\nhost: a\r\n{cookie}connection: close\r\n\r\n"))
        .await;
    assert_eq!(status(&response), 200, "{response}");
    let set = response.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    (set.map(str::to_owned), edge.seen.borrow().last().expect("a request").address)
}

/// The `Cookie` field for a `Set-Cookie`.
fn back(set: &str) -> String {
    format!("cookie: a=b; {}; c=d\r\n", set.split(';').next().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn sticky_cookie_leads_back_and_is_set_once() {
    on_edge_of(config(""), |edge| async move {
        let mut values = HashSet::new();
        for _ in 0..3 {
            let (set, address) = get(&edge, "").await;
            let set = set.expect("a cookie");
            assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
            for _ in 0..3 {
                assert_eq!(get(&edge, &back(&set)).await, (None, address));
            }
            values.insert(set);
        }
        assert_eq!(values.len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sticky_cookie_that_leads_nowhere_is_replaced() {
    on_edge_of(config(", max_age: 1h, same_site: none"), |edge| async move {
        let (set, _) = get(&edge, "cookie: at=MTAuMC4wLjE6ODA\r\n").await;
        let set = set.expect("a cookie");
        assert!(set.ends_with("; SameSite=None; Max-Age=3600; Secure"), "{set}");
        let (set, address) = get(&edge, "").await;
        let cookie = back(&set.expect("a cookie"));
        // No connection is kept so long.
        sleep(Duration::from_secs(2)).await;
        let last = edge.seen.borrow().last().expect("a request").address;
        edge.world.down.lock().expect("no panic").insert(last);
        let (other, elsewhere) = get(&edge, &cookie).await;
        assert_ne!(elsewhere, address);
        let other = back(&other.expect("another cookie"));
        assert_eq!(get(&edge, &other).await, (None, elsewhere));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sticky_secret_makes_the_same_cookies_in_every_process() {
    let mut both = Vec::new();
    for _ in 0..2 {
        let values = Rc::new(std::cell::RefCell::new(HashSet::new()));
        let found = Rc::clone(&values);
        on_edge_of(config(", secret: sixteen bytes at least"), |edge| async move {
            for _ in 0..3 {
                let cookie = get(&edge, "").await;
                found.borrow_mut().insert(cookie);
            }
        })
        .await;
        both.push(values.take());
    }
    assert_eq!(both[0], both[1]);
}
