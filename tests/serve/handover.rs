//! A new process takes the sockets and the debts over, and nobody notices.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    http1::{Client, get},
    process::Weir,
    restarts::{ASKING, moments},
    upstream::noting,
};

fn limited(upstream: SocketAddr) -> String {
    format!(
        "zones: {{ all: {{ key: global, rate: 1r/d }} }}\nworkers: 2\n\
         routes:\n- {{ path: /, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /limited, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 1, nodelay: true }} ] }}\n"
    )
}

/// Asks 500 times a second until it is told to end, on connections that are kept or, three of ten,
/// new ones; how often, and what went wrong.
struct Load {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (over, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let load = |number: u32| {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            thread::spawn(move || {
                ask_until(&over, &asked, moments(number), address, number % 10 < 7)
            })
        };
        let threads = (0..ASKING).map(load).collect();
        Self { over, asked, threads }
    }

    /// Waits until so many more got a response.
    fn goes_on(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until
            && !self.threads.iter().any(JoinHandle::is_finished)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn failures(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("no panic").err())
            .collect()
    }
}

fn ask_until(
    over: &AtomicBool,
    asked: &AtomicUsize,
    mut moment: impl FnMut(),
    address: SocketAddr,
    kept: bool,
) -> Result<(), String> {
    let mut client = Client::connect(address);
    while !over.load(Ordering::Relaxed) {
        moment();
        let answer = client.get("/").map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        asked.fetch_add(1, Ordering::Relaxed);
        if !kept || answer.head.field("connection") == Some("close") {
            client = Client::connect(address);
        }
    }
    Ok(())
}

#[test]
fn twenty_new_processes_under_load_fail_no_request() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    let load = Load::on(weir.address);
    for _ in 0..20 {
        load.goes_on(100);
        weir.signal(Signal::USR2);
        weir.is_handed_over();
    }
    load.goes_on(100);
    assert_eq!(load.failures(), Vec::<String>::new());
}

#[test]
fn two_hundred_configurations_under_load_fail_no_request() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    let load = Load::on(weir.address);
    for number in 0..200 {
        weir.rewrite(&format!("{}queue: {{ max: {} }}\n", limited(upstream), 10 + number));
        weir.signal(Signal::HUP);
        weir.says("configuration reloaded");
        load.goes_on(5);
    }
    assert_eq!(load.failures(), Vec::<String>::new());
}

/// A program that this one starts, now or as its own successor, is told of no hand-over.
#[test]
fn handover_leaves_the_environment_as_it_was() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    let environment = || {
        std::fs::read(format!("/proc/{}/environ", weir.pid().as_raw_nonzero())).expect("a process")
    };
    let before = environment();
    for _ in 0..2 {
        weir.signal(Signal::USR2);
        weir.is_handed_over();
        assert_eq!(environment(), before);
    }
}

#[test]
fn handover_keeps_limits() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    let ask = || get(weir.address, "/limited").status;
    assert_eq!([ask(), ask(), ask()], [200, 200, 503]);
    weir.signal(Signal::USR2);
    weir.is_handed_over();
    assert_eq!([ask(), ask()], [503, 503]);
}

#[test]
fn handover_parked_request_completes_in_old_process() {
    let (upstream, _) = noting();
    let delayed =
        limited(upstream).replace("rate: 1r/d", "rate: 1r/s").replace(", nodelay: true", "");
    let weir = Weir::run(&delayed.replace("workers: 2", "workers: 1"));
    assert_eq!(get(weir.address, "/limited").status, 200);
    let mut parked = Client::connect(weir.address);
    parked.send(b"GET /limited HTTP/1.1\r\nhost: weir.test\r\n\r\n").expect("an open connection");
    // The one place to wait in is taken, so the request before this one is parked.
    assert_eq!(get(weir.address, "/limited").status, 503);
    weir.signal(Signal::USR2);
    weir.is_handed_over();
    let answer = parked.answer("GET").expect("an answer");
    assert_eq!((answer.status, answer.head.field("connection")), (200, Some("close")));
}

#[test]
fn handover_to_unready_process_changes_nothing() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    weir.rewrite(&limited(upstream).replace("workers", "walkers"));
    let mut client = Client::connect(weir.address);
    for _ in 0..3 {
        weir.signal(Signal::USR2);
        weir.says("this process continues");
        assert_eq!(client.get("/").expect("an answer").status, 200);
        assert_eq!(get(weir.address, "/").status, 200);
    }
}

#[test]
fn another_number_of_workers_leaves_no_socket_out() {
    let (upstream, _) = noting();
    let weir = Weir::run(&limited(upstream));
    for workers in [1, 4, 2] {
        weir.rewrite(&limited(upstream).replace("workers: 2", &format!("workers: {workers}")));
        weir.signal(Signal::USR2);
        weir.is_handed_over();
        // The kernel shares connections out among all sockets: one nobody accepts on would swallow
        // some of these.
        for _ in 0..40 {
            assert_eq!(get(weir.address, "/").status, 200);
        }
    }
}
