//! An upstream, or weir itself, that is killed while it is asked: what is safe to send again is answered all the same.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    http::{Client, get},
    upstream::noting,
    weir::Weir,
};

/// Who asks how often, and how long: 500 requests a second.
const ASKING: u32 = 10;
const EVERY: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(4);

/// Asks on one connection at its moments, whatever the answers take; the statuses that are not 200.
fn ask_on_schedule(server: SocketAddr, number: u32) -> (u32, Vec<u16>) {
    let (mut client, mut failed) = (Client::connect(server), Vec::new());
    let (begun, offset) = (Instant::now(), EVERY * number / ASKING);
    let count = u32::try_from(TIME.as_millis() / EVERY.as_millis()).expect("few");
    for request in 0..count {
        let moment = begun + offset + EVERY * request;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        match client.get("/").expect("an answer").status {
            200 => {}
            status => failed.push(status),
        }
    }
    (count, failed)
}

/// A weir before an upstream that answers: a process that can be killed.
fn middle(upstream: SocketAddr, listener: &str) -> Weir {
    Weir::run(&format!(
        "listeners: [ \"{listener}\" ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n\
         access_log: {{ to: none }}\nworkers: 1\n"
    ))
}

#[test]
fn an_upstream_that_is_killed_and_started_again_under_load_fails_no_request() {
    let (upstream, _) = noting();
    let mut killed = middle(upstream, "127.0.0.1:0");
    let address = killed.address;
    let weir = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ \"{address}\" ], hold: 10s }} }}\n\
         routes: [ {{ path: /, upstream: app }} ]\naccess_log: {{ to: none }}\n"
    ));
    let server = weir.address;
    let asking: Vec<_> = (0..ASKING).map(|number| thread::spawn(move || ask_on_schedule(server, number))).collect();
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        killed.signal(Signal::KILL);
        assert!(!killed.ended().success());
        thread::sleep(Duration::from_millis(300));
        killed = middle(upstream, &address.to_string());
    }
    let (mut asked, mut failed) = (0, Vec::new());
    for one in asking {
        let (count, statuses) = one.join().expect("every request is answered");
        asked += count;
        failed.extend(statuses);
    }
    assert_eq!((asked, failed), (2000, vec![]));
}

/// Its connections are still open when it is killed, and the port is its own again at once.
#[test]
fn after_a_kill_it_serves_on_the_same_port_within_two_seconds() {
    let (upstream, _) = noting();
    let mut weir = middle(upstream, "127.0.0.1:0");
    let address = weir.address;
    let mut open: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    open.iter_mut().for_each(|client| assert_eq!(client.get("/").expect("an answer").status, 200));
    weir.signal(Signal::KILL);
    assert!(!weir.ended().success());
    let begun = Instant::now();
    let _again = middle(upstream, &address.to_string());
    assert_eq!(get(address, "/").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
