//! Rules that count responses: a place is reserved on arrival, and charged or freed by the status.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicUsize, Ordering},
};

use weir_limit::{Gate, Judgement, Millis, Reservations};
use weir_test::limit::{Door, Pass, Reject, Seen, door, rule};

/// Gate whose first rule counts 401 and 403, with others behind it.
fn counting(rules: &str) -> Door {
    let mut rules = rules.split(';').map(rule);
    let first = rules.next().expect("a rule").counting(Arc::from([401, 403]));
    door(Gate::new([first].into_iter().chain(rules).collect()).expect("few rules"))
}

fn reservation(judged: Judgement) -> Box<Reservations> {
    judged.reservations.expect("an admitted request reserves")
}

/// Requests that all get this response, each before the next one.
fn answered(door: &Door, count: usize, status: u16, now: u64) -> Vec<Seen> {
    let one = || {
        let judged = door.one();
        if let Some(reserved) = judged.reservations {
            reserved.settle(status, Millis(now));
        }
        judged.verdict.into()
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn response_of_a_counted_status_is_charged_and_no_other() {
    let mut door = counting("1r/m burst=2");
    assert_eq!(answered(door.at(0), 100, 200, 0), [Pass; 100]);
    assert_eq!(answered(door.at(0), 4, 401, 0), [Pass, Pass, Pass, Reject(60_000)]);
    assert_eq!(answered(door.at(59_999), 1, 200, 59_999), [Reject(1)]);
    assert_eq!(answered(door.at(60_000), 3, 403, 60_000), [Pass, Reject(60_000), Reject(60_000)]);
}

#[test]
fn parallel_guesses_are_judged_with_those_under_way() {
    let mut door = counting("1r/m burst=2");
    let under_way: Vec<_> = (0..3).map(|_| reservation(door.at(0).one())).collect();
    assert_eq!(door.times(2), [Reject(60_000), Reject(60_000)]);
    assert_eq!(door.look(), Reject(60_000));
    // One succeeds: its place is free again. The others fail and stay charged.
    let mut under_way = under_way.into_iter();
    under_way.next().expect("three").settle(200, Millis(10));
    under_way.for_each(|failed| failed.settle(401, Millis(10)));
    let third = reservation(door.at(10).one());
    assert_eq!(door.times(1), [Reject(60_000)]);
    drop(third);
    assert_eq!(answered(&door, 2, 401, 10), [Pass, Reject(60_000)]);
}

#[test]
fn charge_begins_with_the_response_and_not_with_the_request() {
    let mut door = counting("1r/m burst=0");
    let slow = reservation(door.at(0).one());
    assert_eq!(door.at(59_000).times(1), [Reject(60_000)]);
    slow.settle(401, Millis(59_000));
    assert_eq!(door.at(118_999).times(1), [Reject(1)]);
    assert_eq!(door.at(119_000).look(), Pass);
}

#[test]
fn reject_by_another_rule_reserves_nothing() {
    let mut door = counting("1r/m burst=0; 1r/h");
    assert_eq!(answered(door.at(0), 1, 200, 0), [Pass]);
    for _ in 0..3 {
        assert!(door.one().reservations.is_none(), "rejected by the second rule");
    }
    assert_eq!(answered(door.at(3_600_000), 1, 401, 3_600_000), [Pass]);
}

#[test]
fn request_of_several_places_reserves_and_is_charged_all() {
    let mut door = counting("1r/s burst=5 cost=2");
    let first = reservation(door.at(0).one());
    let second = reservation(door.one());
    let third = reservation(door.one());
    assert_eq!(door.times(1), [Reject(2_000)]);
    drop((first, second));
    third.settle(403, Millis(0));
    assert_eq!(door.look(), Pass);
    assert_eq!(door.excess(), 3_000, "two are charged, and one is its own");
}

/// However many guess at the same moment, no more are answered than the burst and one.
#[test]
fn threads_that_guess_together_get_no_more_than_the_burst_and_one() {
    for round in 0..50 {
        let door = counting("1r/h burst=4");
        let (answered, start) = (AtomicUsize::new(0), Barrier::new(8));
        let guess = || {
            start.wait();
            for turn in 0..40 {
                let Some(one) = door.one().reservations else { continue };
                // Some guesses are given up before the response.
                if (turn + round) % 3 == 0 {
                    drop(one);
                    continue;
                }
                answered.fetch_add(1, Ordering::AcqRel);
                one.settle(401, Millis(0));
            }
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(guess)));
        });
        assert_eq!(answered.load(Ordering::Acquire), 5);
        assert!(matches!(door.look(), Reject(_)));
    }
}
