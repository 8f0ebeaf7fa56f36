//! Verdict of the limiter: a decision with the numbers behind it.

use super::millis::Millis;

/// Limit on the number of rules of a route.
pub const MAX_RULES: usize = 8;

/// Action for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Forward it now.
    Pass,
    /// Hold it, then forward it.
    Delay,
    /// Respond with the reject status of the route.
    Reject,
    /// No rule applied to it: forward it now.
    Exempt,
}

impl Decision {
    /// Word used in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Delay => "delay",
            Self::Reject => "reject",
            Self::Exempt => "exempt",
        }
    }
}

/// Reason of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// More requests than the burst of the rule stood ahead.
    Burst,
    /// The wait would have been longer than `max_wait` of the rule.
    MaxWait,
    /// A part of the key is absent and the zone rejects such requests.
    MissingKey,
    /// A part of the key is there more than once with different values.
    RepeatedKey,
    /// `queue.max` requests are parked.
    QueueFull,
    /// The key was rejected too often, and is shut out for a while.
    Penalty,
    /// Too many requests of the key are in progress, and none ended in time.
    Concurrency,
    /// The proxy is stopping and the release would come too late.
    Draining,
}

impl Reason {
    /// Returns true if the same request is rejected however long its client waits.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::MissingKey | Self::RepeatedKey)
    }

    /// Word used in logs and response bodies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::MaxWait => "max_wait",
            Self::MissingKey => "missing_key",
            Self::RepeatedKey => "repeated_key",
            Self::QueueFull => "queue_full",
            Self::Penalty => "penalty",
            Self::Concurrency => "concurrency",
            Self::Draining => "draining",
        }
    }
}

/// Verdict of one rule, or of all rules of a route together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Action for the request.
    pub decision: Decision,
    /// Reason of a reject.
    pub reason: Option<Reason>,
    /// Index of the rule of the gate that decided; none if no rule applied.
    pub rule: Option<usize>,
    /// Requests ahead of this one, in thousandths, rounded down.
    pub excess_milli: u64,
    /// Time to hold the request: zero unless the decision is to delay.
    pub wait: Millis,
    /// Time until a rejected request would pass, rounded up; zero unless the decision is to reject.
    pub retry: Millis,
}

impl Verdict {
    /// No rule applied.
    pub const EXEMPT: Self = Self {
        decision: Decision::Exempt,
        reason: None,
        rule: None,
        excess_milli: 0,
        wait: Millis::ZERO,
        retry: Millis::ZERO,
    };

    /// Turns the verdict into a reject for another reason than the bucket.
    #[must_use]
    pub fn rejected(self, reason: Reason, retry: Millis) -> Self {
        Self { decision: Decision::Reject, reason: Some(reason), wait: Millis::ZERO, retry, ..self }
    }
}
