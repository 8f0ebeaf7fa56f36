//! A soak: good clients beside every fault there is, round after round against one process. Nobody ever gets what is another's, and
//! when a round is over nothing of it is left: no descriptor, and no memory.
//!
//! A test run is a few rounds. `WEIR_SOAK=30m cargo test --release --test soak -- --nocapture` goes on for half an hour, with a line
//! a minute, and holds memory to the slope that is promised.

#[allow(dead_code, reason = "each binary uses its part of the decoders")]
#[path = "../dsl/decode.rs"]
mod decode;
#[allow(dead_code, reason = "each binary uses its part of the frames")]
#[path = "../dsl/frames.rs"]
mod frames;
#[allow(dead_code, reason = "each binary uses its part of HTTP")]
#[path = "../dsl/http.rs"]
mod http;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/weir.rs"]
mod weir;

mod ask;
mod faults;
mod good;
mod mark;
mod peer;
mod trend;

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    http::PATIENCE,
    mark::Mark,
    trend::{Sample, Trend},
    weir::Weir,
};

/// Rounds of a run nobody asked to be long.
const ROUNDS: u32 = 8;
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
        "zones:\n  parked: {{ key: client_ip, rate: 50r/s, capacity: 1k }}\n  floods: {{ key: client_ip, rate: 1r/h, capacity: 1k }}\n\
         upstreams:\n  app: {{ endpoints: [ \"{peer}\" ], keepalive: {{ idle: 300ms }} }}\n  \
           shaky: {{ endpoints: [ \"{middle}\" ], hold: 10s, keepalive: {{ idle: 300ms }} }}\n\
         routes:\n- {{ path: /, upstream: app, response: {{ compress: [ zstd, br, gzip ] }} }}\n\
         - {{ path: /parked, upstream: app, limits: [ {{ zone: parked, burst: 50 }} ] }}\n\
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

/// What weir's allocator does with memory that is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    /// Keeps it for a while, as in life.
    Kept,
    /// Gives it back to the system at once, so that little is resident beside what is in use: a few rounds tell more then.
    GivenBack,
}

/// Everything that is soaked.
struct Soak {
    weir: Weir,
    middle: Option<Weir>,
    peer: SocketAddr,
    round: u32,
}

impl Soak {
    fn begin(freed: Freed) -> Self {
        let peer = peer::start();
        let middle = middle(peer, "127.0.0.1:0");
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(peer, middle.address, 0);
        let path = weir::written(&folder, &format!("listeners: [ \"127.0.0.1:0\" ]\n{config}"));
        let mut command = weir::weir(&["run", "-c", &path]);
        if freed == Freed::GivenBack {
            command.env("MIMALLOC_PURGE_DELAY", "0");
        }
        Self { weir: Weir::start(&mut command, folder), middle: Some(middle), peer, round: 0 }
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
        for (config, said) in [(right.replace("burst", "brust"), "is wrong"), (right, "was loaded again")] {
            self.weir.rewrite(&config);
            self.weir.signal(Signal::HUP);
            self.weir.says(&format!("the configuration {said}"));
        }
    }

    /// How many descriptors are open when nothing is under way: as many as for a second.
    fn at_rest(&self) -> usize {
        let (mut count, mut since) = (self.weir.descriptors(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(50));
            if self.weir.descriptors() != count {
                (count, since) = (self.weir.descriptors(), Instant::now());
            }
        }
        count
    }

    /// Waits until no more than so many descriptors are open.
    fn rests(&self, descriptors: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.weir.descriptors() > descriptors {
            let left = self.weir.descriptors();
            assert!(Instant::now() < deadline, "round {}: {left} descriptors, {descriptors} before", self.round);
            thread::sleep(Duration::from_millis(10));
        }
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
    let (time, begun) = (asked_for(), Instant::now());
    let mut soak = Soak::begin(if time.is_some() { Freed::Kept } else { Freed::GivenBack });
    assert_eq!(http::get(soak.weir.address, &Mark::new().path("echo")).status, 200);
    let (descriptors, mut trend) = (soak.at_rest(), Trend::default());
    while time.map_or(soak.round < ROUNDS, |time| begun.elapsed() < time) {
        soak.round();
        soak.rests(descriptors);
        let sample = Sample { at: begun.elapsed(), resident: soak.weir.memory("VmRSS") };
        if trend.add(sample) || time.is_none() {
            let (at, kib) = (sample.at.as_secs(), sample.resident >> 10);
            println!("{at} s, {} rounds, {} requests, {kib} KiB, {descriptors} descriptors", soak.round, Mark::made());
        }
    }
    println!("{}", trend.judge(time));
}
