//! Waiting lines: the parked requests of a zone and key in order of arrival, and the places they
//! hold.
//!
//! A place is one interval `T` of the rate of the key, named by its `begin` in ticks. The
//! theoretical arrival time (TAT) in the table hands out places at the tail. A parked request is
//! *through* in a rule at `max(arrival, begin - delay * T)`, cut to whole milliseconds, and is
//! released when it is through in every rule. Until then it stands in the line of its key.
//!
//! Guarantees, for requests that leave at any moment: places of forwarded requests of a key are at
//! least `T` apart, no request is later than computed on its arrival, and the order of arrival is
//! kept (`limit/tests/engine/line.rs`, worked examples in docs/limits.md).
//!
//! A line stores its places apart from its people: the i-th person holds the i-th place. A leave
//! therefore removes one person and the *last* place, and everyone behind has moved up by rank
//! without being touched:
//!
//! ```text
//! people  r2   r3   r4   r5          r3 leaves        people  r2   r4   r5
//! places  100  200  300  400   ->   400 goes back ->  places  100  200  300      TAT 500 -> 400
//! ```
//!
//! The freed place becomes the tail again if no place was handed out behind it: TAT is lowered from
//! `begin + T` to `begin` by compare-and-swap. If that fails, a request has passed behind the line
//! in the meantime and the place is lost. Lowering TAT by `T` regardless would hand out the place
//! of that request a second time.
//!
//! A line exists only while a request stands in it. No clock is read here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;

use super::{millis::Millis, verdict::MAX_RULES};

/// Number of locks over the lines of a zone. Keys that share a lock wait for each other for the
/// length of one operation.
const SHARDS: usize = 16;
/// Parked requests up to which their lines give back no memory.
const KEPT_LINES: usize = 1_024;
/// Stands for no place, no time and no number, none of which is ever this large.
const NONE: u64 = u64::MAX;

/// State that a parked request shares with the lines it stands in.
#[derive(Debug)]
pub(super) struct Holder {
    waker: Mutex<Option<Waker>>,
    /// By rule: the begin of the place with which the request got through or passed.
    places: [AtomicU64; MAX_RULES],
    /// Latest millisecond at which the request got through in a rule.
    through_at: AtomicU64,
}

impl Holder {
    pub fn new() -> Arc<Self> {
        let places = [const { AtomicU64::new(NONE) }; MAX_RULES];
        Arc::new(Self { waker: Mutex::new(None), places, through_at: AtomicU64::new(0) })
    }

    /// Place with which the request got through in a rule; none while it stands in the line of that
    /// rule.
    pub fn place(&self, rule: usize) -> Option<u64> {
        Some(self.places[rule].load(Ordering::Acquire)).filter(|place| *place != NONE)
    }

    /// Latest millisecond at which the request got through in a rule, so far.
    pub fn through_at(&self) -> Millis {
        Millis(self.through_at.load(Ordering::Acquire))
    }

    pub fn set_waker(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            // `clone_from` keeps a waker of the same task, which every further poll brings.
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        // Cloned first: `wake` is foreign code and may poll the request, which takes this lock.
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Position of a request that leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaver {
    /// In the line, under this number.
    Standing(u64),
    /// No longer in the line: it is through with this place.
    Through(u64),
}

impl Leaver {
    /// Position of the place that a request of several has `step` before its last one.
    pub fn before(self, step: u64, scale: Scale) -> Self {
        match self {
            Self::Standing(number) => Self::Standing(number - step),
            Self::Through(place) => Self::Through(place - step * scale.interval),
        }
    }
}

/// Time scale of a zone: converts a place into an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub interval: u64,
    pub ticks_per_ms: u64,
}

impl Scale {
    pub fn ticks(self, now: Millis) -> u64 {
        now.0.saturating_mul(self.ticks_per_ms)
    }
}

/// Request that enters a line.
pub(super) struct LineEntry<'a> {
    pub holder: &'a Arc<Holder>,
    /// Index of the rule among those of the holder.
    pub rule: usize,
    /// Ticks before the begin of its place at which the request is through: `delay * T`.
    pub unheld_ticks: u64,
    pub scale: Scale,
}

/// One parked request in one line, or a further place of it.
///
/// A request of several places stands in the line as often. It is through with the last one, and
/// the others get through with it: each knows how far the last is away, at least.
#[derive(Debug)]
struct Person {
    holder: Arc<Holder>,
    /// Index of the rule among those of the holder.
    rule: usize,
    /// Ticks before the begin of its place at which the request is through: `delay * T`.
    unheld_ticks: u64,
    /// Ticks from this place to the last one of the request; 0 for the last one itself.
    to_last: u64,
    /// Time at which the holder looks at the line by itself; [`NONE`] before its first look.
    looks_at: u64,
}

impl Person {
    /// Millisecond at which the request is through with this place.
    fn due(&self, place: u64, scale: Scale) -> u64 {
        (place + self.to_last).saturating_sub(self.unheld_ticks) / scale.ticks_per_ms
    }

    fn get_through(&self, place: u64, at: Millis, now: Millis, wakes: &mut Wakes) {
        if self.to_last > 0 {
            return;
        }
        // Before the place is stored: a holder that sees its last place reads the instant of its
        // release next.
        self.holder.through_at.fetch_max(at.0, Ordering::AcqRel);
        self.holder.places[self.rule].store(place, Ordering::Release);
        // A holder that looks by itself at this moment needs no wake-up.
        if self.looks_at > now.0 {
            wakes.0.push(Arc::clone(&self.holder));
        }
    }
}

/// Line of one key.
#[derive(Debug, Default)]
pub(super) struct WaitLine {
    /// Begins in ascending order: the i-th belongs to the i-th person.
    places: VecDeque<u64>,
    /// People by the number they drew on arrival.
    people: BTreeMap<u64, Person>,
    next_number: u64,
    /// The line has moved up: from now on the first person must look at the line when its place
    /// comes, not at the time computed on arrival.
    moved: bool,
    /// Rules of different `delay` stand here, so the first person is not necessarily through first.
    mixed: bool,
    /// For the end of a drain in milliseconds: the number of the first person that was too late for
    /// it.
    too_late: Option<(u64, u64)>,
}

/// Delays seen so far: few, as there are only as many as the rules of a zone differ in.
#[derive(Default)]
struct Delays {
    seen: [Option<u64>; MAX_RULES],
}

impl Delays {
    /// Returns true if this delay was not seen before. When the array is full, every delay counts
    /// as new.
    fn is_first(&mut self, delay: u64) -> bool {
        for seen in &mut self.seen {
            match seen {
                Some(known) if *known == delay => return false,
                Some(_) => {}
                None => {
                    *seen = Some(delay);
                    return true;
                }
            }
        }
        true
    }
}

/// Wakers to call once no lock is held.
#[derive(Debug, Default)]
pub(super) struct Wakes(Vec<Arc<Holder>>);

/// All lines of a zone.
#[derive(Debug)]
pub(super) struct Lines {
    by_key: DashMap<u64, WaitLine, FixedState>,
    standing: AtomicUsize,
    /// Most requests that stood since memory was given back.
    crowd: AtomicUsize,
}

impl Lines {
    pub fn new() -> Self {
        // Fingerprints are keyed hashes, so a fixed hash of them gives a client no way to collide.
        let hasher = FixedState::with_seed(0);
        Self {
            by_key: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher, SHARDS),
            standing: AtomicUsize::new(0),
            crowd: AtomicUsize::new(0),
        }
    }

    /// Returns true if no request stands in any line.
    pub fn is_empty(&self) -> bool {
        self.standing.load(Ordering::Acquire) == 0
    }

    /// Runs `work` on the line of a key under its lock, then calls the wakers it collected.
    pub fn with<R>(
        &self,
        fingerprint: u64,
        work: impl FnOnce(&mut WaitLine, &mut Wakes) -> R,
    ) -> R {
        let mut wakes = Wakes::default();
        let mut entry = match self.by_key.entry(fingerprint) {
            Entry::Occupied(line) => line,
            Entry::Vacant(none) => none.insert_entry(WaitLine::default()),
        };
        let line = entry.get_mut();
        let before = line.people.len();
        let outcome = work(line, &mut wakes);
        let after = line.people.len();
        // Counted within the lock, so that every thread that sees the line finds it counted.
        // A decrease wraps: adding 2^64 - 1 subtracts one.
        let change = after.wrapping_sub(before);
        let standing = self.standing.fetch_add(change, Ordering::AcqRel).wrapping_add(change);
        // Numbers begin at 0 again in the next line of the key. That is safe: a request with a
        // number of this line would still stand in it.
        if after == 0 {
            entry.remove();
        } else {
            drop(entry);
        }
        self.fit_memory(standing);
        wakes.0.iter().for_each(|holder| holder.wake());
        outcome
    }

    /// Gives back the memory for lines once most of a crowd has left. It takes one lock after the
    /// other, so none may be held.
    fn fit_memory(&self, standing: usize) {
        let crowd = self.crowd.fetch_max(standing, Ordering::Relaxed);
        // Another thread may do the same at this moment: the second finds little to do.
        if crowd > KEPT_LINES && standing < crowd / 4 {
            self.crowd.store(standing, Ordering::Relaxed);
            self.by_key.shrink_to_fit();
        }
    }
}

impl WaitLine {
    /// Lower bound of TAT while the line exists, also when its key was evicted from the table.
    pub fn tail(&self, scale: Scale) -> u64 {
        self.places.back().map_or(0, |place| place.saturating_add(scale.interval))
    }

    /// Adds a request at the tail, whose last place of `cost` ones is `place`, and returns the
    /// number of that one. The numbers of the others are those before it.
    pub fn enter(&mut self, place: u64, cost: u32, entry: &LineEntry<'_>) -> u64 {
        let LineEntry { holder, rule, unheld_ticks, scale } = *entry;
        // The last request is enough to compare with: in a line that is not mixed, all have one
        // delay.
        self.mixed |=
            self.people.values().next_back().is_some_and(|last| last.unheld_ticks != unheld_ticks);
        // The new request may be the first that is too late.
        self.too_late = None;
        for step in (0..u64::from(cost)).rev() {
            let (holder, to_last) = (Arc::clone(holder), step * scale.interval);
            let person = Person { holder, rule, unheld_ticks, to_last, looks_at: NONE };
            self.places.push_back(place - to_last);
            self.people.insert(self.next_number, person);
            self.next_number += 1;
        }
        self.next_number - 1
    }

    /// Lets through every request whose time has come.
    pub fn advance(&mut self, now: Millis, scale: Scale, wakes: &mut Wakes) {
        self.let_through(now, Millis::ZERO, scale, wakes);
        self.wake_early(scale, wakes);
    }

    /// Lets through every request that is due at `now`, at the millisecond its place names and not
    /// before `moved_at`.
    fn let_through(&mut self, now: Millis, moved_at: Millis, scale: Scale, wakes: &mut Wakes) {
        if self.mixed {
            return self.let_through_mixed(now, moved_at, scale, wakes);
        }
        while let (Some(first), Some(place)) =
            (self.people.first_entry(), self.places.front().copied())
        {
            // With one delay all dues ascend like the places, so the first one in the future ends
            // the search.
            let due = first.get().due(place, scale);
            if due > now.0 {
                break;
            }
            // A move can give a request a place that is past. It gets through at the move, not
            // before.
            first.remove().get_through(place, Millis(due).max(moved_at), now, wakes);
            self.places.pop_front();
        }
    }

    /// Variant for several delays: a later request may be through before an earlier one, each with
    /// the place of its rank.
    fn let_through_mixed(
        &mut self,
        now: Millis,
        moved_at: Millis,
        scale: Scale,
        wakes: &mut Wakes,
    ) {
        let is_due = |(person, place): (&Person, &u64)| person.due(*place, scale) <= now.0;
        // A look at which no request is due must not build the line again.
        if !self.people.values().zip(&self.places).any(is_due) {
            return;
        }
        let mut places = std::mem::take(&mut self.places).into_iter();
        let mut kept = VecDeque::with_capacity(places.len());
        // `retain` visits in ascending order of the numbers, so people and places meet by rank.
        self.people.retain(|_, person| {
            let Some(place) = places.next() else { return true };
            let due = person.due(place, scale);
            if due > now.0 {
                kept.push_back(place);
            } else {
                person.get_through(place, Millis(due).max(moved_at), now, wakes);
            }
            due > now.0
        });
        self.places = kept;
    }

    /// In a line that moved up, wakes the requests whose place now comes before they would look.
    ///
    /// Only the first request needs to look in time: it wakes the next when it is through. In a
    /// mixed line that is the first of each delay, because of two requests with the same delay the
    /// earlier one is due first.
    fn wake_early(&mut self, scale: Scale, wakes: &mut Wakes) {
        // Without a move every request looks at the time computed on arrival, which is its due.
        if !self.moved {
            return;
        }
        let (all, mut seen) = (if self.mixed { self.people.len() } else { 1 }, Delays::default());
        for (person, place) in self.people.values_mut().zip(&self.places).take(all) {
            if !seen.is_first(person.unheld_ticks) {
                continue;
            }
            let due = person.due(*place, scale);
            if due < person.looks_at {
                // Remembered, so that a further leave wakes this request only if it becomes due
                // earlier still.
                person.looks_at = due;
                wakes.0.push(Arc::clone(&person.holder));
            }
        }
    }

    /// Returns true if no other request of the same delay stands before this one.
    fn is_first(&self, number: u64) -> bool {
        let Some(person) = self.people.get(&number) else { return false };
        let is_own = |other: &Person| Arc::ptr_eq(&other.holder, &person.holder);
        let mut before = self.people.range(..number).map(|(_, other)| other);
        if self.mixed {
            before.all(|other| other.unheld_ticks != person.unheld_ticks || is_own(other))
        } else {
            before.all(is_own)
        }
    }

    /// Time at which this request must look again, `latest` at the latest. A request that is not
    /// first is woken when it becomes first.
    pub fn next_look(&mut self, number: u64, latest: Millis, scale: Scale) -> Option<Millis> {
        let place = if self.moved && self.is_first(number) { self.place(number) } else { None };
        let person = self.people.get_mut(&number)?;
        let due = place.map_or(latest.0, |place| person.due(place, scale).min(latest.0));
        person.looks_at = due;
        Some(Millis(due))
    }

    /// Removes a request that leaves at `now` and returns the place that is freed at the tail.
    ///
    /// A request that is through here but held by another rule has a place as well. That place is
    /// free only while it is not past.
    pub fn leave(
        &mut self,
        leaver: Leaver,
        now: Millis,
        scale: Scale,
        wakes: &mut Wakes,
    ) -> Option<u64> {
        // Within one millisecond, requests that are due go before the one that leaves.
        self.advance(now, scale, wakes);
        let freed = match leaver {
            // A place before the last one of a request may be past although it still stands.
            Leaver::Standing(number) if self.is_past(number, scale.ticks(now)) => {
                self.forget(number);
                return None;
            }
            Leaver::Standing(number) if self.people.remove(&number).is_some() => {
                self.moved |= self.people.range(number..).next().is_some();
                self.places.pop_back()
            }
            // The list has no places of requests that are through. Inserted by rank, this one goes
            // to the request behind it, and the last place becomes free.
            Leaver::Through(place) if place >= scale.ticks(now) => {
                let rank = self.places.partition_point(|known| *known < place);
                self.moved |= rank < self.places.len();
                self.places.insert(rank, place);
                self.places.pop_back()
            }
            // A place that is past was used. Handed out again, it would put two requests into one
            // interval.
            Leaver::Standing(_) | Leaver::Through(_) => return None,
        };
        // A request moved to an instant that is not after `now` is through now.
        self.let_through(now, now, scale, wakes);
        self.wake_early(scale, wakes);
        freed
    }

    /// Returns true if the place of this number is before `now`, in ticks.
    fn is_past(&self, number: u64, now: u64) -> bool {
        // None or few: a request gets through with its last place, which comes after them.
        let past = self.places.partition_point(|place| *place < now);
        self.people.range(..number).take(past).count() < past
    }

    /// Removes a request together with its place: the line does not move up.
    pub fn forget(&mut self, number: u64) {
        let rank = self.people.range(..number).count();
        if self.people.remove(&number).is_some() {
            self.places.remove(rank);
        }
    }

    /// Returns true if the request is through by `deadline`, judged from the place it had at the
    /// first call. A request that is too late leaves, which must not make the next one look in
    /// time.
    pub fn is_in_time(&mut self, number: u64, deadline: Millis, scale: Scale) -> bool {
        // Dues do not ascend in a mixed line, so each request is judged by its own.
        if self.mixed {
            let due = self
                .place(number)
                .zip(self.people.get(&number))
                .map(|(place, person)| person.due(place, scale));
            return due.is_none_or(|due| due <= deadline.0);
        }
        // Every request of the line asks at the same drain. Without this memory each would walk the
        // line.
        let first_late = match self.too_late {
            Some((known, first_late)) if known == deadline.0 => first_late,
            _ => {
                let mut standing = self.people.iter().zip(&self.places);
                let late =
                    standing.find(|((_, person), place)| person.due(**place, scale) > deadline.0);
                let first_late = late.map_or(NONE, |((number, _), _)| *number);
                self.too_late = Some((deadline.0, first_late));
                first_late
            }
        };
        number < first_late
    }

    /// Place of a request that stands here.
    fn place(&self, number: u64) -> Option<u64> {
        self.places.get(self.people.range(..number).count()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_back_the_memory_of_a_crowd_that_left() {
        let (lines, holder) = (Lines::new(), Holder::new());
        let scale = Scale { interval: 1, ticks_per_ms: 1 };
        let entry = LineEntry { holder: &holder, rule: 0, unheld_ticks: 0, scale };
        let crowd = 10 * KEPT_LINES as u64;
        for key in 0..crowd {
            lines.with(key, |line, _| line.enter(key, 1, &entry));
        }
        assert!(lines.by_key.capacity() as u64 >= crowd);
        for key in 0..crowd {
            lines.with(key, |line, _| line.forget(0));
        }
        assert!(lines.is_empty() && lines.by_key.is_empty());
        assert!(lines.by_key.capacity() <= 2 * KEPT_LINES, "{}", lines.by_key.capacity());
    }
}
