//! The two-sided envelope of a limit, checked for one client from outside, without asking the
//! decision engine.
//!
//! A server's own arrival time is not seen. It lies between the send and the answer and, as an
//! answer may have waited, no further from the send than the tolerance if the request was
//! forwarded; and the server cuts it to a millisecond of a clock whose phase is unknown. So every
//! check takes the reading that favours the server: a breach that is reported is one under *every*
//! possible order and time of arrival.

use super::limit::{Debt, Limit};

/// A request as the envelope sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its place in the trace.
    pub shot: usize,
    /// The earliest it can have arrived.
    pub sent_us: u64,
    /// The latest it can have arrived.
    pub latest_us: u64,
    /// When its answer was seen.
    pub end_us: u64,
}

/// Requests charged without the bucket running empty in between.
#[derive(Clone, Copy, Debug)]
struct Busy {
    since_us: u64,
    count: u64,
}

impl Busy {
    /// One more request at `at_us`.
    fn charge(before: Option<Self>, at_us: u64, limit: &Limit) -> Self {
        match before {
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

/// What the limit makes of one forwarded request, at the least debt the trace allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// When it may be released.
    pub at_us: u64,
    /// Whether that is a wait.
    pub waits: bool,
    /// Set when it should not have been forwarded at all.
    pub excess: Option<Excess>,
}

/// More forwarded than a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub forwarded: u64,
    pub within_us: u64,
    pub allowed: u64,
}

/// The slots of the forwarded requests, which are in the order of their sending.
pub(super) fn slots(limit: &Limit, forwarded: &[Seen]) -> Vec<Slot> {
    let mut busy: Option<Busy> = None;
    let mut slots = Vec::with_capacity(forwarded.len());
    for seen in forwarded {
        slots.push(busy.map_or(Slot { at_us: seen.sent_us, waits: false, excess: None }, |busy| {
            slot(limit, busy, seen)
        }));
        busy = Some(Busy::charge(busy, seen.sent_us, limit));
    }
    slots
}

fn slot(limit: &Limit, busy: Busy, seen: &Seen) -> Slot {
    let unheld = limit.cost(u64::from(limit.delay()));
    let wait_us = limit.whole_ms(busy.debt(limit, seen.sent_us - busy.since_us).less(unheld));
    let release_us = busy.since_us + limit.whole_ms(limit.cost(busy.count).less(unheld));
    let waits = wait_us > 0;
    Slot {
        at_us: if waits { release_us } else { seen.sent_us },
        waits,
        excess: excess(limit, busy, seen),
    }
}

/// The upper side: even at its latest the request found the burst full.
fn excess(limit: &Limit, busy: Busy, seen: &Seen) -> Option<Excess> {
    let burst = u64::from(limit.burst());
    let within_us = seen.latest_us - busy.since_us;
    let elapsed_us = within_us.next_multiple_of(1_000);
    let full = busy.debt(limit, elapsed_us) > limit.cost(burst);
    full.then(|| Excess {
        forwarded: busy.count + 1,
        within_us,
        allowed: burst + 1 + limit.earned(elapsed_us),
    })
}

/// The most a client may have owed at any time: everything forwarded, as late as it can have
/// arrived.
pub(super) struct MostOwed<'a> {
    limit: &'a Limit,
    sent_us: Vec<u64>,
    latest_us: Vec<u64>,
    busy: Vec<Busy>,
}

impl<'a> MostOwed<'a> {
    /// `charged` is what the server forwarded or may have, in the order of sending.
    pub fn of(limit: &'a Limit, charged: &[Seen]) -> Self {
        let mut latest_us: Vec<u64> = Vec::with_capacity(charged.len());
        let mut busy: Vec<Busy> = Vec::with_capacity(charged.len());
        for seen in charged {
            // A request that may be late lets all behind it be late: the order is not known.
            let at_us =
                latest_us.last().map_or(seen.latest_us, |before| seen.latest_us.max(*before));
            latest_us.push(at_us);
            busy.push(Busy::charge(busy.last().copied(), at_us, limit));
        }
        Self { limit, sent_us: charged.iter().map(|seen| seen.sent_us).collect(), latest_us, busy }
    }

    /// The lower side: whenever the rejected request arrived, there was a place.
    pub fn had_place_for(&self, rejected: &Seen) -> bool {
        let sent_before = |at_us: u64| self.sent_us.partition_point(|sent_us| *sent_us <= at_us);
        let while_under_way =
            &self.sent_us[sent_before(rejected.sent_us)..sent_before(rejected.latest_us)];
        let full_burst = self.limit.cost(u64::from(self.limit.burst()));
        let mut instants = while_under_way.iter().rev().chain([&rejected.sent_us]);
        !instants.any(|at_us| self.most_owed(*at_us) > full_burst)
    }

    fn most_owed(&self, at_us: u64) -> Debt {
        let arrived = self.sent_us.partition_point(|sent_us| *sent_us <= at_us);
        let settled = self.latest_us.partition_point(|latest_us| *latest_us <= at_us);
        let old =
            settled.checked_sub(1).map_or(Debt::NONE, |last| self.owed(self.busy[last], at_us));
        old.plus(self.limit.cost((arrived - settled) as u64))
    }

    /// The server's clock is cut to the millisecond, so it may have counted one less.
    fn owed(&self, busy: Busy, at_us: u64) -> Debt {
        let whole_ms = (at_us - busy.since_us) / 1_000;
        // Where steps are no whole milliseconds, an older busy time cut elsewhere may reach a
        // little further.
        let slack_ms = u64::from(whole_ms > 0 && !self.limit.steps_are_whole_ms());
        busy.debt(self.limit, (whole_ms - slack_ms) * 1_000)
    }
}
