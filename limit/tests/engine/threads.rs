//! Sixty-four threads at one frozen instant: no zone ever admits more than its burst and one, and
//! no charge is lost.

use std::{
    sync::{Arc, Barrier, Mutex},
    task::Waker,
    thread,
};

use http::HeaderMap;
use weir_limit::{
    Decision, Gate, Millis, Next, Part, Rule, RuleSettings, Zone,
    zone::{Intent, Standing},
};
use weir_test::limit::{self as words, address, subject};

const THREADS: usize = 64;
const NOW: Millis = Millis(5_000);

fn zone(part: &str, capacity: usize) -> Arc<Zone> {
    let mut settings = words::settings("1r/s");
    settings.key.parts = vec![part.parse::<Part>().expect("a part")];
    settings.capacity = capacity;
    words::seeded(settings)
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
    let admitted = |_: &usize| {
        gate.decide(&subject(client, &headers), NOW).verdict.decision != Decision::Reject
    };
    (0..requests).filter(admitted).count()
}

/// What the one key of a zone owes, in requests.
fn owed(zone: &Zone, client: &str) -> u64 {
    let Standing::Counted(fingerprint) =
        zone.standing(&subject(address(client), &HeaderMap::new()))
    else {
        panic!("the client is counted")
    };
    zone.debt_ticks(fingerprint, NOW) / zone.settings().rate.interval_ticks()
}

/// Who loses the race for the second zone gives back its place in the first, unless somebody took
/// the place behind it meanwhile: then that place is lost, for taking one off the tail would hand
/// the other's out twice.
#[test]
fn two_zones_never_exceed_their_bursts_and_a_lost_race_costs_no_more_than_its_place() {
    for _ in 0..100 {
        let (narrow, wide) = (zone("host", 100), zone("client_ip", 100));
        let wide_first = Gate::new(vec![rule(&wide, 7), rule(&narrow, 4)]).expect("two rules");
        let narrow_first = Gate::new(vec![rule(&narrow, 4), rule(&wide, 7)]).expect("two rules");
        let gates = [wide_first, narrow_first];
        let admitted = together(|thread| admitted(&gates[thread % 2], "192.0.2.1", 4));
        assert!((1..=5).contains(&admitted), "{admitted} of a burst of 4 and one");
        for (zone, places) in [(&narrow, 5), (&wide, 8)] {
            let owed = owed(zone, "192.0.2.1");
            assert!(
                (admitted as u64..=places).contains(&owed),
                "{owed} owed for {admitted} admitted"
            );
        }
    }
}

#[test]
fn limit_shared_by_many_clients_holds() {
    for _ in 0..50 {
        let (site, clients) = (zone("global", 100), zone("client_ip", 100));
        let gate = Gate::new(vec![rule(&clients, 1), rule(&site, 20)]).expect("two rules");
        let admitted = together(|thread| admitted(&gate, &format!("192.0.2.{thread}"), 3));
        assert_eq!(admitted, 21);
        assert_eq!(owed(&site, "192.0.2.1"), 21);
        let spent: u64 =
            (0..THREADS).map(|client| owed(&clients, &format!("192.0.2.{client}"))).sum();
        assert_eq!(spent, 21, "a client pays for what the site let through, and for nothing else");
    }
}

#[test]
fn table_first_insertion_counts_once() {
    for _ in 0..100 {
        let zone = zone("client_ip", 100);
        let gate = Gate::new(vec![rule(&zone, 9)]).expect("one rule");
        assert_eq!(together(|_| admitted(&gate, "192.0.2.1", 2)), 10);
        assert_eq!((zone.keys(), owed(&zone, "192.0.2.1")), (1, 10));
    }
}

#[test]
fn table_full_keeps_its_bound_and_its_offender() {
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

/// New keys come all the time, at first into a table that grows and then into one that is full. The
/// hot keys owe more than any of them, so they stay.
#[test]
fn hot_keys_are_admitted_to_the_last_place_while_keys_come_and_go() {
    for capacity in [200_000, 512] {
        let zone = zone("client_ip", capacity);
        let (hot, burst) = (4_u64, 10_000);
        let rule = rule(&zone, burst);
        let offend = |key| rule.decide(u64::MAX - key, NOW, Intent::Charge).reason.is_none();
        assert!((0..hot).all(|key| offend(key) && offend(key)));
        let admitted = together(|thread| {
            let mut admitted = 0;
            for request in 0..1_000_u64 {
                let stranger = (thread as u64) << 32 | request;
                assert_eq!(rule.decide(stranger, NOW, Intent::Charge).decision, Decision::Pass);
                admitted += (0..hot).filter(|key| offend(*key)).count();
            }
            admitted
        });
        assert_eq!(admitted, 4 * 9_999, "{capacity} keys");
        let interval = zone.settings().rate.interval_ticks();
        let owed = |key| zone.debt_ticks(u64::MAX - key, NOW) / interval;
        assert!((0..hot).all(|key| owed(key) == 10_001));
        let strangers = THREADS as u64 * 1_000;
        let keys = (strangers + hot).min(capacity as u64);
        assert_eq!((zone.keys() as u64, zone.evictions().idle), (keys, 0));
        assert_eq!(zone.evictions().forced, strangers + hot - keys);
    }
}

/// Sixty-four threads park, leave and ask again on one key: no place is held by two, and once all
/// have left the line is gone and the tail is back where the first left it.
#[test]
fn leaving_from_many_threads_hands_no_place_out_twice() {
    for _ in 0..50 {
        let zone = zone("client_ip", 100);
        let rule =
            Rule::new(Arc::clone(&zone), RuleSettings::burst(200)).expect("a countable rule");
        let gate = Gate::new(vec![rule]).expect("one rule");
        let told = Mutex::new(Vec::new());
        together(|thread| {
            let (client, headers) = (address("192.0.2.1"), HeaderMap::new());
            let mut parked = Vec::new();
            for round in 0..20 {
                let judged = gate.decide(&subject(client, &headers), NOW);
                parked.extend(judged.parked);
                if (round + thread) % 3 != 0 && !parked.is_empty() {
                    parked.swap_remove(round % parked.len()).leave(NOW);
                }
            }
            told.lock().expect("no panic").extend(parked);
            0
        });
        let mut parked = told.into_inner().expect("no panic");
        // The places of those who stayed are the first of the line, one interval apart; the first
        // request passed.
        let held = parked.len() as u64;
        assert_eq!(owed(&zone, "192.0.2.1"), held + 1);
        let released = |at: u64| {
            parked
                .iter()
                .filter(|parked| matches!(parked.look(Millis(at), Waker::noop()), Next::Go(_)))
                .count() as u64
        };
        let counts: Vec<u64> = (0..=held).map(|place| released(NOW.0 + place * 1_000)).collect();
        assert_eq!(counts, (0..=held).collect::<Vec<_>>());
        parked.drain(..).for_each(|parked| parked.leave(NOW));
    }
}
