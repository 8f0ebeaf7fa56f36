//! Report of a sent and judged burst, from which every output is made.

use std::collections::BTreeMap;

use super::{
    class::Counts,
    judge::{Breach, TraceJudgement, View, WAITED_US, judge},
    limit::Limit,
    trace::{End, Shot},
};

/// Burst with its trace and judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// URL it was sent to.
    pub url: String,
    /// Schedule as written.
    pub schedule: String,
    /// Number of clients.
    pub clients: u32,
    /// Assumptions of the judgement.
    pub view: View,
    /// Outcome of each request.
    pub trace: Vec<Shot>,
    /// Judgement on the trace.
    pub judgement: TraceJudgement,
}

/// Selects one kind of breach.
type Kind = fn(&Breach) -> bool;

impl Report {
    /// Judges a trace.
    #[must_use]
    pub fn new(url: &str, schedule: &str, clients: u32, view: View, trace: Vec<Shot>) -> Self {
        let judgement = judge(&trace, &view);
        Self { url: url.to_owned(), schedule: schedule.to_owned(), clients, view, trace, judgement }
    }

    /// Limit that the server is said to keep, if any.
    #[must_use]
    pub fn limit(&self) -> Option<&Limit> {
        self.view.limit.as_ref()
    }

    /// Number of requests of each class.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.judgement.counts
    }

    /// Number of responses of each status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for status in self.trace.iter().filter_map(Shot::status) {
            *statuses.entry(status).or_insert(0) += 1;
        }
        statuses
    }

    /// Causes of failures with their numbers.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, usize> {
        let mut failures = BTreeMap::new();
        // With 444 a closed connection is a reject, and no failure.
        for shot in self.trace.iter().filter(|shot| !shot.rejected(self.view.reject_status)) {
            if let End::Failed(cause) = &shot.end {
                *failures.entry(cause.to_string()).or_insert(0) += 1;
            }
        }
        failures
    }

    /// Last instant of the trace.
    #[must_use]
    pub fn end_us(&self) -> u64 {
        self.trace.iter().map(|shot| shot.end_us).max().unwrap_or(0)
    }

    /// Longest time by which a request was sent late.
    #[must_use]
    pub fn worst_send_us(&self) -> u64 {
        self.trace.iter().map(|shot| shot.sent_us.saturating_sub(shot.due_us)).max().unwrap_or(0)
    }

    /// Returns true if the first request of a client did not pass immediately, so its bucket was
    /// not empty.
    #[must_use]
    pub fn began_in_debt(&self) -> bool {
        let first = self.trace.iter().min_by_key(|shot| shot.sent_us);
        first.is_some_and(|shot| {
            shot.rejected(self.view.reject_status) || shot.took_us() > WAITED_US
        })
    }

    /// Status that was probably meant to be the reject status: the most frequent one of 400 and
    /// above where no response has the assumed one.
    #[must_use]
    pub fn other_reject_status(&self) -> Option<u16> {
        let refusals = self.statuses().into_iter().filter(|(status, _)| *status >= 400);
        let (status, _) = refusals.max_by_key(|(_, count)| *count)?;
        // Where some responses have the assumed status, it is the right one.
        (self.counts().reject == 0).then_some(status)
    }

    /// Violation of `--expect-status`: every response of 400 and above must have that status, and
    /// there must be one.
    #[must_use]
    pub fn unexpected_status(&self, expected: u16) -> Option<String> {
        let mut refusals = self.statuses();
        refusals.retain(|status, _| *status >= 400);
        let wrong: Vec<String> = refusals
            .iter()
            .filter(|(status, _)| **status != expected)
            .map(|(status, n)| format!("{status} {n}x"))
            .collect();
        match (wrong.is_empty(), refusals.contains_key(&expected)) {
            (false, _) => {
                Some(format!("expected every refusal to be {expected}, saw {}", wrong.join(", ")))
            }
            (true, false) => Some(format!("expected refusals with {expected}, saw none")),
            (true, true) => None,
        }
    }

    /// Breaches of the envelope, one sentence for each kind, with the first and their number.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let of = |kind: Kind| self.judgement.breaches.iter().filter(move |breach| kind(breach));
        let kinds: [(&str, Kind); 3] = [
            ("forwarded over the limit", |breach| matches!(breach, Breach::TooMany { .. })),
            ("released before the slot", |breach| matches!(breach, Breach::Early { .. })),
            ("rejected with room left", |breach| matches!(breach, Breach::NeedlessReject { .. })),
        ];
        let sentence = |(what, kind): (&str, Kind)| {
            let first = of(kind).next()?;
            Some(format!("{} {what}, first {}", of(kind).count(), self.describe(first)))
        };
        kinds.into_iter().filter_map(sentence).collect()
    }

    fn describe(&self, breach: &Breach) -> String {
        let at = millis(self.trace[breach.shot()].sent_us);
        let number = breach.shot() + 1;
        match breach {
            Breach::TooMany { forwarded, within_us, allowed, .. } => {
                let within = millis(*within_us);
                format!(
                    "request {number} sent at {at} ms: {forwarded} in {within} ms where {allowed} \
                    fit"
                )
            }
            Breach::Early { by_us, .. } => {
                format!("request {number} sent at {at} ms: {} ms early", millis(*by_us))
            }
            Breach::NeedlessReject { .. } => format!("request {number} sent at {at} ms"),
        }
    }
}

/// Formats microseconds as milliseconds with one decimal, none when it is zero.
pub(super) fn millis(micros: u64) -> String {
    tenths(micros / 100)
}

/// Formats microseconds as milliseconds with a sign.
pub(super) fn signed_millis(micros: i64) -> String {
    let text = millis(micros.unsigned_abs());
    if micros < 0 && text != "0" { format!("-{text}") } else { text }
}

fn tenths(tenths: u64) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::trace::sample::report;

    #[test]
    fn reject_status_is_guessed_only_where_none_was_seen() {
        let guessed = |statuses: &[u16]| {
            let rows: Vec<_> = statuses.iter().map(|status| (0, 1, *status)).collect();
            report("3", &rows, None).other_reject_status()
        };
        assert_eq!(guessed(&[200, 429, 429, 500]), Some(429));
        assert_eq!(guessed(&[200, 429, 503]), None);
        assert_eq!(guessed(&[200, 301]), None);
    }
}
