//! Judgement on a trace: which requests passed, waited and were rejected, and whether the envelope
//! of the limit was kept.
//!
//! Guarantee: pure, and exact to one request wherever the schedule leaves no doubt about the order:
//! one forwarded too many, one rejected too many, or one released more than [`EARLY_US`] before its
//! slot is a breach. Releases are compared in order, not request by request, because requests sent
//! together may be accepted in any order.

use super::{
    class::{Class, Counts},
    envelope::{MostOwed, Seen, Slot, slots},
    limit::Limit,
    oracle,
    trace::{End, Shot},
};

/// Tolerance for early releases: a server that cuts its clock to the millisecond may seem early by
/// this much.
pub const EARLY_US: u64 = 1_000;

/// Without a limit to compare with, a response slower than this counts as a wait.
pub const WAITED_US: u64 = 20_000;

/// Breach of the envelope; `shot` is the index in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// More forwarded within a window than `burst + 1 + rate * window`.
    TooMany {
        /// Request that was one too many.
        shot: usize,
        /// Requests forwarded in the window, this one included.
        forwarded: u64,
        /// Length of the window.
        within_us: u64,
        /// Requests that the window holds.
        allowed: u64,
    },
    /// Released before its slot.
    Early {
        /// Index of the request.
        shot: usize,
        /// Time before the slot.
        by_us: u64,
    },
    /// Rejected while a place was free.
    NeedlessReject {
        /// Index of the request.
        shot: usize,
    },
}

/// Time between slots and responses, in microseconds; negative is early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// Median.
    pub p50_us: i64,
    /// 90th percentile.
    pub p90_us: i64,
    /// 99th percentile.
    pub p99_us: i64,
    /// Maximum.
    pub max_us: i64,
    /// Minimum.
    pub min_us: i64,
}

/// Assumptions for judging a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Status that means reject.
    pub reject_status: u16,
    /// Limit that the server is said to keep.
    pub limit: Option<Limit>,
    /// Longest time between send and arrival of a forwarded request; that of a rejected one is
    /// bounded by its response.
    pub tolerance_us: u64,
}

/// Findings; the vectors have one element per request of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceJudgement {
    /// Class of each request.
    pub classes: Vec<Class>,
    /// Earliest release of each forwarded request.
    pub slots_us: Vec<Option<u64>>,
    /// Number of requests of each class.
    pub counts: Counts,
    /// Counts that the decision engine would give, had each request arrived when it was sent.
    pub expected: Option<Counts>,
    /// Lateness of forwarded requests against their slots.
    pub lateness: Option<Lateness>,
    /// Breaches of the envelope, by index in the trace.
    pub breaches: Vec<Breach>,
}

/// Judges a trace.
#[must_use]
pub fn judge(trace: &[Shot], view: &View) -> TraceJudgement {
    // The limit, if there is one, corrects these classes below: it knows which requests had to
    // wait.
    let mut judgement = TraceJudgement {
        classes: trace.iter().map(|shot| class_without_limit(shot, view.reject_status)).collect(),
        slots_us: vec![None; trace.len()],
        counts: Counts::default(),
        expected: None,
        lateness: None,
        breaches: Vec::new(),
    };
    if let Some(limit) = &view.limit {
        for client in by_client(trace) {
            judgement.hold(trace, view, limit, &client);
        }
        judgement.expected = oracle::expected(trace, limit).ok();
        judgement.lateness = judgement.measure(trace);
        judgement.breaches.sort_by_key(Breach::shot);
    }
    for class in &judgement.classes {
        judgement.counts.add(*class);
    }
    judgement
}

impl TraceJudgement {
    /// Checks the requests of one client, ordered by their sending, against the limit.
    fn hold(&mut self, trace: &[Shot], view: &View, limit: &Limit, client: &[usize]) {
        let seen = |class: fn(Class) -> bool, tolerance_us| -> Vec<Seen> {
            let chosen = client.iter().filter(|shot| class(self.classes[**shot]));
            chosen.map(|shot| see(trace, *shot, tolerance_us)).collect()
        };
        let forwarded = seen(|class| matches!(class, Class::Pass | Class::Wait), view.tolerance_us);
        // A request without a response may have been charged, and the server gets the benefit.
        let charged = seen(|class| class != Class::Reject, view.tolerance_us);
        // A reject is not held: it arrived at the latest when it was responded to, however long
        // that took.
        let rejected = seen(|class| class == Class::Reject, u64::MAX);
        // The lists above are made before `hand_out` changes the classes.
        let slots = slots(limit, &forwarded);
        self.breaches
            .extend(forwarded.iter().zip(&slots).filter_map(|(seen, slot)| too_many(seen, slot)));
        self.breaches.extend(early(&forwarded, &slots));
        let fullest = MostOwed::of(limit, &charged);
        let needless = rejected.iter().filter(|seen| fullest.had_place_for(seen));
        self.breaches.extend(needless.map(|seen| Breach::NeedlessReject { shot: seen.shot }));
        self.hand_out(&forwarded, &slots);
    }

    /// Assigns each forwarded request its slot: within a group of unknown order, the first response
    /// gets the first slot.
    fn hand_out(&mut self, forwarded: &[Seen], slots: &[Slot]) {
        let mut from = 0;
        while from < forwarded.len() {
            let to = group_end(forwarded, from);
            let mut answered: Vec<&Seen> = forwarded[from..to].iter().collect();
            answered.sort_by_key(|seen| seen.end_us);
            for (seen, slot) in answered.into_iter().zip(&slots[from..to]) {
                self.slots_us[seen.shot] = Some(slot.at_us);
                self.classes[seen.shot] = if slot.waits { Class::Wait } else { Class::Pass };
            }
            from = to;
        }
    }

    fn measure(&self, trace: &[Shot]) -> Option<Lateness> {
        let late = |(shot, slot): (&Shot, &Option<u64>)| {
            slot.map(|slot_us| difference(shot.end_us, slot_us))
        };
        let mut late_us: Vec<i64> = trace.iter().zip(&self.slots_us).filter_map(late).collect();
        late_us.sort_unstable();
        let rank =
            // Nearest rank: the smallest value that at least `percent` in a hundred do not exceed.
            |percent: usize| late_us[(late_us.len() * percent).div_ceil(100).saturating_sub(1)];
        let (min_us, max_us) = (*late_us.first()?, *late_us.last()?);
        Some(Lateness { p50_us: rank(50), p90_us: rank(90), p99_us: rank(99), max_us, min_us })
    }
}

impl Breach {
    /// Index of the request it is seen at.
    #[must_use]
    pub fn shot(&self) -> usize {
        match self {
            Self::TooMany { shot, .. }
            | Self::Early { shot, .. }
            | Self::NeedlessReject { shot } => *shot,
        }
    }
}

/// `end` minus `slot`.
pub(super) fn difference(end_us: u64, slot_us: u64) -> i64 {
    let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    signed(end_us) - signed(slot_us)
}

fn class_without_limit(shot: &Shot, reject_status: u16) -> Class {
    match shot.end {
        // First, because with 444 a reject is a closed connection, which is a failure otherwise.
        _ if shot.rejected(reject_status) => Class::Reject,
        End::Failed(_) => Class::Failed,
        End::Answer(_) if shot.took_us() > WAITED_US => Class::Wait,
        End::Answer(_) => Class::Pass,
    }
}

/// Indexes of the requests of each client, ordered by their sending.
fn by_client(trace: &[Shot]) -> Vec<Vec<usize>> {
    let clients = trace.iter().map(|shot| shot.client as usize + 1).max().unwrap_or(0);
    let mut places = vec![Vec::new(); clients];
    for (place, shot) in trace.iter().enumerate() {
        places[shot.client as usize].push(place);
    }
    for client in &mut places {
        client.sort_by_key(|place| trace[*place].sent_us);
    }
    places
}

fn see(trace: &[Shot], shot: usize, tolerance_us: u64) -> Seen {
    let Shot { sent_us, end_us, .. } = trace[shot];
    let end_us = end_us.max(sent_us);
    Seen { shot, sent_us, latest_us: end_us.min(sent_us.saturating_add(tolerance_us)), end_us }
}

fn too_many(seen: &Seen, slot: &Slot) -> Option<Breach> {
    let excess = slot.excess?;
    let (forwarded, within_us, allowed) = (excess.forwarded, excess.within_us, excess.allowed);
    Some(Breach::TooMany { shot: seen.shot, forwarded, within_us, allowed })
}

/// The k-th response must not come before the k-th slot.
fn early(forwarded: &[Seen], slots: &[Slot]) -> Vec<Breach> {
    let mut answered: Vec<&Seen> = forwarded.iter().collect();
    answered.sort_by_key(|seen| seen.end_us);
    // Both in order, because requests of one instant may be accepted in any order.
    let mut due_us: Vec<u64> = slots.iter().map(|slot| slot.at_us).collect();
    due_us.sort_unstable();
    let pairs = answered.into_iter().zip(due_us);
    let before = pairs.filter(|(seen, due_us)| seen.end_us + EARLY_US < *due_us);
    before
        .map(|(seen, due_us)| Breach::Early { shot: seen.shot, by_us: due_us - seen.end_us })
        .collect()
}

/// End of the group that begins at `from`: every request behind it was sent after all before it had
/// arrived.
fn group_end(forwarded: &[Seen], from: usize) -> usize {
    let mut latest_us = forwarded[from].latest_us;
    let mut to = from + 1;
    while to < forwarded.len() && forwarded[to].sent_us <= latest_us {
        latest_us = latest_us.max(forwarded[to].latest_us);
        to += 1;
    }
    to
}

#[cfg(test)]
mod tests {
    use crate::{
        limit::{Decision, Millis, zone::Intent},
        tools::burst::{
            judge::*,
            trace::sample::{trace, view},
        },
    };

    const LIMITS: [(&str, u32, u32); 8] = [
        ("10r/s", 20, 0),
        ("10r/s", 20, 20),
        ("10r/s", 20, 8),
        ("1r/s", 0, 0),
        ("5r/s", 12, 8),
        ("30r/m", 2, 1),
        ("3r/s", 4, 0),
        ("7r/s", 3, 1),
    ];

    const SCHEDULES: [&str; 4] = [
        "30 at once",
        "40 every 20ms, pause 2s, 8 every 20ms",
        "25 every 99ms",
        "5, pause 400ms, 9, pause 1s, 3 every 333ms",
    ];

    /// Rows of a server that keeps the limit exactly: arrivals as sent, responses at the slot.
    fn flawless(schedule: &str, limit: (&str, u32, u32)) -> Vec<(u64, u64, u16)> {
        let schedule: crate::tools::burst::Schedule = schedule.parse().expect("a schedule");
        let rule = view(Some(limit)).limit.expect("a limit").rule().expect("a rule");
        let answer = |sent_us: &u64| {
            let verdict = rule.decide(0, Millis(sent_us / 1_000), Intent::Charge);
            let status = if verdict.decision == Decision::Reject { 503 } else { 200 };
            (*sent_us, sent_us + verdict.wait.0 * 1_000, status)
        };
        schedule.offsets_us().iter().map(answer).collect()
    }

    fn breaches(rows: &[(u64, u64, u16)], limit: (&str, u32, u32)) -> Vec<Breach> {
        judge(&trace(rows), &view(Some(limit))).breaches
    }

    fn every_flawless(mut check: impl FnMut(Vec<(u64, u64, u16)>, (&str, u32, u32))) {
        for (limit, schedule) in
            LIMITS.iter().flat_map(|limit| SCHEDULES.iter().map(move |schedule| (limit, schedule)))
        {
            check(flawless(schedule, *limit), *limit);
        }
    }

    #[test]
    fn judge_flawless_server_has_no_breach_and_engine_counts() {
        every_flawless(|rows, limit| {
            let judgement = judge(&trace(&rows), &view(Some(limit)));
            assert_eq!(judgement.breaches, [], "{limit:?}");
            assert_eq!(Some(judgement.counts), judgement.expected, "{limit:?}");
        });
    }

    #[test]
    fn one_reject_forwarded_instead_is_one_too_many() {
        every_flawless(|rows, limit| {
            for place in (0..rows.len()).filter(|place| rows[*place].2 == 503) {
                let mut broken = rows.clone();
                broken[place].2 = 200;
                let found = breaches(&broken, limit);
                assert!(
                    found.iter().any(|breach| matches!(breach, Breach::TooMany { .. })),
                    "{limit:?} {place}"
                );
            }
        });
    }

    #[test]
    fn one_forwarded_rejected_instead_had_a_place() {
        every_flawless(|rows, limit| {
            for place in (0..rows.len()).filter(|place| rows[*place].2 == 200) {
                let mut broken = rows.clone();
                broken[place] = (broken[place].0, broken[place].0, 503);
                let found = breaches(&broken, limit);
                assert!(
                    found.contains(&Breach::NeedlessReject { shot: place }),
                    "{limit:?} {place}: {found:?}"
                );
            }
        });
    }

    #[test]
    fn one_release_two_milliseconds_early_is_seen_and_one_is_allowed() {
        every_flawless(|rows, limit| {
            for place in (0..rows.len()).filter(|place| rows[*place].1 >= rows[*place].0 + 2_000) {
                let mut moved = rows.clone();
                moved[place].1 -= 1_000;
                assert_eq!(breaches(&moved, limit), [], "{limit:?} {place}");
                moved[place].1 -= 1_000;
                assert_eq!(
                    breaches(&moved, limit),
                    [Breach::Early { shot: place, by_us: 2_000 }],
                    "{limit:?} {place}"
                );
            }
        });
    }

    #[test]
    fn requests_sent_together_may_be_taken_in_any_order() {
        let mut rows = flawless("30 at once", ("10r/s", 20, 8));
        rows.reverse();
        for (place, row) in rows.iter_mut().enumerate() {
            row.0 += place as u64 * 100;
            row.1 += 3_000;
        }
        let judgement = judge(&trace(&rows), &view(Some(("10r/s", 20, 8))));
        assert_eq!(judgement.breaches, []);
        assert_eq!(judgement.counts, Counts { pass: 9, wait: 12, reject: 9, failed: 0 });
        assert_eq!(judgement.classes[29], Class::Pass);
        // The first forwarded request was sent at 900 us.
        assert_eq!(judgement.slots_us[9], Some(1_200_900));
    }

    #[test]
    fn judge_lagging_server_is_late_without_breach() {
        let late = |(sent, end, status): &(u64, u64, u16)| (*sent, end + 700, *status);
        let rows: Vec<_> = flawless("30 at once", ("10r/s", 20, 0)).iter().map(late).collect();
        let judgement = judge(&trace(&rows), &view(Some(("10r/s", 20, 0))));
        assert_eq!(judgement.breaches, []);
        let late = Lateness { p50_us: 700, p90_us: 700, p99_us: 700, max_us: 700, min_us: 700 };
        assert_eq!(judgement.lateness, Some(late));
    }

    #[test]
    fn judge_reject_may_be_as_late_as_its_response() {
        let limit = ("10r/s", 0, 0);
        assert_eq!(breaches(&[(0, 40_000, 503), (30_000, 30_500, 200)], limit), []);
        assert_eq!(
            breaches(&[(0, 20_000, 503), (30_000, 30_500, 200)], limit),
            [Breach::NeedlessReject { shot: 0 }]
        );
    }

    #[test]
    fn report_describes_overflowing_window() {
        let rows = [(0, 0, 200), (50_000, 50_000, 200), (150_000, 150_000, 200)];
        let found = breaches(&rows, ("10r/s", 0, 0))
            .into_iter()
            .filter(|breach| !matches!(breach, Breach::Early { .. }));
        let too_many = |shot, forwarded, within_us, allowed| Breach::TooMany {
            shot,
            forwarded,
            within_us,
            allowed,
        };
        assert_eq!(
            found.collect::<Vec<_>>(),
            [too_many(1, 2, 50_000, 1), too_many(2, 3, 150_000, 2)]
        );
    }

    #[test]
    fn each_client_has_a_bucket_of_its_own() {
        let mut shots = trace(&[(0, 0, 200), (0, 0, 200), (0, 0, 503)]);
        shots[1].client = 1;
        let judgement = judge(&shots, &view(Some(("1r/s", 0, 0))));
        assert_eq!(judgement.breaches, []);
        assert_eq!(judgement.expected, Some(Counts { pass: 2, wait: 0, reject: 1, failed: 0 }));
    }

    #[test]
    fn judge_request_without_response_is_no_reject() {
        let mut shots = trace(&[(0, 0, 200), (500_000, 500_100, 503)]);
        shots[0].end = End::Failed(crate::tools::burst::Cause::Timeout);
        let judgement = judge(&shots, &view(Some(("1r/s", 0, 0))));
        assert_eq!(judgement.breaches, []);
        assert_eq!(judgement.counts, Counts { pass: 0, wait: 0, reject: 1, failed: 1 });
        shots[0].end = End::Failed(crate::tools::burst::Cause::Closed);
        let closing = View { reject_status: 444, ..view(None) };
        assert_eq!(judge(&shots, &closing).counts.reject, 1);
    }

    #[test]
    fn without_a_limit_slow_means_waited() {
        let judgement =
            judge(&trace(&[(0, 20_000, 200), (0, 20_001, 200), (0, 30_000, 503)]), &view(None));
        assert_eq!(judgement.counts, Counts { pass: 1, wait: 1, reject: 1, failed: 0 });
        assert_eq!((judgement.expected, judgement.lateness), (None, None));
    }
}
