//! Delayed request and the places it holds, one in each rule of its route.
//!
//! The holder calls [`Parked::look`] to learn when to look again, until the request is released.
//! Requests that leave may bring that time forward; the waker is called then. No clock is read and
//! no timer armed here.

use std::{sync::Arc, task::Waker};

use super::{
    line::{Holder, Leaver, Scale, WaitLine, Wakes},
    millis::Millis,
    rule::Charge,
    zone::Zone,
};

/// Delayed request: a place in the line of each rule that holds it, and the places it took in the
/// other rules.
///
/// [`Parked::leave`] gives the places back. If it is dropped before its release without that, its
/// places count as used.
#[derive(Debug)]
#[must_use = "a delayed request must be held until its release, or leave"]
pub struct Parked {
    holder: Arc<Holder>,
    told: Millis,
    zone: Arc<Zone>,
    charges: Vec<Held>,
}

/// Charge to one rule.
#[derive(Debug)]
struct Held {
    zone: Arc<Zone>,
    rule: usize,
    charge: Charge,
    /// Time at which the request is through here if no request ahead leaves.
    told: Millis,
}

impl Held {
    /// Runs `work` on the line of its key.
    fn in_line<R>(&self, work: impl FnOnce(&mut WaitLine, Scale, &mut Wakes) -> R) -> R {
        let scale = self.zone.scale();
        self.zone.lines().with(self.charge.fingerprint, |line, wakes| work(line, scale, wakes))
    }
}

/// Next step of a parked request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forward it: it is through in every rule since this millisecond.
    Go(Millis),
    /// Look again at this millisecond, or when woken.
    LookAt(Millis),
}

impl Parked {
    /// Parks a request until `told` by a rule of `zone`.
    pub(super) fn new(holder: Arc<Holder>, told: Millis, zone: Arc<Zone>) -> Self {
        Self { holder, told, zone, charges: Vec::new() }
    }

    pub(super) fn add(&mut self, zone: &Arc<Zone>, rule: usize, charge: Charge, told: Millis) {
        self.charges.push(Held { zone: Arc::clone(zone), rule, charge, told });
    }

    /// Millisecond at which the request is released if no request ahead leaves. It is never later.
    #[must_use]
    pub fn told(&self) -> Millis {
        self.told
    }

    /// Zone of the rule that holds the request longest.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Looks at the lines at `now`. `waker` is called when the request should look again before the
    /// returned time.
    pub fn look(&self, now: Millis, waker: &Waker) -> Next {
        // Before any line is looked at: a request that leaves between a look and this call would
        // wake an outdated waker, and the release would be late.
        self.holder.set_waker(waker);
        // At `latest` the request is through wherever it stands. Once it is through in one of its
        // lines, `latest` may become earlier.
        while let Some(latest) = self.latest() {
            let looks = self.standing().filter_map(|(held, number)| {
                held.in_line(|line, scale, wakes| {
                    line.advance(now, scale, wakes);
                    line.next_look(number, latest, scale)
                })
            });
            if let Some(next) = looks.min()
                && self.latest() == Some(latest)
            {
                return Next::LookAt(next);
            }
        }
        Next::Go(self.holder.through_at())
    }

    /// Latest millisecond computed on arrival by a rule in whose line the request still stands.
    fn latest(&self) -> Option<Millis> {
        self.standing().map(|(held, _)| held.told).max()
    }

    /// Returns true if the request is through in every rule by `deadline`, judged from its present
    /// places.
    #[must_use]
    pub fn is_in_time(&self, deadline: Millis) -> bool {
        // No request is later than computed on arrival, so this case needs no lock.
        self.told <= deadline
            || self.standing().all(|(held, number)| {
                held.in_line(|line, scale, _| line.is_in_time(number, deadline, scale))
            })
    }

    /// Leaves at `now`, before the release: all requests behind it move up. After the release this
    /// changes nothing.
    pub fn leave(mut self, now: Millis) {
        // Within one millisecond, requests that are due go first, and this one may be among them.
        for (held, _) in self.standing() {
            held.in_line(|line, scale, wakes| line.advance(now, scale, wakes));
        }
        // A request that lost a race was charged but never stood in a line: it gives everything
        // back. One that stood in lines and stands in none is released, and its places are used.
        let was_held =
            self.charges.iter().any(|held| matches!(held.charge.leaver, Leaver::Standing(_)));
        let is_released = was_held && self.standing().next().is_none();
        // Taken, so that `drop` finds no charge left.
        let charges = std::mem::take(&mut self.charges);
        if is_released {
            return;
        }
        for held in charges {
            // A rule may have let the request through since its charge. The place is in the holder
            // then.
            let Charge { fingerprint, leaver, cost, .. } = held.charge;
            // Where its places before the last one were after the line moved up is not known: they
            // are lost.
            let (leaver, cost) = match self.holder.place(held.rule) {
                Some(place) => (Leaver::Through(place), 1),
                None => (leaver, cost),
            };
            held.zone.leave(fingerprint, leaver, cost, now);
        }
    }

    fn stands(&self, held: &Held) -> bool {
        matches!(held.charge.leaver, Leaver::Standing(_)) && self.holder.place(held.rule).is_none()
    }

    /// Rules in whose lines the request stands, with its number there.
    fn standing(&self) -> impl Iterator<Item = (&Held, u64)> {
        self.charges.iter().filter_map(|held| match held.charge.leaver {
            Leaver::Standing(number) if self.stands(held) => Some((held, number)),
            _ => None,
        })
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // No time is known here, so the line cannot move up. It must not wait for this request
        // either.
        for (held, number) in self.standing() {
            held.in_line(|line, _, _| {
                (0..u64::from(held.charge.cost)).for_each(|step| line.forget(number - step));
            });
        }
    }
}
