//! Decision after a failed try: whether the request is sent again, and when.
//!
//! Guarantees (RFC 9110, section 9.2.2): a request is sent again only in three cases. Nothing of it
//! was written; an HTTP/2 endpoint reported that it did not process it; or it is idempotent, has no
//! body or one that is kept, and no byte of a response was received, or one with a status of
//! `retries.statuses`. `failure.rs` reports a
//! [`Failure`] in these cases alone; after any other the request has failed.
//! `tests/edge/retries.rs` and `tests/edge/failure.rs` hold them.
//!
//! A request that fails on a reused connection is retried on a fresh one, at another address if
//! there is one, within `attempts` and within the budget (`retry_budget.rs`). One that fails on a
//! fresh connection is sent once more if the upstream has a `hold`, after a pause. A connection
//! that could not be opened is not a try: the request moves on to each address that it has not
//! tried, within the time of `attempts` connect time-outs, at no cost to the budget. A request that
//! was not processed is not a try either, up to [`MOVES`] times; of refused streams only the first.

use std::sync::Arc;

use tokio::{sync::watch, time::Duration};

use super::{address::Address, endpoints::Known, hold::Hold, settings::UpstreamSettings};
use crate::http::error::Error;

/// Limit on resending a request that an endpoint did not process. A connection that goes away takes
/// along only the requests of one round trip, so a request hardly meets two of them; an endpoint
/// that processes nothing is met this often.
pub const MOVES: u32 = 10;

/// Failure after which a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be opened.
    Unopened,
    /// No connection could be opened, as the TLS handshake failed: it would fail the next time too.
    Untrusted,
    /// A fresh connection ended before it took any of the request.
    Untaken,
    /// A kept connection ended before it took any of it.
    Stale,
    /// A connection that had served before is going away, and the endpoint did not process it.
    GoingAway,
    /// The endpoint did not process it, and accepts nothing more on that connection.
    Unprocessed,
    /// The endpoint did not process it, and may refuse the next one too.
    Refused,
    /// A kept connection ended before a byte of the response.
    Closed,
    /// A fresh connection ended before a byte of the response.
    Unanswered,
    /// The endpoint responded with a status of `retries.statuses`, and another try is granted.
    Unwanted,
}

impl Failure {
    /// Returns true if it is for want of a connection: nothing of the request was taken.
    fn is_without_connection(self) -> bool {
        matches!(self, Self::Unopened | Self::Untrusted | Self::Untaken)
    }
}

/// State of a request between two tries, and the table of what follows a failure.
///
/// A cell has the next state, and the step:
///
/// | failure | `Any` | `Fresh` | `Refused` | `Unanswered` |
/// |---|---|---|---|---|
/// | `Unopened` | `Any` other | `Fresh` other | `Refused` other | `Unanswered` other |
/// | `Untrusted` | `Any` only | `Fresh` only | `Refused` only | `Unanswered` only |
/// | `Untaken` | `Fresh` other | `Fresh` other | `Refused` other | `Unanswered` other |
/// | `Stale` | `Fresh` now | `Fresh` now | `Refused` now | `Unanswered` now |
/// | `GoingAway` | `Any` move | `Fresh` move | `Refused` move | `Unanswered` move |
/// | `Unprocessed` | `Fresh` move | `Fresh` move | `Refused` move | `Unanswered` move |
/// | `Refused` | `Refused` move | `Refused` move | `Refused` try | `Unanswered` try |
/// | `Closed` | `Fresh` try | `Fresh` try | `Refused` try | `Unanswered` try |
/// | `Unanswered` | `Unanswered` hold | `Unanswered` hold | `Refused` never | `Unanswered` never |
/// | `Unwanted` | `Any` now | `Fresh` now | `Refused` now | `Unanswered` now |
///
/// | step | the request is sent again |
/// |---|---|
/// | now | immediately |
/// | other | immediately while there is an untried address, in time; then after a pause |
/// | only | immediately while there is such an address, in time; then never |
/// | move | immediately, [`MOVES`] times; then after a pause |
/// | try | immediately, if the budget pays for it, within `attempts`; then never |
/// | hold | after a pause, if the upstream has a `hold` and the budget pays for it |
/// | never | never |
///
/// A pause ends the request when the time of `hold` is up, so without a `hold` it is the end.
///
/// Reasons: the first refusal is bad luck, as when the settings of the endpoint were not known
/// yet; the second one is load. After a fresh connection ended once, the request may be what kills
/// the endpoint. The two do not meet: only HTTP/2 refuses, and only of HTTP/1.1 is a request sent
/// again that a fresh connection left unanswered. So the cells of one state for the failure of the
/// other are never reached, and have the step that sends less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryState {
    /// No connection failed it after it was opened: a kept one may be used.
    Any,
    /// A connection failed it: only fresh ones are used.
    Fresh,
    /// The same, and an endpoint refused it once.
    Refused,
    /// The same, and a fresh connection ended once before a byte of the response.
    Unanswered,
}

/// Step after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sent again immediately: the next connection is a fresh one, so this happens once, or the
    /// try is granted already.
    Now,
    /// Sent immediately to an address that it has not tried.
    Other,
    /// Sent again immediately, on another connection.
    Move,
    /// Sent again immediately, if the budget pays.
    Try,
    /// Sent again after a pause.
    Pause,
    /// Sent again after a long pause, if the budget pays.
    Hold,
    /// Not sent again.
    Never,
}

/// Facts on which a step depends.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// There is an address that the request has not tried, and time to try it.
    has_other: bool,
    /// It was not processed fewer than [`MOVES`] times.
    may_move: bool,
    /// Another try is within `attempts`.
    may_try: bool,
    /// The upstream has a `hold`.
    has_hold: bool,
}

impl RetryState {
    /// Cell of the table: the next state, and the step.
    fn after(self, failure: Failure, facts: Facts) -> (Self, Next) {
        (self.next_state(failure), self.next_step(failure, facts))
    }

    fn next_state(self, failure: Failure) -> Self {
        match (failure, self) {
            // Nothing of it reached a connection, or one that served before: kept ones are as good
            // as they were.
            (
                Failure::Unopened | Failure::Untrusted | Failure::GoingAway | Failure::Unwanted,
                _,
            ) => self,
            (Failure::Refused, Self::Any | Self::Fresh) => Self::Refused,
            (Failure::Unanswered, Self::Any | Self::Fresh) => Self::Unanswered,
            (_, Self::Any | Self::Fresh) => Self::Fresh,
            (_, Self::Refused | Self::Unanswered) => self,
        }
    }

    fn next_step(self, failure: Failure, facts: Facts) -> Next {
        let was_fair = matches!(self, Self::Any | Self::Fresh);
        match failure {
            Failure::Unopened | Failure::Untrusted | Failure::Untaken if facts.has_other => {
                Next::Other
            }
            Failure::Unopened | Failure::Untaken => Next::Pause,
            Failure::Untrusted => Next::Never,
            Failure::Stale | Failure::Unwanted => Next::Now,
            Failure::Refused if !was_fair => try_if(facts.may_try),
            Failure::GoingAway | Failure::Unprocessed | Failure::Refused if facts.may_move => {
                Next::Move
            }
            Failure::GoingAway | Failure::Unprocessed | Failure::Refused => Next::Pause,
            Failure::Closed => try_if(facts.may_try),
            Failure::Unanswered if was_fair && facts.has_hold => Next::Hold,
            Failure::Unanswered => Next::Never,
        }
    }
}

fn try_if(may_try: bool) -> Next {
    if may_try { Next::Try } else { Next::Never }
}

/// Failed tries of one request.
#[derive(Debug)]
pub struct Retry {
    state: RetryState,
    /// Retries after which part of it may have been sent, since the last pause.
    tries: u32,
    /// Times that it was not processed.
    moves: u32,
    /// Time spent on connections that could not be opened, since the last pause.
    opening: Duration,
    /// Addresses that failed it, since the last pause.
    tried: Vec<Arc<Address>>,
    hold: Hold,
}

impl Retry {
    /// Creates the state of a request that has not failed, with the `hold` of its upstream.
    #[must_use]
    pub fn new(hold: Duration) -> Self {
        Self {
            state: RetryState::Any,
            tries: 0,
            moves: 0,
            opening: Duration::ZERO,
            tried: Vec::new(),
            hold: Hold::new(hold),
        }
    }

    /// Returns true if a kept connection may be used.
    #[must_use]
    pub fn may_use_kept(&self) -> bool {
        self.state == RetryState::Any
    }

    /// Returns true if an address failed the request, since the last pause.
    #[must_use]
    pub fn has_tried(&self, address: &Arc<Address>) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, address))
    }

    /// Records that no connection to an address could be opened, and the time that took.
    pub fn not_opened(&mut self, address: Arc<Address>, time: Duration) {
        self.opening += time;
        self.tried.push(address);
    }

    /// Records that a connection to an address failed.
    pub fn failed_at(&mut self, address: &Arc<Address>, failure: Failure) {
        // An address whose connection served before and is now going away is as good as any.
        if failure != Failure::GoingAway {
            self.tried.push(Arc::clone(address));
        }
    }

    /// Counts a response that is not wanted as a failed try at this address. Returns true if another
    /// one is within `attempts`.
    pub fn leaves_for_another(
        &mut self,
        address: &Arc<Address>,
        settings: &UpstreamSettings,
    ) -> bool {
        self.tried.push(Arc::clone(address));
        self.tries += 1;
        self.tries < settings.attempts
    }

    /// Step after a failure. `has_untried` returns true if there is an address that it has not
    /// tried. It is called only where that counts, because a look at the addresses marks their last
    /// change as seen, and a pause ends with the next change.
    pub fn next(
        &mut self,
        failure: Failure,
        settings: &UpstreamSettings,
        has_untried: impl FnOnce(&Self) -> bool,
    ) -> Next {
        // Moving on does not multiply the load, but it takes time if addresses are silent.
        let in_time = self.opening < settings.connect_timeout * settings.attempts;
        let facts = Facts {
            has_other: failure.is_without_connection() && in_time && has_untried(self),
            may_move: self.moves < MOVES,
            // The first try is one of the attempts, too.
            may_try: self.tries + 1 < settings.attempts,
            has_hold: !settings.hold.is_zero(),
        };
        let (state, next) = self.state.after(failure, facts);
        self.state = state;
        match next {
            Next::Try => self.tries += 1,
            Next::Move => self.moves += 1,
            // An endpoint that was killed may accept connections for a moment longer.
            Next::Hold => self.hold.expect_no_haste(),
            Next::Now | Next::Other | Next::Pause | Next::Never => {}
        }
        next
    }

    /// Pauses before the next look for an address, or gives up.
    ///
    /// # Errors
    /// The given one, once the time of the hold is up.
    pub async fn pause(
        &mut self,
        error: Error,
        known: watch::Receiver<Known>,
    ) -> Result<(), Error> {
        self.hold.or_give_up(error, known).await?;
        // What was learned of addresses is out of date after a pause: each may be up again. So the
        // next look begins without them, and `hold` alone bounds the number of looks.
        self.tries = 0;
        self.opening = Duration::ZERO;
        self.tried.clear();
        // The state stays. A kept connection does not get better while the request waits, so the
        // next one must be fresh, or each look could meet another stale one. And what the request
        // did to endpoints (refused, unanswered) is learned of the request, not of an address, as
        // is the number of moves.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::retry::*;

    const STATES: [RetryState; 4] =
        [RetryState::Any, RetryState::Fresh, RetryState::Refused, RetryState::Unanswered];
    const FAILURES: [Failure; 10] = [
        Failure::Unopened,
        Failure::Untrusted,
        Failure::Untaken,
        Failure::Stale,
        Failure::GoingAway,
        Failure::Unprocessed,
        Failure::Refused,
        Failure::Closed,
        Failure::Unanswered,
        Failure::Unwanted,
    ];

    /// Step by the second table of [`RetryState`].
    fn step(word: &str, facts: Facts) -> Next {
        match word {
            "now" => Next::Now,
            "other" if facts.has_other => Next::Other,
            "other" => Next::Pause,
            "only" if facts.has_other => Next::Other,
            "only" => Next::Never,
            "move" if facts.may_move => Next::Move,
            "move" => Next::Pause,
            "try" if facts.may_try => Next::Try,
            "hold" if facts.has_hold => Next::Hold,
            "try" | "hold" | "never" => Next::Never,
            _ => panic!("no step is called {word}"),
        }
    }

    /// Rows of the first table of [`RetryState`]: the cells between the bars.
    fn rows() -> Vec<Vec<&'static str>> {
        let rows = include_str!("retry.rs").lines().filter_map(|line| line.strip_prefix("/// |"));
        rows.take_while(|row| !row.starts_with(" step"))
            .filter(|row| !row.starts_with("---"))
            .map(|row| row.trim_end_matches('|').split('|').map(str::trim).collect())
            .collect()
    }

    #[test]
    fn table_of_the_documentation_is_what_happens() {
        let rows = rows();
        let (head, rows) = rows.split_first().expect("a head");
        let name = |value: &dyn std::fmt::Debug| format!("`{value:?}`");
        assert_eq!(head[1..], STATES.each_ref().map(|state| name(state)));
        assert_eq!(rows.len(), FAILURES.len());
        let every_fact = (0..16).map(|bits| Facts {
            has_other: bits & 1 != 0,
            may_move: bits & 2 != 0,
            may_try: bits & 4 != 0,
            has_hold: bits & 8 != 0,
        });
        for (failure, row) in FAILURES.iter().zip(rows) {
            assert_eq!(row[0], name(failure));
            for (state, cell) in STATES.iter().zip(&row[1..]) {
                let (after, word) = cell.split_once(' ').expect("a state and a step");
                for facts in every_fact.clone() {
                    let (next_state, next) = state.after(*failure, facts);
                    let expected = (after.to_owned(), step(word, facts));
                    assert_eq!((name(&next_state), next), expected, "{state:?} {failure:?}");
                }
            }
        }
    }
}
