//! The wall clock jumps by an hour and back while weir runs, as when a machine is put right: no
//! decision hangs on it.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use jiff::fmt::rfc2822::DateTimeParser;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http1::{Answer, Client, PATIENCE},
    process::{Weir, weir, written},
    upstream::{Log, noting},
};

const HOUR: i64 = 3600;

/// The wall clock of processes that are started with it; all their other clocks are the machine's.
struct Wall(TempDir);

impl Wall {
    fn right() -> Self {
        let wall = Self(tempfile::tempdir().expect("a folder"));
        wall.goes_wrong_by(0);
        wall
    }

    /// Whole at every instant, since it is read whenever somebody asks for the time.
    fn goes_wrong_by(&self, seconds: i64) {
        let beside = self.0.path().join("beside");
        fs::write(&beside, format!("{seconds:+}")).expect("a file");
        fs::rename(beside, self.0.path().join("wall")).expect("a file");
    }

    fn run(&self, config: &str) -> Weir {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(&folder, &format!("listeners: [ \"127.0.0.1:0\" ]\n{config}"));
        let mut command = weir(&["run", "-c", &path]);
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.0.path().join("wall"));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Weir::start(&mut command, folder)
    }
}

/// Where Debian keeps it, below a folder that is named for the machine.
fn library() -> PathBuf {
    let machines =
        fs::read_dir("/usr/lib").expect("a folder").map(|entry| entry.expect("a folder").path());
    let mut there = machines.map(|machine| machine.join("faketime/libfaketimeMT.so.1"));
    there
        .find(|path| path.exists())
        .expect("the package `libfaketime` is missing: apt-get install libfaketime")
}

/// A client with an address of its own, on a connection it keeps.
fn client(number: u8, weir: &Weir) -> Client {
    Client::from(Ipv4Addr::new(127, 0, 4, number), weir.address)
}

/// By how much the clock that dated a response is wrong, in whole hours.
fn hours_wrong(answer: &Answer) -> i64 {
    let date = DateTimeParser::new()
        .parse_timestamp(answer.head.field("date").expect("a date"))
        .expect("a date");
    let right = jiff::Timestamp::try_from(SystemTime::now()).expect("a time");
    (date.duration_since(right).as_secs_f64() / HOUR as f64).round() as i64
}

/// Rejected, and told to come within the ten minutes its next request takes.
fn is_limited(answer: &Answer) -> bool {
    let retry =
        answer.head.field("retry-after").map(|seconds| seconds.parse::<u32>().expect("a number"));
    answer.status == 503 && retry.is_some_and(|seconds| (1..=600).contains(&seconds))
}

#[test]
fn limit_holds_when_wall_clock_jumps() {
    let ((upstream, _), wall) = (noting(), Wall::right());
    let weir = wall.run(&format!(
        "zones: {{ each: {{ key: client_ip, rate: 1r/10m }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: each }} ] }} ]\n"
    ));
    let mut known: Vec<Client> = Vec::new();
    for (number, wrong) in (1..).zip([0, 1, -1, 0]) {
        wall.goes_wrong_by(wrong * HOUR);
        let mut fresh = client(number, &weir);
        let admitted = fresh.get("/").expect("an answer");
        assert_eq!((admitted.status, hours_wrong(&admitted)), (200, wrong));
        known.push(fresh);
        for client in &mut known {
            let answer = client.get("/").expect("an answer");
            assert!(
                is_limited(&answer) && hours_wrong(&answer) == wrong,
                "{wrong} hours wrong: {answer:?}"
            );
        }
    }
}

/// Waits until so many requests have reached the upstream.
fn arrived(log: &Log, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while log.lock().expect("no panic").len() < count {
        assert!(Instant::now() < deadline, "a parked request is not released");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn parked_requests_are_released_on_their_slots_when_the_clock_jumps() {
    const SLOT: Duration = Duration::from_millis(400);
    let ((upstream, log), wall) = (noting(), Wall::right());
    let weir = wall.run(&format!(
        "zones: {{ each: {{ key: client_ip, rate: 5r/2s }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: each, burst: 9 }} ] }} ]\n"
    ));
    let mut clients: Vec<Client> = (0..8).map(|_| client(1, &weir)).collect();
    let begun = Instant::now();
    clients.iter_mut().for_each(|client| {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a connection");
    });
    for (released, wrong) in [(3, 1), (5, -1)] {
        arrived(&log, released);
        wall.goes_wrong_by(wrong * HOUR);
    }
    let mut wrong: Vec<i64> = clients
        .iter_mut()
        .map(|client| {
            let answer = client.answer("GET").expect("an answer");
            assert_eq!(answer.status, 200);
            hours_wrong(&answer)
        })
        .collect();
    wrong.sort_unstable();
    wrong.dedup();
    assert_eq!(wrong, [-1, 0, 1]);
    let released: Vec<Duration> =
        log.lock().expect("no panic").iter().map(|seen| seen.at - begun).collect();
    for (slot, at) in (0..).map(|number| SLOT * number).zip(&released) {
        // A decision is made on whole milliseconds; the rest is this machine's.
        let (from, to) =
            (slot.saturating_sub(Duration::from_millis(1)), slot + Duration::from_secs(2));
        assert!((from..to).contains(at), "{released:?}");
    }
}

#[test]
fn state_file_age_works_off_debts_and_future_none() {
    let ((upstream, _), wall, folder) =
        (noting(), Wall::right(), tempfile::tempdir().expect("a folder"));
    let config = format!(
        "zones: {{ all: {{ key: client_ip, rate: 1r/30m }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 1, nodelay: true }} ] }} ]\n\
         state: {{ file: {}, interval: 1h }}\n",
        folder.path().join("zones.bin").display()
    );
    let a_run = |wrong: i64| {
        wall.goes_wrong_by(wrong * HOUR);
        let mut weir = wall.run(&config);
        let answers = [(); 3].map(|()| client(1, &weir).get("/").expect("an answer"));
        assert!(answers.iter().all(|answer| hours_wrong(answer) == wrong), "{answers:?}");
        weir.signal(Signal::TERM);
        assert!(weir.ended().success());
        answers.map(|answer| answer.status)
    };
    assert_eq!([a_run(0), a_run(-1), a_run(0)], [[200, 200, 503], [503; 3], [200, 200, 503]]);
}
