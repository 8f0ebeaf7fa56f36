//! Rules of concurrency: limits on the requests of a key that are in progress.

use std::{sync::Arc, time::Duration};

use crate::{
    http::condition::RuleScope,
    limit::{ConcurrencyLimit, ConcurrencyZone, Millis, Mode, Scope, Subject, Verdict},
    log::entry::LimitStory,
};

/// Time after which a rejected client is asked to try again: it is not known when a request ends.
pub const RETRY: Millis = Millis(1_000);

/// Settings of a rule of concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyRuleSettings {
    /// Requests in progress and waiting.
    pub limit: ConcurrencyLimit,
    /// Longest wait.
    pub max_wait: Duration,
    /// Status of rejects, if it is not that of the route.
    pub status: Option<u16>,
    /// Enforcement of the rule.
    pub mode: Mode,
    /// Requests that it applies to; none for all.
    pub scope: Option<RuleScope>,
}

/// Rule of concurrency of a route.
pub struct ConcurrencyRule {
    /// Zone that counts the requests in progress.
    pub zone: Arc<ConcurrencyZone>,
    /// Settings of the rule.
    pub settings: ConcurrencyRuleSettings,
}

impl ConcurrencyRule {
    /// Returns true if the rule applies to a request.
    #[must_use]
    pub fn covers(&self, subject: &Subject<'_>) -> bool {
        self.settings.scope.as_ref().is_none_or(|scope| scope.covers(subject))
    }

    /// Returns true if the rule counts all requests that `other` counts, and admits no more.
    #[must_use]
    pub fn guards_as(&self, other: &Self) -> bool {
        self.zone.settings() == other.zone.settings()
            && self.settings.limit.max <= other.settings.limit.max
            && (self.settings.scope.is_none() || self.settings.scope == other.settings.scope)
    }

    /// Log record of a verdict.
    #[must_use]
    pub fn story(&self, verdict: Verdict, key: u64) -> LimitStory {
        let zone = Arc::clone(&self.zone.settings().name);
        LimitStory { zone, verdict, key, fault: None, is_parked: false }
    }
}
