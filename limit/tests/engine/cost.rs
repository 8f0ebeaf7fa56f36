//! Rules whose requests take several places: each counts as so many requests that arrive together,
//! and is through with the last of them.

use std::{sync::Arc, task::Waker};

use http::HeaderMap;
use weir_limit::{
    Gate, Judgement, Key, Millis, Next, Part, Rule, RuleSettings, Zone, ZoneSettings,
};
use weir_test::limit::{self as words, Delay, Pass, Reject, Seen, address, gate, rule, subject};

#[test]
fn request_of_five_places_waits_for_its_last_one() {
    let mut door = gate("10r/s burst=20 cost=5");
    assert_eq!(
        door.at(0).times(5),
        [Delay(400), Delay(900), Delay(1_400), Delay(1_900), Reject(400)]
    );
    assert_eq!(door.at(399).times(1), [Reject(1)]);
    assert_eq!(door.at(400).times(1), [Delay(2_000)]);
}

#[test]
fn request_of_several_places_needs_a_burst_for_them() {
    let mut door = gate("10r/s burst=4 nodelay cost=5");
    assert_eq!(door.at(0).times(2), [Pass, Reject(500)]);
    assert_eq!(door.at(500).times(2), [Pass, Reject(500)]);
    let mut held = gate("10r/s burst=10 delay=2 cost=3 max_wait=500");
    assert_eq!(held.at(0).times(4), [Pass, Delay(300), Reject(100), Reject(100)]);
}

#[test]
fn burst_that_is_too_small_for_one_request_is_an_error() {
    let zone = Arc::clone(rule("1r/s").zone());
    for (cost, burst, fits) in [(1, 0, true), (5, 4, true), (5, 3, false), (0, 9, false)] {
        let settings = RuleSettings { cost, ..RuleSettings::burst(burst) };
        assert_eq!(Rule::new(Arc::clone(&zone), settings).is_ok(), fits, "{cost} {burst}");
    }
    let settings = RuleSettings { cost: 101, ..RuleSettings::burst(1_000) };
    let error = Rule::new(zone, settings).expect_err("too many places");
    assert_eq!(
        error.hint().as_deref(),
        Some("use a cost from 1 to 100: the burst and one, at most 100")
    );
}

/// All or nothing: a request that one rule rejects takes no place in the other one.
#[test]
fn reject_by_one_rule_takes_no_place_in_another() {
    let mut door = gate("10r/s burst=20 nodelay cost=5; 1r/s burst=2 nodelay cost=2");
    let first = door.at(0).one();
    let debt = |door: &words::Door| door.gate.rules()[0].zone().debt_ticks(first.key, Millis(0));
    let before = debt(&door);
    assert_eq!(door.times(2), [Reject(1_000), Reject(1_000)]);
    assert!(before > 0 && debt(&door) == before);
    assert_eq!(door.at(1_000).times(1), [Pass]);
}

/// For any arrivals: admitted exactly if so many single requests would be, and as late as the last
/// of them.
#[test]
fn request_of_several_places_is_as_many_that_arrive_together() {
    for (cost, words) in [(2, "7r/s burst=9"), (3, "3r/s burst=11 delay=4"), (7, "50r/s burst=30")]
    {
        let mut whole = gate(&format!("{words} cost={cost}"));
        let mut parts = gate(words);
        let mut now = 0;
        for step in 0..2_000_u64 {
            now += (step * step * 7_919) % 1_200;
            let seen = whole.at(now).times(1)[0];
            // As many single requests are only made if all of them pass.
            let last = match seen {
                Reject(_) => last_of(&mut parts, now, cost),
                _ => parts.at(now).times(cost)[cost - 1],
            };
            let both_reject = matches!((seen, last), (Reject(_), Reject(_)));
            assert!(both_reject || seen == last, "{words} at {now}: {seen:?}, {last:?}");
        }
    }
}

/// Outcome of the last of so many requests, without making them.
fn last_of(parts: &mut words::Door, now: u64, cost: usize) -> Seen {
    let excess = parts.at(now).excess();
    let burst = u64::from(parts.gate.rules()[0].settings().burst);
    let last = excess + 1_000 * (cost as u64 - 1);
    if last > burst * 1_000 { Reject(0) } else { Pass }
}

/// Two routes on one zone, a request on each of which takes one place or three.
struct Routes {
    one: Gate,
    three: Gate,
}

impl Routes {
    fn new() -> Self {
        let zone = Arc::new(Zone::new(ZoneSettings {
            key: Key::of(vec![Part::ClientIp]),
            ..words::settings("10r/s")
        }));
        let gate = |cost| {
            let settings = RuleSettings { cost, ..RuleSettings::burst(20) };
            let rule = Rule::new(Arc::clone(&zone), settings).expect("a rule");
            Gate::new(vec![rule]).expect("one rule")
        };
        Self { one: gate(1), three: gate(3) }
    }

    fn ask(gate: &Gate, now: u64) -> Judgement {
        gate.decide(&subject(address("192.0.2.1"), &HeaderMap::new()), Millis(now))
    }
}

fn told(judgement: &Judgement) -> u64 {
    judgement.parked.as_ref().expect("a parked request").told().0
}

fn look(judgement: &Judgement, now: u64) -> Next {
    judgement.parked.as_ref().expect("a parked request").look(Millis(now), Waker::noop())
}

#[test]
fn line_moves_up_by_all_places_of_a_request_that_leaves() {
    let routes = Routes::new();
    let passed = Routes::ask(&routes.one, 0);
    assert!(passed.parked.is_none());
    let mut large = Routes::ask(&routes.three, 0);
    let behind = Routes::ask(&routes.one, 0);
    let last = Routes::ask(&routes.three, 0);
    assert_eq!([told(&large), told(&behind), told(&last)], [300, 400, 700]);
    assert_eq!(look(&behind, 0), Next::LookAt(Millis(400)));
    large.parked.take().expect("a parked request").leave(Millis(50));
    assert_eq!(look(&behind, 50), Next::LookAt(Millis(100)));
    assert_eq!(look(&behind, 100), Next::Go(Millis(100)));
    assert_eq!(look(&last, 100), Next::LookAt(Millis(400)));
    assert_eq!(told(&Routes::ask(&routes.one, 100)), 500, "no place is lost");
    assert_eq!(look(&last, 399), Next::LookAt(Millis(400)));
    assert_eq!(look(&last, 400), Next::Go(Millis(400)));
}

#[test]
fn request_in_the_middle_of_its_places_gives_back_those_that_are_not_past() {
    let routes = Routes::new();
    let _passed = Routes::ask(&routes.one, 0);
    let mut large = Routes::ask(&routes.three, 0);
    let behind = Routes::ask(&routes.one, 0);
    assert_eq!([told(&large), told(&behind)], [300, 400]);
    // Of the places at 100, 200 and 300 the first is past.
    large.parked.take().expect("a parked request").leave(Millis(150));
    assert_eq!(look(&behind, 150), Next::LookAt(Millis(200)));
    assert_eq!(told(&Routes::ask(&routes.one, 150)), 300);
}

#[test]
fn drain_judges_a_request_by_its_last_place() {
    let routes = Routes::new();
    let _passed = Routes::ask(&routes.one, 0);
    let large = Routes::ask(&routes.three, 0);
    let behind = Routes::ask(&routes.one, 0);
    let is_in_time = |judgement: &Judgement, deadline| {
        judgement.parked.as_ref().expect("parked").is_in_time(Millis(deadline))
    };
    assert!(is_in_time(&large, 300) && !is_in_time(&large, 299));
    assert!(is_in_time(&behind, 400) && !is_in_time(&behind, 399));
}
