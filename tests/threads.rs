//! Sixty-four threads at one frozen instant: no zone ever admits more than its burst and one, and no charge is lost.

#[path = "dsl/limit.rs"]
mod dsl;

use std::{
    sync::{Arc, Barrier},
    thread,
};

use dsl::{address, subject};
use http::HeaderMap;
use weir::limit::{Decision, Gate, Millis, Part, Rule, RuleSettings, Zone, zone::Intent, zone::Standing};

const THREADS: usize = 64;
const NOW: Millis = Millis(5_000);

fn zone(part: &str, capacity: usize) -> Arc<Zone> {
    let mut settings = dsl::settings("1r/s");
    settings.key.parts = vec![part.parse::<Part>().expect("a part")];
    settings.capacity = capacity;
    dsl::seeded(settings)
}

fn rule(zone: &Arc<Zone>, burst: u32) -> Rule {
    Rule::new(Arc::clone(zone), RuleSettings::burst(burst).nodelay()).expect("a countable rule")
}

/// Starts every thread at the same moment and sums what they count.
fn together(work: impl Fn(usize) -> usize + Sync) -> usize {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let start = |thread| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(thread)
            })
        };
        let started: Vec<_> = (0..THREADS).map(start).collect();
        started.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

/// How many of `requests` one thread gets through a gate.
fn admitted(gate: &Gate, client: &str, requests: usize) -> usize {
    let (client, headers) = (address(client), HeaderMap::new());
    let admitted = |_: &usize| gate.decide(&subject(client, &headers), NOW).verdict.decision != Decision::Reject;
    (0..requests).filter(admitted).count()
}

/// What the one key of a zone owes, in requests.
fn owed(zone: &Zone, client: &str) -> u64 {
    let Standing::Counted(fingerprint) = zone.standing(&subject(address(client), &HeaderMap::new())) else {
        panic!("the client is counted")
    };
    zone.debt_ticks(fingerprint, NOW) / zone.settings().rate.interval_ticks()
}

#[test]
fn two_zones_never_exceed_their_bursts_and_every_lost_race_is_given_back() {
    for _ in 0..100 {
        let (narrow, wide) = (zone("host", 100), zone("client_ip", 100));
        let wide_first = Gate::new(vec![rule(&wide, 7), rule(&narrow, 4)]).expect("two rules");
        let narrow_first = Gate::new(vec![rule(&narrow, 4), rule(&wide, 7)]).expect("two rules");
        let gates = [wide_first, narrow_first];
        let admitted = together(|thread| admitted(&gates[thread % 2], "192.0.2.1", 4));
        assert!((1..=5).contains(&admitted), "{admitted} of a burst of 4 and one");
        assert_eq!(owed(&narrow, "192.0.2.1"), admitted as u64, "the narrow zone");
        assert_eq!(owed(&wide, "192.0.2.1"), admitted as u64, "the wide zone");
    }
}

#[test]
fn a_site_limit_shared_by_many_clients_holds() {
    for _ in 0..50 {
        let (site, clients) = (zone("global", 100), zone("client_ip", 100));
        let gate = Gate::new(vec![rule(&clients, 1), rule(&site, 20)]).expect("two rules");
        let admitted = together(|thread| admitted(&gate, &format!("192.0.2.{thread}"), 3));
        assert_eq!(admitted, 21);
        assert_eq!(owed(&site, "192.0.2.1"), 21);
        let spent: u64 = (0..THREADS).map(|client| owed(&clients, &format!("192.0.2.{client}"))).sum();
        assert_eq!(spent, 21, "a client pays for what the site let through, and for nothing else");
    }
}

#[test]
fn the_first_insertion_of_a_key_is_one_insertion() {
    for _ in 0..100 {
        let zone = zone("client_ip", 100);
        let gate = Gate::new(vec![rule(&zone, 9)]).expect("one rule");
        assert_eq!(together(|_| admitted(&gate, "192.0.2.1", 2)), 10);
        assert_eq!((zone.keys(), owed(&zone, "192.0.2.1")), (1, 10));
    }
}

#[test]
fn a_crowded_table_keeps_its_bound_and_its_offender() {
    let zone = zone("client_ip", 256);
    let rule = rule(&zone, 50);
    let offend = || rule.decide(u64::MAX, NOW, Intent::Charge).decision != Decision::Reject;
    assert_eq!((0..100).filter(|_| offend()).count(), 51);
    let admitted = together(|thread| {
        let through = (0..2_000_u64).filter(|request| {
            let stranger = (thread as u64) << 32 | request;
            assert_eq!(rule.decide(stranger, NOW, Intent::Charge).decision, Decision::Pass);
            offend()
        });
        through.count()
    });
    assert_eq!(admitted, 0, "the offender stays limited");
    assert_eq!((zone.keys(), zone.evictions().idle), (256, 0));
    assert_eq!(zone.evictions().forced, THREADS as u64 * 2_000 + 1 - 256);
}
