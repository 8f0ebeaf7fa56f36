//! The rule against a model of a leaky bucket in 128-bit fractions, and the bounds any observer
//! could check.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use proptest::prelude::*;
use weir_limit::{Gate, Millis, Rate, Rule, RuleSettings, Zone, zone::Intent};
use weir_test::{
    bucket::{Model, envelope},
    limit::{self as words, Pass, Reject, Seen, address, subject},
};

fn zone((requests, per_ms): (u64, u64)) -> Option<Arc<Zone>> {
    let rate = Rate::new(requests, Duration::from_millis(per_ms)).ok()?;
    Some(words::seeded(weir_limit::ZoneSettings { rate, ..words::settings("1r/s") }))
}

fn rule(rate: (u64, u64), burst: u32, delay: u32) -> Rule {
    Rule::new(zone(rate).expect("a countable rate"), RuleSettings::burst(burst).delay(delay))
        .expect("a countable rule")
}

fn decide(rule: &Rule, now: u64) -> Seen {
    rule.decide(1, Millis(now), Intent::Charge).into()
}

/// Ordinary rates: requests and milliseconds.
fn rates() -> impl Strategy<Value = (u64, u64)> {
    (1_u64..=2_000, prop_oneof![Just(1_000_u64), Just(60_000), 1_u64..=100_000])
}

/// Instants that never go back.
fn arrivals(most: usize) -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![4 => Just(0_u64), 4 => 0_u64..20, 2 => 0_u64..2_000, 1 => 0_u64..200_000];
    prop::collection::vec(gap, 1..most).prop_map(|gaps| {
        gaps.into_iter()
            .scan(0, |now, gap| {
                *now += gap;
                Some(*now)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_verdict_wait_and_retry_is_the_model_s(rate in rates(), burst in 0_u32..60, delay in 0_u32..60, times in arrivals(400)) {
        let (mut model, rule) = (Model::new(rate, burst, delay.min(burst)), rule(rate, burst, delay));
        for now in times {
            prop_assert_eq!(decide(&rule, now), model.decide(now), "at {} ms", now);
        }
    }

    #[test]
    fn no_window_admits_more_than_burst_and_rate(rate in rates(), burst in 0_u32..20, times in arrivals(200)) {
        let rule = rule(rate, burst, burst);
        let admitted: Vec<u64> = times.into_iter().filter(|now| !matches!(decide(&rule, *now), Reject(_))).collect();
        for (index, begin) in admitted.iter().enumerate() {
            for (more, end) in admitted[index..].iter().enumerate() {
                prop_assert!((more as u64) < envelope(rate, burst, end - begin), "{} in {}..={}", more + 1, begin, end);
            }
        }
    }

    #[test]
    fn retry_after_is_the_first_millisecond_that_passes(rate in rates(), burst in 0_u32..20, times in arrivals(100)) {
        let rule = rule(rate, burst, burst);
        for now in times {
            if let Reject(retry) = decide(&rule, now) {
                let look = |now| Seen::from(rule.decide(1, Millis(now), Intent::Look));
                prop_assert_eq!((look(now + retry - 1), look(now + retry)), (Reject(1), Pass));
            }
        }
    }

    #[test]
    fn debt_never_grows_with_time(rate in rates(), burst in 0_u32..20, times in arrivals(100), later in 0_u64..10_000) {
        let rule = rule(rate, burst, 0);
        for now in times {
            decide(&rule, now);
            let excess = |now| rule.decide(1, Millis(now), Intent::Look).excess_milli;
            prop_assert!(excess(now + later) <= excess(now));
        }
    }

    #[test]
    fn no_rate_burst_or_time_panics(
        rate in (any::<u64>(), any::<u64>()),
        (burst, delay) in (any::<u32>(), any::<u32>()),
        wait in prop::option::of(any::<u64>()),
        times in prop::collection::vec(prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0_u64..1_000], 1..50),
    ) {
        for rate in [rate, (rate.0 % 1_000_000, rate.1), (rate.0 % 5_000, rate.1 % 100_000)] {
            let Some(zone) = zone(rate) else { continue };
            let settings = RuleSettings { max_wait: wait.map(Millis), ..RuleSettings::burst(burst).delay(delay) };
            for settings in [settings, RuleSettings { burst: burst % 100, ..settings }, RuleSettings { burst: u32::MAX, ..settings }] {
                let Ok(rule) = Rule::new(Arc::clone(&zone), settings) else { continue };
                let gate = Gate::new(vec![rule]).expect("one rule");
                for now in &times {
                    let judged = gate.decide(&subject(address("192.0.2.1"), &HeaderMap::new()), Millis(*now));
                    if let Some(parked) = judged.parked {
                        parked.leave(Millis(now / 2));
                    }
                }
            }
        }
    }
}
