//! A delayed request and the places it holds, one in each rule of its route.
//!
//! Whoever holds it asks [`Parked::look`] when to look again, until it is released; a leave by
//! others may bring that forward and then wakes. No clock is read and no timer armed here.

use std::{sync::Arc, task::Waker};

use super::{
    line::{Holder, Leaver, Scale, WaitLine, Wakes},
    millis::Millis,
    rule::Charge,
    zone::Zone,
};

/// A delayed request: a place in the line of each rule that holds it, and the places it took in the
/// others.
///
/// [`Parked::leave`] gives the places up. Dropped without it, before its release, its places count
/// as used.
#[derive(Debug)]
#[must_use = "a delayed request must be held until its release, or leave"]
pub struct Parked {
    holder: Arc<Holder>,
    told: Millis,
    zone: Arc<Zone>,
    charges: Vec<Held>,
}

/// One rule's charge.
#[derive(Debug)]
struct Held {
    zone: Arc<Zone>,
    rule: usize,
    charge: Charge,
    /// When it is through here if nobody before it leaves.
    told: Millis,
}

impl Held {
    /// Works on the line of its key.
    fn in_line<R>(&self, work: impl FnOnce(&mut WaitLine, Scale, &mut Wakes) -> R) -> R {
        let scale = self.zone.scale();
        self.zone.lines().with(self.charge.fingerprint, |line, wakes| work(line, scale, wakes))
    }
}

/// What a parked request is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go: it is through in every rule, since this millisecond.
    Go(Millis),
    /// Look again at this millisecond, or when woken.
    LookAt(Millis),
}

impl Parked {
    /// Parked until `told` by a rule of `zone`.
    pub(super) fn new(holder: Arc<Holder>, told: Millis, zone: Arc<Zone>) -> Self {
        Self { holder, told, zone, charges: Vec::new() }
    }

    pub(super) fn add(&mut self, zone: &Arc<Zone>, rule: usize, charge: Charge, told: Millis) {
        self.charges.push(Held { zone: Arc::clone(zone), rule, charge, told });
    }

    /// The millisecond at which it is released if nobody before it leaves, and never later.
    #[must_use]
    pub fn told(&self) -> Millis {
        self.told
    }

    /// The zone whose rule holds it longest.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Looks at its lines at `now`. `waker` is woken when it should look again before the time that
    /// is returned.
    pub fn look(&self, now: Millis, waker: &Waker) -> Next {
        self.holder.set_waker(waker);
        // By `latest` it is through wherever it stands. Once it is through in one of its lines,
        // that may be earlier.
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

    /// The latest millisecond it was told by a rule in whose line it still stands.
    fn latest(&self) -> Option<Millis> {
        self.standing().map(|(held, _)| held.told).max()
    }

    /// Whether it is through in every rule by `deadline`, from where it stands now.
    #[must_use]
    pub fn is_in_time(&self, deadline: Millis) -> bool {
        self.told <= deadline
            || self.standing().all(|(held, number)| {
                held.in_line(|line, scale, _| line.is_in_time(number, deadline, scale))
            })
    }

    /// Leaves at `now`, before its release: everybody behind it moves up. Once it is released
    /// nothing changes any more.
    pub fn leave(mut self, now: Millis) {
        // Within one millisecond those who are due go first, and this one may be among them.
        for (held, _) in self.standing() {
            held.in_line(|line, scale, wakes| line.advance(now, scale, wakes));
        }
        let was_held =
            self.charges.iter().any(|held| matches!(held.charge.leaver, Leaver::Standing(_)));
        let is_released = was_held && self.standing().next().is_none();
        let charges = std::mem::take(&mut self.charges);
        if is_released {
            return;
        }
        for held in charges {
            let through = self.holder.place(held.rule).map(Leaver::Through);
            held.zone.leave(held.charge.fingerprint, through.unwrap_or(held.charge.leaver), now);
        }
    }

    fn stands(&self, held: &Held) -> bool {
        matches!(held.charge.leaver, Leaver::Standing(_)) && self.holder.place(held.rule).is_none()
    }

    /// The rules in whose lines it stands, with its number there.
    fn standing(&self) -> impl Iterator<Item = (&Held, u64)> {
        self.charges.iter().filter_map(|held| match held.charge.leaver {
            Leaver::Standing(number) if self.stands(held) => Some((held, number)),
            _ => None,
        })
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        for (held, number) in self.standing() {
            held.in_line(|line, _, _| line.forget(number));
        }
    }
}
