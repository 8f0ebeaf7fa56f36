//! Penalties: keys that are rejected again and again are shut out for a while.
//!
//! A reject of the bucket stores nothing, so that a flood costs no shared memory. A rule with a
//! penalty counts its rejects in a side table, and it alone writes on a reject. Both tables hold at
//! most [`MOST_KEYS`] keys: when they are full, the key whose count is oldest, or whose penalty
//! ends first, makes room.

use super::{millis::Millis, table::Table};

/// Limit on the keys of a zone that are counted, and on those that are shut out.
pub const MOST_KEYS: usize = 65_536;
/// Bits of a stored count; the start of its window is in the others.
const COUNT_BITS: u32 = 20;
/// Limit on [`Penalty::after`].
pub const MOST_REJECTS: u32 = 10_000;

/// Penalty of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Number of rejects after which a key is shut out, 1 to [`MOST_REJECTS`].
    pub after: u32,
    /// Time in which they come, from the first of them on.
    pub within: Millis,
    /// Time for which the key is shut out.
    pub lasts: Millis,
}

/// Rejects and penalties of the keys of a zone.
#[derive(Debug)]
pub(super) struct Penalties {
    /// Start of the window in milliseconds and number of rejects in it, in one word.
    rejects: Table,
    /// End of the penalty in milliseconds.
    ends: Table,
}

impl Penalties {
    pub fn new() -> Self {
        Self { rejects: Table::with_capacity(MOST_KEYS), ends: Table::with_capacity(MOST_KEYS) }
    }

    /// Returns the time until the penalty of a key ends, if it has one.
    pub fn left(&self, fingerprint: u64, now: Millis) -> Option<Millis> {
        let left = |end: Option<u64>| end.and_then(|end| end.checked_sub(now.0));
        self.ends.look(fingerprint, left).filter(|left| *left > 0).map(Millis)
    }

    /// Counts a reject of a key that has no penalty. With the last one that is allowed it gets one.
    pub fn count(&self, fingerprint: u64, penalty: Penalty, now: Millis) {
        let word = |start: u64, count: u64| start << COUNT_BITS | count;
        let counted = |known: Option<u64>| {
            let known = known.map(|word| (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1)));
            let (start, count) = match known {
                Some((start, count)) if now.0.saturating_sub(start) < penalty.within.0 => {
                    (start, count + 1)
                }
                _ => (now.0, 1),
            };
            Ok::<_, std::convert::Infallible>((count, word(start, count)))
        };
        // Which key makes room is judged by the start of its window: later ones stay.
        let Ok(count) = self.rejects.replace(fingerprint, word(now.0, 0), counted);
        if count < u64::from(penalty.after.clamp(1, MOST_REJECTS)) {
            return;
        }
        let end = now.0.saturating_add(penalty.lasts.0);
        store(&self.ends, fingerprint, now.0, end);
        // After the penalty the count begins again.
        store(&self.rejects, fingerprint, word(now.0, 0), word(now.0, 0));
    }
}

/// Stores a value of a key, whatever it was.
fn store(table: &Table, fingerprint: u64, now: u64, value: u64) {
    let Ok(()) = table
        .replace(fingerprint, now, |_: Option<u64>| Ok::<_, std::convert::Infallible>(((), value)));
}
