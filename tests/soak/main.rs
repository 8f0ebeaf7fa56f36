//! A soak: good clients beside every fault there is, round after round against one process. Nobody
//! ever gets what is another's, and when a round is over nothing of it is left: no descriptor, and
//! no memory.
//!
//! A test run is a few rounds, with a weir that counts what it has in use.
//! `WEIR_SOAK=30m cargo test --release --test soak -- --nocapture` goes on for half an hour with
//! weir as it is, with a line a minute, and holds what is resident to the slope that is promised.

mod ask;
mod counted;
mod faults;
mod good;
mod mark;
mod peer;
mod trend;

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use weir_test::{decode, frames, http1, process, upstream};

use crate::{
    counted::Counter,
    http1::PATIENCE,
    mark::Mark,
    process::Weir,
    trend::{Sample, Trend},
};

/// Rounds after which everything has happened that needs memory once: buffers, tables and threads
/// of every kind.
const WARM: u32 = 2;
/// Rounds after these, in a run nobody asked to be long.
const ROUNDS: u32 = 6;
/// Bytes that may be in use more than before these: a table that grew, as more came at a time than
/// before. They are 3,500 requests on 700 connections, so 20 bytes kept of a request show.
const KEPT: u64 = 64 << 10;
/// Good clients that ask at a time.
const GOOD: u8 = 4;

/// How long to go on, where somebody says: `30m`, `90s`, `2h`.
fn asked_for() -> Option<Duration> {
    let text = std::env::var("WEIR_SOAK").ok()?;
    let time = text.parse::<jiff::Span>().ok().and_then(|span| Duration::try_from(span).ok());
    Some(time.unwrap_or_else(|| panic!("WEIR_SOAK is `{text}`, hint: a time, like `30m`")))
}

/// What a reload changes goes from one number to the next.
fn config(peer: SocketAddr, middle: SocketAddr, number: u32) -> String {
    let reject = "{ zone: floods, burst: 0 }";
    format!(
        "zones:\n  parked: {{ key: client_ip, rate: 50r/s, capacity: 1k }}\n  floods: {{ key: client_ip, rate: 1r/h, capacity: 1k }}\n  \
         storm: {{ key: client_ip, rate: 20r/s, capacity: 1k }}\n\
         upstreams:\n  app: {{ endpoints: [ \"{peer}\" ], keepalive: {{ idle: 300ms }} }}\n  \
           shaky: {{ endpoints: [ \"{middle}\" ], hold: 10s, keepalive: {{ idle: 300ms }} }}\n\
         routes:\n- {{ path: /, upstream: app, response: {{ compress: [ zstd, br, gzip ] }} }}\n\
         - {{ path: /parked, upstream: app, limits: [ {{ zone: parked, burst: 50 }} ] }}\n\
         - {{ path: /storm, upstream: app, limits: [ {{ zone: storm, burst: 20 }} ] }}\n\
         - {{ path: /flood, upstream: app, limits: [ {reject} ] }}\n- {{ path: /shaky, upstream: shaky }}\n\
         - {{ path: /never/{number}, upstream: app }}\n\
         timeouts: {{ header: 1s }}\naccess_log: {{ to: /dev/null }}\n"
    )
}

/// A weir before the peer: an endpoint that can be killed.
fn middle(peer: SocketAddr, listener: &str) -> Weir {
    Weir::run(&format!(
        "listeners: [ \"{listener}\" ]\nroutes: [ {{ path: /, upstream: \"http://{peer}\" }} ]\naccess_log: {{ to: none }}\nworkers: 1\n"
    ))
}

/// Everything that is soaked.
struct Soak {
    weir: Weir,
    middle: Option<Weir>,
    peer: SocketAddr,
    round: u32,
}

impl Soak {
    /// With weir by this command, given its configuration.
    fn begin(command: fn(&str) -> Command) -> Self {
        let peer = peer::start();
        let middle = middle(peer, "127.0.0.1:0");
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(peer, middle.address, 0);
        let path = process::written(&folder, &format!("listeners: [ \"127.0.0.1:0\" ]\n{config}"));
        let soak = Self {
            weir: Weir::start(&mut command(&path), folder),
            middle: Some(middle),
            peer,
            round: 0,
        };
        assert_eq!(http1::get(soak.weir.address, &Mark::new().path("echo")).status, 200);
        soak
    }

    /// All at once, to the end of all.
    fn round(&mut self) {
        self.round += 1;
        let (server, round) = (self.weir.address, self.round);
        let killed = self.middle.take().expect("one at a time");
        let (peer, address) = (self.peer, killed.address);
        thread::scope(|scope| {
            let restarted = scope.spawn(move || restart(killed, peer));
            (0..GOOD).for_each(|number| drop(scope.spawn(move || good::client(number, server))));
            for fault in faults::ALL {
                scope.spawn(move || fault(server, round));
            }
            self.reload(address);
            self.middle = Some(restarted.join().expect("an endpoint that starts again"));
        });
    }

    /// A configuration that is wrong, and then one that is right.
    fn reload(&self, middle: SocketAddr) {
        let right = config(self.peer, middle, self.round);
        for (config, said) in [
            (right.replace("burst", "brust"), "the configuration is invalid"),
            (right, "configuration reloaded"),
        ] {
            self.weir.rewrite(&config);
            self.weir.signal(Signal::HUP);
            self.weir.says(said);
        }
    }

    /// How many descriptors are open when nothing is under way.
    fn descriptors_at_rest(&self) -> u64 {
        at_rest(|| self.weir.descriptors() as u64)
    }

    /// A round, after which no more of them are open.
    fn round_to_rest(&mut self, descriptors: u64) {
        self.round();
        falls_to(descriptors, "descriptors", || self.weir.descriptors() as u64);
    }
}

/// What is seen for a whole second.
fn at_rest(mut look: impl FnMut() -> u64) -> u64 {
    let (mut seen, mut since, deadline) = (look(), Instant::now(), Instant::now() + PATIENCE);
    while since.elapsed() < Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(50));
        let now = look();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        assert!(Instant::now() < deadline, "no rest, at last {now}");
    }
    seen
}

/// Waits until no more is seen than this.
fn falls_to(most: u64, what: &str, mut look: impl FnMut() -> u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if seen <= most {
            return;
        }
        assert!(Instant::now() < deadline, "{seen} {what}, at most {most} are expected");
        thread::sleep(Duration::from_millis(10));
    }
}

fn restart(mut killed: Weir, peer: SocketAddr) -> Weir {
    thread::sleep(Duration::from_millis(150));
    killed.signal(Signal::KILL);
    assert!(!killed.ended().success());
    thread::sleep(Duration::from_millis(100));
    middle(peer, &killed.address.to_string())
}

#[test]
fn faults_without_end_leave_nothing_behind_and_nobody_gets_what_is_anothers() {
    println!("{}", asked_for().map_or_else(soak_few_rounds, as_long_as));
}

fn soak_few_rounds() -> String {
    let mut soak = Soak::begin(counted::command);
    let mut counter = Counter::of(&mut soak.weir);
    let descriptors = soak.descriptors_at_rest();
    (0..WARM).for_each(|_| soak.round_to_rest(descriptors));
    let before = at_rest(|| counter.in_use());
    for _ in 0..ROUNDS {
        soak.round_to_rest(descriptors);
        falls_to(before + KEPT, "bytes in use", || counter.in_use());
    }
    let (requests, after) = (Mark::made(), counter.in_use());
    format!("{} rounds, {requests} requests, {before} bytes in use, at last {after}", soak.round)
}

#[allow(clippy::print_stdout, reason = "somebody looks at half an hour")]
fn as_long_as(time: Duration) -> String {
    let begun = Instant::now();
    let mut soak = Soak::begin(|path| process::weir(&["run", "-c", path]));
    let (descriptors, mut trend) = (soak.descriptors_at_rest(), Trend::default());
    while begun.elapsed() < time {
        soak.round_to_rest(descriptors);
        let sample = Sample { at: begun.elapsed(), resident: soak.weir.memory("VmRSS") };
        if trend.add(sample) {
            let (at, kib) = (sample.at.as_secs(), sample.resident >> 10);
            println!(
                "{at} s, {} rounds, {} requests, {kib} KiB, {descriptors} descriptors",
                soak.round,
                Mark::made()
            );
        }
    }
    format!("{} rounds, {}", soak.round, trend.judge(time))
}
