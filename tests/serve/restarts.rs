//! An upstream, or weir itself, that is killed while it is asked: what is safe to send again is
//! served all the same.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    http1::{Client, Head, get},
    process::Weir,
    upstream::{answering, noting},
};

/// Who asks how often, and how long: 500 requests a second.
pub const ASKING: u32 = 10;
const EVERY: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(2);

/// Responds with `ok`; to `/together` once everybody has asked that.
fn meeting() -> SocketAddr {
    let everybody = Barrier::new(ASKING as usize);
    answering(move |head| {
        if head.second() == "/together" {
            everybody.wait();
        }
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
    })
}

/// Waits for the moments of one of them, one after the other, whatever the responses between them
/// take.
pub fn moments(number: u32) -> impl FnMut() {
    let mut next = Instant::now() + EVERY * number / ASKING;
    move || {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += EVERY;
    }
}

/// Asks on one connection at its moments; the heads of responses that are not 200.
fn ask_on_schedule(client: &mut Client, number: u32) -> Vec<Head> {
    let (mut moment, count) = (moments(number), TIME.as_millis() / EVERY.as_millis());
    let asked = (0..count).map(|_| {
        moment();
        client.get("/").expect("an answer")
    });
    asked.filter(|answer| answer.status != 200).map(|answer| answer.head).collect()
}

/// A weir before an upstream that responds: a process that can be killed.
fn middle(upstream: SocketAddr, listener: &str) -> Weir {
    Weir::run(&format!(
        "listeners: [ \"{listener}\" ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n\
         access_log: {{ to: none }}\nworkers: 1\n"
    ))
}

/// What comes while it is away is held. What is under way as it is killed is sent again over a
/// fresh connection; the kernel may still take that and reset it with the rest of the dying
/// process, and then it is sent once more.
#[test]
fn hold_covers_upstream_restart_under_load() {
    let upstream = meeting();
    let mut killed = middle(upstream, "127.0.0.1:0");
    let address = killed.address;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let mut weir = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ \"{address}\" ], hold: 10s, keepalive: {{ idle: 60s }} }} }}\n\
         routes: [ {{ path: /, upstream: app }} ]\naccess_log: {{ to: {} }}\nworkers: 1\n",
        log.display()
    ));
    let mut clients: Vec<Client> = (0..ASKING).map(|_| Client::connect(weir.address)).collect();
    for _ in 0..2 {
        thread::scope(|scope| {
            clients.iter_mut().for_each(|client| {
                scope.spawn(|| assert_eq!(client.get("/together").expect("an answer").status, 200));
            });
        });
        let failed: Vec<Head> = thread::scope(|scope| {
            let numbered = clients.iter_mut().zip(0..);
            let asking: Vec<_> = numbered
                .map(|(client, number)| scope.spawn(move || ask_on_schedule(client, number)))
                .collect();
            thread::sleep(TIME / 3);
            killed.signal(Signal::KILL);
            assert!(!killed.ended().success());
            thread::sleep(Duration::from_millis(300));
            killed = middle(upstream, &address.to_string());
            asking
                .into_iter()
                .flat_map(|one| one.join().expect("every request is answered"))
                .collect()
        });
        assert_eq!(failed, []);
    }
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    let lines = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(
        lines.lines().filter(|line| !line.contains("\"status\":200")).collect::<Vec<_>>(),
        [""; 0]
    );
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
