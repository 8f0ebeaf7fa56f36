//! Many clients at once, each from an address of its own: nobody gets more than its share, and
//! nobody less.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use weir::tools::burst::{Class, End, Limit, Shot, View, judge};

use crate::{http1::Client, process::Weir, upstream::noting};

const CLIENTS: u32 = 200;
const EACH: usize = 100;
/// So slow that every client is over it, however slow the machine.
const RATE: u64 = 2;
const BURST: u32 = 20;

fn address_of(client: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + client)
}

/// One client asks as fast as it gets a response, over one connection.
fn ask(client: u32, server: SocketAddr, start: &Barrier, epoch: Instant) -> Vec<Shot> {
    let mut connection = Client::from(address_of(client), server);
    start.wait();
    let since = || u64::try_from(epoch.elapsed().as_micros()).expect("a short test");
    let shot = |_| {
        let sent_us = since();
        let status = connection.get("/").expect("an answer").status;
        Shot { client, due_us: sent_us, sent_us, end_us: since(), end: End::Answer(status) }
    };
    (0..EACH).map(shot).collect()
}

fn all_ask(server: SocketAddr) -> Vec<Vec<Shot>> {
    let (start, epoch) = (Arc::new(Barrier::new(CLIENTS as usize)), Instant::now());
    let asking = |client| {
        let start = Arc::clone(&start);
        let thread = thread::Builder::new().stack_size(256 * 1024);
        thread.spawn(move || ask(client, server, &start, epoch)).expect("a thread")
    };
    let asking: Vec<_> = (0..CLIENTS).map(asking).collect();
    asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

fn accepted(shots: &[Shot]) -> u64 {
    shots.iter().filter(|shot| shot.status() == Some(200)).count() as u64
}

#[test]
fn twenty_thousand_requests_from_two_hundred_clients_keep_the_envelope() {
    let (upstream, log) = noting();
    let weir = Weir::run(&format!(
        "zones: {{ per_ip: {{ key: client_ip, rate: {RATE}r/s }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: per_ip, burst: {BURST}, nodelay: true }} ] }} ]\n"
    ));
    let traces = all_ask(weir.address);
    let mut forwarded: HashMap<String, u64> = HashMap::new();
    for seen in log.lock().expect("no panic").iter() {
        *forwarded
            .entry(seen.head.field("x-real-ip").expect("a client").to_owned())
            .or_default() += 1;
    }
    assert_eq!(forwarded.len(), CLIENTS as usize);
    for (client, shots) in (0..CLIENTS).zip(&traces) {
        assert!(shots.iter().all(|shot| matches!(shot.status(), Some(200 | 503))), "{shots:?}");
        assert!(
            shots.iter().take(BURST as usize + 1).all(|shot| shot.status() == Some(200)),
            "{client}: {shots:?}"
        );
        let window = shots[EACH - 1].end_us - shots[0].sent_us;
        let most = u64::from(BURST) + 1 + RATE * window.div_ceil(1_000_000);
        let accepted = accepted(shots);
        assert!(
            accepted <= most && accepted < EACH as u64,
            "client {client}: {accepted} of at most {most}"
        );
        assert_eq!(
            forwarded[&address_of(client).to_string()],
            accepted,
            "a reject never reaches the upstream"
        );
    }
}

/// The same clients, judged from outside: none too many, and none rejected while a place was free
/// for certain.
#[test]
fn table_capacity_one_gives_free_place_away() {
    let (upstream, _log) = noting();
    let weir = Weir::run(&format!(
        "zones: {{ per_ip: {{ key: client_ip, rate: 50r/s }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: per_ip, burst: {BURST}, nodelay: true }} ] }} ]\n"
    ));
    let trace: Vec<Shot> = all_ask(weir.address).concat();
    let limit = Limit::new("50r/s".parse().expect("a rate"), BURST, BURST).expect("a limit");
    // A request under way may have been decided at any instant until its response.
    let tolerance_us = u64::try_from(Duration::from_secs(60).as_micros()).expect("a minute");
    let judgement = judge(&trace, &View { reject_status: 503, limit: Some(limit), tolerance_us });
    assert_eq!(judgement.breaches, []);
    assert_eq!(judgement.counts.of(Class::Failed), 0);
}
