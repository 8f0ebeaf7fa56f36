//! Two-sided envelope of a limit, checked for one client from outside, without the decision engine.
//!
//! The arrival time at the server is unknown. It lies in `[send, min(response, send + tolerance)]`
//! for a forwarded request, whose response may have been held, and in `[send, response]` for a
//! rejected one. The server may also cut its clock to a millisecond of unknown phase. Every check
//! uses the bound that favours the server: a reported breach is one under *every* possible order
//! and time of arrival.
//!
//! The upper side assumes the least debt: every request arrives as late as it can and earlier ones
//! as early as they can. With `burst` requests still owed at that time, one more forwarded is a
//! breach. The lower side assumes the greatest debt: everything forwarded arrived as late as it
//! can. If even then a place was free at every possible arrival of a rejected request, the reject
//! is a breach. Example: at `10r/s`, burst 0, forwarded at 0 ms and 90 ms with a tolerance of 5 ms:
//! the second arrived at 95 ms at the latest, so it owes at least 5 ms and should have been
//! rejected. Forwarded at 0 and 98 ms proves nothing.

use super::limit::{Debt, Limit};

/// Request as the envelope sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Index in the trace.
    pub shot: usize,
    /// Earliest possible arrival.
    pub sent_us: u64,
    /// Latest possible arrival.
    pub latest_us: u64,
    /// Time at which the response was seen.
    pub end_us: u64,
}

/// Requests charged without the bucket running empty in between.
#[derive(Clone, Copy, Debug)]
struct Busy {
    since_us: u64,
    count: u64,
}

impl Busy {
    /// Adds one request at `at_us`.
    fn charge(before: Option<Self>, at_us: u64, limit: &Limit) -> Self {
        match before {
            // A debt of zero starts a new busy time: idle time is not saved up.
            Some(busy) if busy.debt(limit, at_us - busy.since_us) > Debt::NONE => {
                Self { count: busy.count + 1, ..busy }
            }
            _ => Self { since_us: at_us, count: 1 },
        }
    }

    fn debt(self, limit: &Limit, elapsed_us: u64) -> Debt {
        limit.cost(self.count).less(limit.worth(elapsed_us))
    }
}

/// Verdict of the limit on one forwarded request, at the least debt that the trace allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Earliest release.
    pub at_us: u64,
    /// True if that is a wait.
    pub waits: bool,
    /// Set when it should not have been forwarded at all.
    pub excess: Option<Excess>,
}

/// Excess of forwarded requests over the capacity of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub forwarded: u64,
    pub within_us: u64,
    pub allowed: u64,
}

/// Slots of the forwarded requests, which are in the order of their sending.
pub(super) fn slots(limit: &Limit, forwarded: &[Seen]) -> Vec<Slot> {
    let mut busy: Option<Busy> = None;
    let mut slots = Vec::with_capacity(forwarded.len());
    for seen in forwarded {
        slots.push(busy.map_or(Slot { at_us: seen.sent_us, waits: false, excess: None }, |busy| {
            slot(limit, busy, seen)
        }));
        // Charged at its earliest arrival: the later ones then find the least debt.
        busy = Some(Busy::charge(busy, seen.sent_us, limit));
    }
    slots
}

fn slot(limit: &Limit, busy: Busy, seen: &Seen) -> Slot {
    let unheld = limit.cost(u64::from(limit.delay()));
    let wait_us = limit.whole_ms(busy.debt(limit, seen.sent_us - busy.since_us).less(unheld));
    // All `count` requests before it must be worked off, but for the debt that is not held.
    let release_us = busy.since_us + limit.whole_ms(limit.cost(busy.count).less(unheld));
    let waits = wait_us > 0;
    Slot {
        at_us: if waits { release_us } else { seen.sent_us },
        waits,
        excess: excess(limit, busy, seen),
    }
}

/// Upper side: even at its latest arrival the request found the burst full.
fn excess(limit: &Limit, busy: Busy, seen: &Seen) -> Option<Excess> {
    let burst = u64::from(limit.burst());
    let within_us = seen.latest_us - busy.since_us;
    // Between two readings of a clock that is cut to milliseconds there may seem to be up to one
    // more than there was: the server may have worked off that much.
    let elapsed_us = within_us.next_multiple_of(1_000);
    let full = busy.debt(limit, elapsed_us) > limit.cost(burst);
    full.then(|| Excess {
        forwarded: busy.count + 1,
        within_us,
        allowed: burst + 1 + limit.earned(elapsed_us),
    })
}

/// Greatest debt that a client may have had at any time: everything forwarded arrived as late as it
/// can.
pub(super) struct MostOwed<'a> {
    limit: &'a Limit,
    sent_us: Vec<u64>,
    latest_us: Vec<u64>,
    busy: Vec<Busy>,
}

impl<'a> MostOwed<'a> {
    /// Builds it from `charged`: all requests that the server forwarded or may have, in the order
    /// of sending.
    pub fn of(limit: &'a Limit, charged: &[Seen]) -> Self {
        let mut latest_us: Vec<u64> = Vec::with_capacity(charged.len());
        let mut busy: Vec<Busy> = Vec::with_capacity(charged.len());
        for seen in charged {
            // If one request may be late, all behind it may be: the order of arrival is unknown.
            let at_us =
                latest_us.last().map_or(seen.latest_us, |before| seen.latest_us.max(*before));
            latest_us.push(at_us);
            busy.push(Busy::charge(busy.last().copied(), at_us, limit));
        }
        Self { limit, sent_us: charged.iter().map(|seen| seen.sent_us).collect(), latest_us, busy }
    }

    /// Lower side: whenever the rejected request arrived, there was a place.
    pub fn had_place_for(&self, rejected: &Seen) -> bool {
        let sent_before = |at_us: u64| self.sent_us.partition_point(|sent_us| *sent_us <= at_us);
        let while_under_way =
            &self.sent_us[sent_before(rejected.sent_us)..sent_before(rejected.latest_us)];
        let full_burst = self.limit.cost(u64::from(self.limit.burst()));
        // Between two sends the debt can only fall. So within the time in which the request may
        // have arrived it is greatest at the beginning, or at one of the sends.
        let mut instants = while_under_way.iter().rev().chain([&rejected.sent_us]);
        !instants.any(|at_us| self.most_owed(*at_us) > full_burst)
    }

    fn most_owed(&self, at_us: u64) -> Debt {
        // Requests that have certainly arrived owe what is left since; those that may have arrived
        // owe their whole cost, as if they arrived just now.
        let arrived = self.sent_us.partition_point(|sent_us| *sent_us <= at_us);
        let settled = self.latest_us.partition_point(|latest_us| *latest_us <= at_us);
        let old =
            settled.checked_sub(1).map_or(Debt::NONE, |last| self.owed(self.busy[last], at_us));
        old.plus(self.limit.cost((arrived - settled) as u64))
    }

    /// The server cuts its clock to the millisecond, so it may have counted one less.
    fn owed(&self, busy: Busy, at_us: u64) -> Debt {
        let whole_ms = (at_us - busy.since_us) / 1_000;
        // If steps are not whole milliseconds, an older busy time cut elsewhere may reach a little
        // further.
        let slack_ms = u64::from(whole_ms > 0 && !self.limit.steps_are_whole_ms());
        busy.debt(self.limit, (whole_ms - slack_ms) * 1_000)
    }
}
