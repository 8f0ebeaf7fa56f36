//! When something runs out: descriptors, room for the log, the process's own time.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::{
    http1::{self, Client},
    process::Weir,
    upstream::noting,
};

/// How much of a processor's time a process has had, in hundredths of a second.
fn processor_time(process: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process that runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    // utime and stime, the 14th and 15th of all.
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Returns true if a new connection gets a response; one that is refused may be refused at any
/// point.
fn is_served(server: SocketAddr) -> bool {
    TcpStream::connect(server)
        .is_ok_and(|stream| Client::over(stream).get("/").is_ok_and(|answer| answer.status == 200))
}

/// `prlimit --nofile=80` and 300 connections. The longest pause between two looks is half a second.
#[test]
fn without_descriptors_it_stays_alive_and_idle_and_serves_as_soon_as_there_are_some() {
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nworkers: 1\n"
    ));
    // Its worker is at work.
    assert!(is_served(weir.address));
    let few = Rlimit { current: Some(80), maximum: Some(80) };
    prlimit(Some(weir.pid()), Resource::Nofile, few).expect("a process of ours");
    let held: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(weir.address).expect("the kernel takes it")).collect();
    weir.says("accept failed; refusing connections");
    let (before, begun) = (processor_time(weir.pid().as_raw_nonzero().get()), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let spent = processor_time(weir.pid().as_raw_nonzero().get()) - before;
    assert!(spent < 50, "{spent} hundredths of a second in {:?}", begun.elapsed());
    drop(held);
    let released = Instant::now();
    while !is_served(weir.address) {
        assert!(released.elapsed() < http1::PATIENCE, "not yet serving");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A worker that cannot start leaves a socket nobody accepts on: the process says so and ends, for
/// somebody to start it again.
#[test]
fn process_ends_when_a_worker_is_lost() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let path = crate::process::written(
        &folder,
        &format!(
            "listeners: [ \"127.0.0.1:0\" ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nworkers: 8\n"
        ),
    );
    // Enough for its sockets, and not for the runtimes of all its workers.
    let limit = ["--nofile=40:40", env!("CARGO_BIN_EXE_weir"), "run", "-c", &path];
    let output =
        std::process::Command::new("prlimit").args(limit).output().expect("prlimit, of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot start a worker: Too many")
            || said.contains("cannot start a worker: cannot create a timer"),
        "{said}"
    );
}

#[test]
fn access_log_full_disk_drops_lines_and_recovers() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let to = |path: &str| {
        format!(
            "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: {path} }}\n"
        )
    };
    let weir = Weir::run(&to("/dev/full"));
    let mut client = Client::connect(weir.address);
    let statuses: Vec<u16> = (0..500).map(|_| client.get("/").expect("an answer").status).collect();
    assert_eq!(statuses, [200; 500]);
    weir.says("cannot write the access log");
    weir.rewrite(&to(path.to_str().expect("a path in UTF-8")));
    weir.signal(Signal::HUP);
    weir.says("configuration reloaded");
    assert_eq!(client.get("/again").expect("an answer").status, 200);
    let deadline = Instant::now() + http1::PATIENCE;
    while !fs::read_to_string(&path).expect("a log").contains("\"/again\"") {
        assert!(Instant::now() < deadline, "nothing is written");
        thread::yield_now();
    }
}

/// Two seconds in which the process does not run: nothing fails, and nobody is given more than
/// burst and rate of that time.
#[test]
fn frozen_process_fails_nothing_and_admits_no_burst() {
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "zones: {{ all: {{ key: global, rate: 20r/s }} }}\nroutes:\n- {{ path: /, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /limited, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 5, nodelay: true }} ] }}\n"
    ));
    let asking: Vec<_> = (0..8)
        .map(|number| {
            let (server, path) = (weir.address, if number < 4 { "/" } else { "/limited" });
            thread::spawn(move || ask_for(server, path, Duration::from_secs(4)))
        })
        .collect();
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(1));
    weir.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(2));
    weir.signal(Signal::CONT);
    let asked: Vec<Vec<u16>> =
        asking.into_iter().map(|one| one.join().expect("no failure")).collect();
    let most = 6 + 20 * begun.elapsed().as_secs_f64().ceil() as usize;
    assert!(asked[..4].iter().flatten().all(|status| *status == 200));
    let admitted = asked[4..].iter().flatten().filter(|status| **status == 200).count();
    assert!(asked[4..].iter().flatten().all(|status| matches!(status, 200 | 503)));
    assert!((40..=most).contains(&admitted), "{admitted} of at most {most}");
}

fn ask_for(server: SocketAddr, path: &str, time: Duration) -> Vec<u16> {
    let (mut client, begun, mut statuses) = (Client::connect(server), Instant::now(), Vec::new());
    while begun.elapsed() < time {
        statuses.push(client.get(path).expect("an answer").status);
        thread::sleep(Duration::from_millis(2));
    }
    statuses
}
