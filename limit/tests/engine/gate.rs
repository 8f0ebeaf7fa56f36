//! The decision engine by its worked tables: every verdict, wait, excess and retry is asserted with
//! `==`.

use weir_limit::{Millis, Reason};
use weir_test::{
    limit::{Delay, Door, Exempt, Pass, Reject, Seen, gate},
    worked_tables::{self, WorkedTable},
};

/// `count` delays that start at `first` ms and are `step` ms apart.
fn delays(first: u64, step: u64, count: u64) -> Vec<Seen> {
    (0..count).map(|k| Delay(first + k * step)).collect()
}

/// The verdicts of a table, and the gate after its last request.
#[track_caller]
fn holds(table: &WorkedTable) -> Door {
    let mut door = gate(&table.texts().join("; "));
    let seen: Vec<_> =
        table.arrivals().flat_map(|(now, count)| door.at(now).times(count)).collect();
    assert_eq!(seen, table.verdicts(), "{}", table.name);
    door
}

#[test]
fn table_a_one_a_second_and_no_burst() {
    holds(&worked_tables::A);
    holds(&worked_tables::A_ON_REAL_CLOCK);
    assert_eq!(Millis(900).seconds_up(), 1);
}

#[test]
fn table_b_a_burst_of_twenty_is_spaced_by_the_rate() {
    assert_eq!(holds(&worked_tables::B).one().verdict.excess_milli, 21_000);
}

#[test]
fn table_b_nodelay_lets_the_whole_burst_pass_at_once() {
    holds(&worked_tables::B_NODELAY);
}

#[test]
fn table_b_a_delay_of_eight_lets_nine_pass_and_spaces_the_rest() {
    holds(&worked_tables::B_DELAY_8);
}

#[test]
fn table_b_the_next_place_is_free_at_the_hundredth_millisecond() {
    use worked_tables::{B, B_DELAY_8, B_NODELAY};
    for (table, admitted) in [(B, Delay(2_000)), (B_NODELAY, Pass), (B_DELAY_8, Delay(1_200))] {
        let mut door = holds(&table);
        let refused = door.at(99).one().verdict;
        assert_eq!((refused.excess_milli, refused.retry), (20_010, Millis(1)), "{}", table.name);
        assert_eq!(door.at(100).times(2), [admitted, Reject(100)], "{}", table.name);
    }
}

#[test]
fn table_c_five_a_second_burst_twelve_delay_eight() {
    holds(&worked_tables::C);
}

#[test]
fn table_d_thirty_a_minute_burst_two_delay_one() {
    holds(&worked_tables::D);
}

#[test]
fn table_e_two_limits_on_one_route() {
    holds(&worked_tables::E);
    let mut door = gate(&worked_tables::E.texts().join("; "));
    let seen: Vec<_> = (0..9).map(|_| door.at(0).one().verdict).collect();
    assert_eq!(seen[1].rule, Some(1), "the wait is the whole site's");
    assert_eq!(seen[6].rule, Some(0), "the reject is the address's");
    assert_eq!(seen[6].excess_milli, 6_000);
}

/// The page has the rows that the tests above hold.
#[test]
fn worked_tables_of_the_page_are_these() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
    let page = std::fs::read_to_string(page).expect("docs/limits.md");
    let section = page.split("## Worked tables").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("a section").lines().filter(|line| line.starts_with("| "));
    let expected: Vec<_> = worked_tables::ALL.iter().map(|table| table.row()).collect();
    assert_eq!(rows.skip(1).collect::<Vec<_>>(), expected);
}

#[test]
fn reject_by_one_rule_charges_no_other() {
    for rules in ["1r/s; 10r/s burst=10 key=global", "10r/s burst=10 key=global; 1r/s"] {
        let mut door = gate(rules);
        assert_eq!(
            door.at(0).times(100),
            [vec![Pass], vec![Reject(1_000); 99]].concat(),
            "{rules}"
        );
        assert_eq!(
            door.from("192.0.2.2").look(),
            Delay(100),
            "only one request was charged to the site: {rules}"
        );
    }
}

#[test]
fn wait_is_the_longest_of_all_rules_and_names_it() {
    let mut door = gate("10r/s burst=5; 1r/s burst=5 key=host; 100r/s burst=5 key=global");
    assert_eq!(door.at(0).times(3), [Pass, Delay(1_000), Delay(2_000)]);
    let verdict = door.one().verdict;
    assert_eq!((verdict.rule, verdict.wait, verdict.excess_milli), (Some(1), Millis(3_000), 3_000));
}

#[test]
fn retry_after_of_several_full_rules_is_the_longest() {
    let mut door = gate("1r/s; 10r/m key=host");
    assert_eq!(door.at(0).times(2), [Pass, Reject(6_000)]);
    let refused = door.one().verdict;
    assert_eq!((refused.rule, refused.excess_milli), (Some(0), 1_000));
    assert_eq!(door.each([5_999, 6_000]), [Reject(1), Pass]);
}

#[test]
fn ten_of_twenty_parked_leave_and_ten_new_come_in() {
    let mut door = gate("10r/s burst=20");
    let mut parked: Vec<_> = (0..21).map(|_| door.one()).collect();
    assert_eq!(door.times(1), [Reject(100)]);
    for leaver in parked.split_off(11) {
        door.leaves(leaver);
    }
    assert_eq!(door.at(0).times(11), [delays(1_100, 100, 10), vec![Reject(100)]].concat());
}

#[test]
fn evicted_key_keeps_its_debt_while_its_requests_are_parked() {
    let mut door = gate("10r/s burst=5 capacity=1");
    let parked: Vec<_> = (0..3).map(|_| door.at(0).one()).collect();
    assert_eq!(door.from("192.0.2.2").times(1), [Pass]);
    assert_eq!(door.from("192.0.2.1").times(4), [Delay(300), Delay(400), Delay(500), Reject(100)]);
    assert_eq!(parked.iter().filter(|judged| judged.parked.is_some()).count(), 2);
}

#[test]
fn parked_request_that_leaves_late_frees_its_place() {
    let mut door = gate("10r/s burst=2");
    let [_first, _second, third] = [(); 3].map(|()| door.at(0).one());
    door.at(199).leaves(third);
    assert_eq!(door.times(3), [Delay(1), Delay(101), Reject(1)]);
}

#[test]
fn late_leave_in_one_zone_frees_nothing_in_another() {
    let mut door = gate("1r/m burst=5; 10r/s key=global");
    door.at(0).times(1);
    let parked = door.at(1_000).one();
    assert_eq!(parked.verdict.wait, Millis(59_000));
    assert_eq!(door.from("192.0.2.2").at(5_000).times(1), [Pass]);
    door.leaves(parked);
    assert_eq!(
        door.from("192.0.2.3").times(1),
        [Reject(100)],
        "the site's only place was used by the second client"
    );
}

#[test]
fn max_wait_rejects_longer_wait_on_arrival() {
    let mut door = gate("10r/s burst=20 max_wait=300");
    assert_eq!(
        door.at(0).times(6),
        [Pass, Delay(100), Delay(200), Delay(300), Reject(100), Reject(100)]
    );
    assert_eq!(door.one().verdict.reason, Some(Reason::MaxWait));
    assert_eq!(door.at(1).look(), Reject(99));
    assert_eq!(door.at(100).look(), Delay(300));
}

#[test]
fn max_wait_counts_from_where_the_delay_begins() {
    let seen = gate("10r/s burst=20 delay=2 max_wait=100").at(0).times(5);
    assert_eq!(seen, [Pass, Pass, Pass, Delay(100), Reject(100)]);
}

#[test]
fn no_max_wait_rejects_what_would_pass_at_once() {
    let mut door = gate("3r/s burst=5 max_wait=0");
    assert_eq!(door.each([0, 333, 333, 667]), [Pass, Pass, Reject(333), Pass]);
    assert_eq!(gate("3r/s burst=5 max_wait=333").at(0).times(3), [Pass, Delay(333), Reject(333)]);
}

#[test]
fn reject_for_burst_says_so() {
    let door = gate("1r/s");
    assert_eq!(door.one().verdict.reason, None);
    assert_eq!(door.one().verdict.reason, Some(Reason::Burst));
}

#[test]
fn dry_run_is_judged_and_never_enforced() {
    let mut door = gate("1r/s dry_run; 10r/s burst=1 key=host");
    let (first, second, third) = (door.at(0).one(), door.one(), door.one());
    assert_eq!((first.verdict.into(), first.dry_run), (Pass, None));
    assert_eq!(second.verdict.wait, Millis(100));
    assert_eq!(
        second.dry_run.map(|verdict| (verdict.rule, verdict.into())),
        Some((Some(0), Reject(1_000)))
    );
    assert_eq!(third.verdict.rule, Some(1));
    assert_eq!(gate("1r/s dry_run").times(3), [Exempt, Exempt, Exempt]);
}

#[test]
fn exempt_network_is_never_counted() {
    let mut door = gate("1r/s exempt=10.8.0.0/16");
    assert_eq!(door.from("10.8.3.4").times(3), [Exempt; 3]);
    assert_eq!(door.from("::ffff:10.8.3.4").times(3), [Exempt; 3]);
    assert_eq!(door.from("10.9.0.1").times(2), [Pass, Reject(1_000)]);
}

#[test]
fn key_missing_is_exempt_shared_or_rejected() {
    assert_eq!(gate("1r/s key=header:x-key").times(2), [Exempt, Exempt]);
    let mut shared = gate("1r/s key=header:x-key missing=share");
    assert_eq!(shared.from("192.0.2.1").times(1), [Pass]);
    assert_eq!(shared.from("192.0.2.2").times(1), [Reject(1_000)]);
    assert_eq!(shared.with("x-key", "mine").times(1), [Pass]);
    let refused = gate("1r/s key=header:x-key missing=reject").one().verdict;
    assert_eq!((refused.reason, refused.retry), (Some(Reason::MissingKey), Millis::ZERO));
}

#[test]
fn exempt_rule_leaves_others_in_force() {
    let mut door = gate("1r/s key=header:x-key; 10r/s");
    assert_eq!(door.at(0).times(2), [Pass, Reject(100)]);
}

#[test]
fn one_home_is_one_client() {
    let mut door = gate("1r/s");
    assert_eq!(door.from("2001:db8:0:1::1").times(1), [Pass]);
    assert_eq!(door.from("2001:db8:0:1:ffff::2").times(1), [Reject(1_000)]);
    assert_eq!(door.from("2001:db8:0:2::1").times(1), [Pass]);
    assert_eq!(door.from("198.51.100.7").times(1), [Pass]);
    assert_eq!(door.from("::ffff:198.51.100.7").times(1), [Reject(1_000)]);
}

#[test]
fn key_of_any_length_is_counted() {
    let mut door = gate("1r/s key=header:x-key");
    let (long, other) = ("k".repeat(100_000), "k".repeat(99_999) + "l");
    assert_eq!(door.with("x-key", &long).times(2), [Pass, Reject(1_000)]);
    assert_eq!(door.with("x-key", &other).times(2), [Pass, Reject(1_000)]);
}

#[test]
fn rate_per_minute_is_sixty_seconds_to_the_millisecond() {
    assert_eq!(
        gate("1r/m").each([0, 59_999, 60_000, 119_999, 120_000]),
        [Pass, Reject(1), Pass, Reject(1), Pass]
    );
    assert_eq!(
        gate("2r/m").each([0, 29_999, 30_000, 59_999, 60_000]),
        [Pass, Reject(1), Pass, Reject(1), Pass]
    );
}

#[test]
fn three_thirds_of_a_second_are_a_second() {
    assert_eq!(gate("3r/s burst=3").at(0).times(4), [Pass, Delay(333), Delay(666), Delay(1_000)]);
    assert_eq!(
        gate("3r/s").each([0, 333, 334, 667, 668]),
        [Pass, Reject(1), Pass, Reject(1), Pass]
    );
}

#[test]
fn retrying_while_rejected_does_not_delay_admission() {
    let mut door = gate("1r/s burst=2 nodelay");
    door.at(0).from("192.0.2.1").times(3);
    door.from("192.0.2.2").times(3);
    for now in 0..1_000 {
        assert_eq!(door.from("192.0.2.1").at(now).times(5), [Reject(1_000 - now); 5]);
    }
    assert_eq!(door.at(1_000).from("192.0.2.1").times(2), [Pass, Reject(1_000)]);
    assert_eq!(door.at(1_000).from("192.0.2.2").times(2), [Pass, Reject(1_000)]);
}

#[test]
fn retry_after_covers_every_rule_of_the_route() {
    for rules in [
        "7r/s burst=3 nodelay",
        "1r/m",
        "3r/s burst=2 delay=1; 10r/m burst=1 key=host",
        "3r/s burst=9 max_wait=500",
    ] {
        let mut door = gate(rules);
        let mut now = 0;
        for _ in 0..1_000 {
            if let Reject(retry) = door.at(now).look() {
                now += retry.div_ceil(1_000) * 1_000;
            }
            assert!(!matches!(door.at(now).times(1)[..], [Reject(_)]), "{rules} at {now}");
        }
    }
}

#[test]
fn look_stores_nothing() {
    let mut door = gate("1r/s burst=1; 1r/s key=host");
    for _ in 0..10 {
        assert_eq!(door.at(0).look(), Pass);
    }
    assert_eq!(door.times(2), [Pass, Reject(1_000)]);
}

#[test]
fn clients_do_not_feel_each_other() {
    let mut door = gate("10r/s burst=1");
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        assert_eq!(door.from(client).at(0).times(3), [Pass, Delay(100), Reject(100)], "{client}");
    }
}
