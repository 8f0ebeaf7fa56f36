//! What must hold of a rule for any rate, burst and arrivals. Beside `judge.rs`, for it needs the
//! words of `limit.rs`.

use weir_limit::{Millis, Rate, Rule, RuleSettings, ZoneSettings, zone::Intent};

use crate::{
    bucket::{Model, envelope},
    limit::{self, Delay, Pass, Seen},
};

/// The first bytes are the rule, each two of the others the time to the next request. Every verdict
/// is the model's, and in no window is more forwarded than burst and rate allow.
pub fn decision(bytes: &[u8]) {
    let Some((head, arrivals)) = bytes.split_at_checked(8) else { return };
    let number = |at: usize| u64::from(u16::from_be_bytes([head[at], head[at + 1]]));
    // Milliseconds, seconds, minutes and hours.
    let (requests, unit) =
        (number(0) % 5000 + 1, [1, 1000, 60_000, 3_600_000][usize::from(head[4] % 4)]);
    let rate = (requests, (number(2) % 1000 + 1) * unit);
    let (burst, delay) = (u32::from(head[5]), u32::from(head[6]));
    let Ok(known) = Rate::new(rate.0, std::time::Duration::from_millis(rate.1)) else { return };
    let zone = limit::seeded(ZoneSettings { rate: known, ..limit::settings("1r/s") });
    let Ok(rule) = Rule::new(zone, RuleSettings::burst(burst).delay(delay)) else { return };
    let (mut model, mut now, mut forwarded) =
        (Model::new(rate, burst, delay.min(burst)), 0, Vec::new());
    for gap in arrivals.chunks_exact(2).take(300) {
        // Two bits say how coarse the other fourteen are.
        now += u64::from(u16::from_be_bytes([gap[0] & 0x3f, gap[1]])) << (4 * (gap[0] >> 6));
        let seen = Seen::from(rule.decide(1, Millis(now), Intent::Charge));
        assert_eq!(seen, model.decide(now), "{rate:?} burst={burst} delay={delay} at {now} ms");
        match seen {
            Pass => forwarded.push(now),
            Delay(wait) => forwarded.push(now + wait),
            _ => {}
        }
    }
    forwarded.sort_unstable();
    for (index, begin) in forwarded.iter().enumerate() {
        for (more, end) in forwarded[index..].iter().enumerate() {
            // A wait is cut to the millisecond, so a window may hold what belongs to the next one.
            assert!(
                (more as u64) < envelope(rate, burst, end - begin + 1),
                "{more} in {begin}..={end}"
            );
        }
    }
}
