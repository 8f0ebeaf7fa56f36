//! What the limiter answers: a decision with the numbers behind it.

use super::millis::Millis;

/// The most rules a route may have.
pub const MAX_RULES: usize = 8;

/// What is to happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Forward it now.
    Pass,
    /// Hold it, then forward it.
    Delay,
    /// Answer it with the route's reject status.
    Reject,
    /// No rule applied to it: forward it now.
    Exempt,
}

impl Decision {
    /// The word used in logs and metrics.
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

/// Why a request was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// More than the rule's burst stood before it.
    Burst,
    /// It would have waited longer than the rule's `max_wait`.
    MaxWait,
    /// A part of the key is absent and the zone rejects such requests.
    MissingKey,
    /// A part of the key is there more than once with different values.
    RepeatedKey,
    /// As many requests are parked as `queue.max` allows.
    QueueFull,
    /// The proxy is stopping and its turn would come too late.
    Draining,
}

impl Reason {
    /// Whether the same request is rejected however long its client waits.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::MissingKey | Self::RepeatedKey)
    }

    /// The word used in logs and response bodies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::MaxWait => "max_wait",
            Self::MissingKey => "missing_key",
            Self::RepeatedKey => "repeated_key",
            Self::QueueFull => "queue_full",
            Self::Draining => "draining",
        }
    }
}

/// One rule's answer, or that of all the rules of a route together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is to happen.
    pub decision: Decision,
    /// Why, when it is a reject.
    pub reason: Option<Reason>,
    /// Which rule of the gate decided, counted from 0; none when no rule applied.
    pub rule: Option<usize>,
    /// Requests that stand before this one, in thousandths, rounded down.
    pub excess_milli: u64,
    /// How long to hold it: zero unless the decision is to delay.
    pub wait: Millis,
    /// When a rejected request would pass, from now, rounded up; zero unless the decision is to
    /// reject.
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

    /// The same verdict turned into a reject for another reason than the bucket.
    #[must_use]
    pub fn rejected(self, reason: Reason, retry: Millis) -> Self {
        Self { decision: Decision::Reject, reason: Some(reason), wait: Millis::ZERO, retry, ..self }
    }
}
