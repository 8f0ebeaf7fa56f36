//! Ten thousand clients that asked once and stay: they cost little, nobody is slower for them, and
//! what they held is given back.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http1::{Client, PATIENCE, get},
    process::Weir,
    slow::ask_well,
    upstream::noting,
};

const IDLE: u32 = 10_000;
/// What one of them may cost in memory once it rests.
const EACH: u64 = 16 << 10;
/// Descriptors for them, for the other tests of this process, and for weir, which has the limit of
/// who started it.
const FILES: usize = 12_000;

/// Lets this process, and those it starts, have as many files as it is granted.
fn raise_files() {
    let granted = weir::process::fd_limit::raised();
    assert!(
        granted.is_none_or(|files| files >= FILES),
        "{IDLE} connections need {FILES} files and the hard limit is {granted:?}: raise it, `ulimit -Hn {FILES}`"
    );
}

/// Waits until it is so; what else it was is told.
fn comes_true(what: &str, mut so: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(instead) = so() {
        assert!(Instant::now() < deadline, "{what}: {instead}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A client that got a response, and what is left of it: its connection. A hundred to an address.
fn served(number: u32, server: SocketAddr) -> TcpStream {
    let mut client =
        Client::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 3, 0)) + number / 100), server);
    assert_eq!(client.get("/").expect("an answer").status, 200);
    client.stream.into_inner()
}

#[test]
fn ten_thousand_idle_clients_cost_16_kib_each_and_a_good_one_is_served_beside() {
    raise_files();
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", max_connections: {} }} ]\ntimeouts: {{ keepalive: 10m }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: none }}\n",
        IDLE + 100
    ));
    assert_eq!(get(weir.address, "/").status, 200);
    let (descriptors, memory, over) =
        (weir.descriptors(), weir.memory("VmRSS"), AtomicBool::new(false));
    let grown = || weir.memory("VmRSS").saturating_sub(memory) / u64::from(IDLE);
    thread::scope(|scope| {
        let good = scope.spawn(|| ask_well(weir.address, &over));
        let idle: Vec<TcpStream> = (0..IDLE).map(|number| served(number, weir.address)).collect();
        assert!(weir.descriptors() > IDLE as usize, "{} descriptors", weir.descriptors());
        println!("{} bytes each as the last was answered", grown());
        comes_true("memory", || {
            if grown() <= EACH { Ok(()) } else { Err(format!("{} bytes each", grown())) }
        });
        println!("{} bytes each at rest", grown());
        // Who rests is served when it asks again.
        for client in idle {
            assert_eq!(Client::over(client).get("/").expect("an answer").status, 200);
        }
        over.store(true, Ordering::Relaxed);
        let (asked, slowest) = good.join().expect("every answer is good");
        println!("{asked} good answers, the slowest after {slowest:?}");
        assert!(asked > 20, "{asked} answers");
    });
    comes_true("descriptors", || match weir.descriptors() {
        left if left <= descriptors => Ok(()),
        left => Err(format!("{left}, {descriptors} before")),
    });
}
