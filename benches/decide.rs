//! What one decision costs: hit, miss, reject, full zone, one hot key from two threads, a million
//! keys at random.
//!
//! `cargo bench --bench decide`

use std::{
    cell::Cell,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use weir::limit::{
    Decision, Gate, Key, Millis, Part, Rule, RuleSettings, Subject, Zone, ZoneSettings,
};

const MILLION: u32 = 1_000_000;

/// A gate of one rule over a zone by address.
fn gate(rate: &str, burst: u32, capacity: usize) -> Gate {
    let rate = rate.parse().expect("a rate");
    let key = Key::of(vec![Part::ClientIp]);
    let zone =
        Zone::new(ZoneSettings { name: "per_ip".into(), key, rate, capacity, exempt: Vec::new() });
    let rule =
        Rule::new(Arc::new(zone), RuleSettings::burst(burst).nodelay()).expect("a countable rule");
    Gate::new(vec![rule]).expect("one rule")
}

fn decide(gate: &Gate, client: u32, now: u64, headers: &HeaderMap) -> Decision {
    let client = IpAddr::V4(Ipv4Addr::from_bits(black_box(client)));
    let subject = Subject { route: "all", ..Subject::of(client, &Method::GET, headers) };
    gate.decide(&subject, Millis(now)).verdict.decision
}

/// Numbers that walk through `0..MILLION` in no order a cache could guess.
fn scattered(step: u64) -> u32 {
    let mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(mixed).expect("half a word") % MILLION
}

fn one_key(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let now = Cell::new(0);
    let tick = || {
        now.set(now.get() + 1);
        now.get()
    };
    let busy = gate("1000r/s", 20, 1_000);
    criterion.bench_function("hit", |bench| bench.iter(|| decide(&busy, 1, tick(), &headers)));
    let full = gate("1r/d", 0, 1_000);
    decide(&full, 1, 0, &headers);
    criterion.bench_function("reject", |bench| bench.iter(|| decide(&full, 1, 1, &headers)));
}

fn many_keys(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let step = Cell::new(0_u64);
    let next = || {
        step.set(step.get() + 1);
        step.get()
    };
    let roomy = gate("10r/s", 20, 2 * MILLION as usize);
    (0..MILLION).for_each(|client| assert_eq!(decide(&roomy, client, 0, &headers), Decision::Pass));
    criterion.bench_function("hit, 1M keys at random", |bench| {
        bench.iter(|| {
            let step = next();
            decide(&roomy, scattered(step), step, &headers)
        });
    });
    criterion.bench_function("miss, room left", |bench| {
        bench.iter_custom(|rounds| misses(rounds, &headers));
    });
    for (name, per_ms) in [
        ("full zone, every key new, all owing", u64::MAX),
        ("full zone, every key new, all idle", 1),
    ] {
        let gate = gate("10r/s", 20, MILLION as usize);
        (0..MILLION)
            .for_each(|client| assert_eq!(decide(&gate, client, 0, &headers), Decision::Pass));
        let client = Cell::new(MILLION);
        criterion.bench_function(name, |bench| {
            bench.iter(|| {
                client.set(client.get().wrapping_add(1));
                decide(&gate, client.get(), u64::from(client.get()) / per_ms, &headers)
            });
        });
    }
}

/// The time of so many first requests, each zone left before it is full.
fn misses(rounds: u64, headers: &HeaderMap) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, rounds);
    while left > 0 {
        let clients = left.min(u64::from(MILLION) * 9 / 10);
        let gate = gate("10r/s", 20, MILLION as usize);
        let begin = Instant::now();
        for client in 0..clients {
            black_box(decide(&gate, u32::try_from(client).expect("below a million"), 0, headers));
        }
        spent += begin.elapsed();
        left -= clients;
    }
    spent
}

/// Runs `other` on a second thread while `criterion` measures this one.
fn beside(other: impl Fn() + Send + Sync, measure: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                other();
            }
        });
        measure();
        stop.store(true, Ordering::Relaxed);
    });
}

fn two_threads(criterion: &mut Criterion) {
    let hot = gate("1000000r/s", u32::MAX - 1, 1_000);
    let refused = gate("1r/d", 0, 1_000);
    let headers = HeaderMap::new();
    decide(&refused, 1, 0, &headers);
    for (name, gate) in [
        ("one hot key from two threads, hit", &hot),
        ("one hot key from two threads, reject", &refused),
    ] {
        let none = HeaderMap::new();
        let other = || {
            decide(gate, 1, 1, &none);
        };
        beside(other, || {
            criterion.bench_function(name, |bench| bench.iter(|| decide(gate, 1, 1, &headers)));
        });
    }
}

criterion_group!(benches, one_key, many_keys, two_threads);
criterion_main!(benches);
