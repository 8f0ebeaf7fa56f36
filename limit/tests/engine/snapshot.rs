//! Snapshots: debts survive a restart and a change of rate, exactly.

use std::{sync::Arc, time::Duration};

use weir_limit::{
    Millis, Rule, RuleSettings, Seed, Snapshot, Succession, Zone, snapshot::SnapshotError,
    zone::Intent,
};
use weir_test::limit as words;

fn zone(rate: &str) -> Arc<Zone> {
    let mut settings = words::settings(rate);
    settings.name = "per_ip".into();
    words::seeded(settings)
}

fn charge(zone: &Arc<Zone>, fingerprint: u64, now: u64, requests: usize) {
    let rule = Rule::new(Arc::clone(zone), RuleSettings::burst(100)).expect("a countable rule");
    (0..requests).for_each(|_| {
        assert_eq!(rule.decide(fingerprint, Millis(now), Intent::Charge).reason, None);
    });
}

#[test]
fn debts_move_to_another_now_and_only_debts() {
    let old = zone("10r/s");
    charge(&old, 1, 5_000, 3);
    charge(&old, 2, 4_000, 1);
    let snapshot = Snapshot::take(&old, Millis(5_100));
    assert_eq!(snapshot.debts, [(1, 200_000_000)]);
    let new = zone("10r/s");
    snapshot.restore(&new, Millis(70)).expect("the same zone");
    assert_eq!(
        (new.keys(), new.debt_ticks(1, Millis(70)), new.debt_ticks(2, Millis(70))),
        (1, 200, 0)
    );
}

#[test]
fn snapshot_same_rate_loses_nothing() {
    for rate in ["7r/s", "999r/s", "0.333r/s", "1r/m", "4999r/s"] {
        let old = zone(rate);
        (1..=50).for_each(|key| charge(&old, key, key % 7, 1 + key as usize));
        let snapshot = Snapshot::take(&old, Millis(8));
        let new = zone(rate);
        snapshot.restore(&new, Millis(1_000_000)).expect("the same zone");
        for key in 1..=50 {
            assert_eq!(
                new.debt_ticks(key, Millis(1_000_000)),
                old.debt_ticks(key, Millis(8)),
                "{rate}"
            );
        }
    }
}

#[test]
fn another_rate_keeps_the_debt_in_time() {
    let old = zone("3r/s");
    charge(&old, 1, 0, 4);
    let new = zone("1r/m");
    Snapshot::take(&old, Millis(0)).restore(&new, Millis(0)).expect("the same zone");
    // 1333 1/3 ms, rounded up: no place that was handed out begins again before its end.
    assert_eq!(new.debt_ticks(1, Millis(0)), 1_334);
}

#[test]
fn snapshot_never_replaces_newer_debts() {
    let zone = zone("10r/s");
    charge(&zone, 1, 0, 9);
    let snapshot = Snapshot::take(&zone, Millis(0));
    snapshot.restore(&zone, Millis(600)).expect("the same zone");
    assert_eq!(zone.debt_ticks(1, Millis(600)), 300);
}

#[test]
fn time_away_works_debts_off() {
    let zone = zone("10r/s");
    charge(&zone, 1, 0, 3);
    charge(&zone, 2, 0, 1);
    let away = Snapshot::take(&zone, Millis(0)).after(Duration::from_millis(250));
    assert_eq!(away.debts, [(1, 50_000_000)]);
}

#[test]
fn another_zone_or_seed_is_refused_with_its_name() {
    let snapshot = Snapshot::take(&zone("10r/s"), Millis(0));
    let other = words::seeded(words::settings("10r/s"));
    assert_eq!(snapshot.restore(&other, Millis(0)), Err(SnapshotError::Zone("per_ip".into())));
    let stranger = Zone::with_seed(zone("10r/s").settings().clone(), Seed([3, 4]));
    assert_eq!(snapshot.restore(&stranger, Millis(0)), Err(SnapshotError::Seed("per_ip".into())));
    let heir = Zone::with_seed(stranger.settings().clone(), snapshot.seed);
    assert_eq!(snapshot.restore(&heir, Millis(0)), Ok(()));
}

/// Requests are charged to the zone before until every worker has changed over: those charges go
/// over too, whether the key owed anything when the debts went over, owed something and paid it
/// off, or was not known.
#[test]
fn succession_takes_what_is_charged_to_the_zone_before_meanwhile() {
    let (before, after) = (zone("10r/s"), zone("5r/s"));
    charge(&before, 1, 0, 3);
    charge(&before, 2, 0, 1);
    let succession = Succession::begin(&before, &after, Millis(0)).expect("the same zone");
    // 1 is charged to both, 2 has paid and is charged again, 3 is new, 4 owes to the new zone only.
    charge(&before, 1, 150, 2);
    charge(&after, 1, 150, 1);
    charge(&before, 2, 150, 1);
    charge(&before, 3, 150, 1);
    charge(&after, 4, 150, 1);
    succession.finish(Millis(160));
    // In milliseconds: 300 - 160 + 2 x 100 + 200; 90; 90; 190.
    let owed = [1, 2, 3, 4].map(|key| after.debt_ticks(key, Millis(160)));
    assert_eq!(owed, [540, 90, 90, 190]);
}

#[test]
fn snapshot_of_another_key_does_not_fit() {
    let before = zone("10r/s");
    let mut settings = before.settings().clone();
    settings.key.ipv6_prefix = 48;
    let other = words::seeded(settings);
    let restored = Snapshot::take(&before, Millis(0)).restore(&other, Millis(0));
    assert_eq!(restored, Err(SnapshotError::Key("per_ip".into())));
}
