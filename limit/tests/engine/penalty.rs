//! Penalties: a key that is rejected too often is shut out for a while, and no other.

use weir_limit::{Gate, Millis, Penalty, Reason};
use weir_test::limit::{Door, Pass, Reject, door, rule};

/// Gate whose first rule shuts out for a minute after three rejects in ten seconds.
fn strict(rules: &str) -> Door {
    let penalty = Penalty { after: 3, within: Millis(10_000), lasts: Millis(60_000) };
    let mut rules = rules.split(';').map(rule);
    let first = rules.next().expect("a rule").with_penalty(penalty);
    door(Gate::new([first].into_iter().chain(rules).collect()).expect("few rules"))
}

#[test]
fn key_is_shut_out_after_so_many_rejects() {
    let mut door = strict("1r/s");
    assert_eq!(door.at(0).times(3), [Pass, Reject(1_000), Reject(1_000)]);
    assert_eq!(door.at(1_000).times(2), [Pass, Reject(1_000)], "the third reject");
    let shut_out = door.at(2_000).one().verdict;
    assert_eq!((shut_out.reason, shut_out.retry), (Some(Reason::Penalty), Millis(59_000)));
    assert_eq!(door.look(), Reject(59_000));
    assert_eq!(door.from("192.0.2.2").times(1), [Pass], "another key is not");
}

#[test]
fn penalty_ends_whatever_the_client_does_and_the_count_begins_again() {
    let mut door = strict("1r/s");
    assert_eq!(door.at(0).times(4)[1..], [Reject(1_000); 3]);
    for now in (1_000..60_000).step_by(500) {
        assert_eq!(door.at(now).times(1), [Reject(60_000 - now)]);
    }
    assert_eq!(door.at(60_000).times(3), [Pass, Reject(1_000), Reject(1_000)]);
    assert_eq!(door.at(61_000).times(1), [Pass], "two rejects are no three");
}

#[test]
fn rejects_outside_of_the_window_do_not_count_together() {
    let mut door = strict("1r/s");
    for start in [0, 10_000, 20_000] {
        assert_eq!(door.at(start).times(3), [Pass, Reject(1_000), Reject(1_000)]);
        assert_eq!(door.at(start + 5_000).times(1), [Pass]);
    }
    let mut door = strict("1r/s");
    assert_eq!(door.at(0).times(3), [Pass, Reject(1_000), Reject(1_000)]);
    assert_eq!(door.at(9_999).times(3), [Pass, Reject(1_000), Reject(60_000)]);
}

#[test]
fn rejects_of_another_rule_do_not_count() {
    let mut door = strict("10r/s burst=100 nodelay; 1r/s");
    assert_eq!(door.at(0).times(9)[1..], [Reject(1_000); 8]);
    assert_eq!(door.at(1_000).times(1), [Pass]);
    let mut second = strict("1r/s key=global");
    assert_eq!(second.at(0).times(5)[1..4], [Reject(1_000); 3]);
    assert_eq!(second.from("192.0.2.9").at(1_000).times(1), [Reject(59_000)], "one key for all");
}

/// The side tables are bounded, and an offender is not flushed by a flood of others.
#[test]
fn flood_of_offenders_does_not_flush_those_that_are_shut_out() {
    let mut door = strict("1r/h capacity=1000000");
    door.from("198.51.100.1").at(0).times(4);
    for client in 0..200_000_u32 {
        let client = std::net::Ipv4Addr::from_bits(0x0A00_0000 + client).to_string();
        door.from(&client).at(1 + u64::from(client.len() as u32)).times(2);
    }
    let verdict = door.from("198.51.100.1").at(30_000).one().verdict;
    assert_eq!((verdict.reason, verdict.retry), (Some(Reason::Penalty), Millis(30_000)));
}
