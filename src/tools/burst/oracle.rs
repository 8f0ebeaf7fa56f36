//! Verdicts that the decision engine would give, had every request arrived when it was sent.

use super::{
    class::{Class, Counts},
    limit::Limit,
    trace::Shot,
};
use crate::limit::{Decision, Millis, rule::RuleError, zone::Intent};

/// Counts the verdicts of the engine over the observed send times, per class.
///
/// # Errors
/// When the engine cannot count that far.
pub fn expected(trace: &[Shot], limit: &Limit) -> Result<Counts, RuleError> {
    let rule = limit.rule()?;
    let mut order: Vec<&Shot> = trace.iter().collect();
    // The engine judges one request after the other, and time must not run backwards.
    order.sort_by_key(|shot| shot.sent_us);
    let mut counts = Counts::default();
    for shot in order {
        // Cut to the millisecond, as a server does that has no finer clock.
        let now = Millis(shot.sent_us / 1_000);
        counts.add(match rule.decide(u64::from(shot.client), now, Intent::Charge).decision {
            Decision::Pass | Decision::Exempt => Class::Pass,
            Decision::Delay => Class::Wait,
            Decision::Reject => Class::Reject,
        });
    }
    Ok(counts)
}
