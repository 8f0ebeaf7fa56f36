//! Whether an address closes its connections right behind a response without saying so, as some
//! application servers do.
//!
//! Guarantee: an address has the habit while [`CLOSED`] or more of the latest [`LATEST`] kept
//! connections ended before they could carry another request.
//!
//! Each kept connection is judged once: it was open if it carried another request or stayed as long
//! as idle ones are kept, and closed if it was found so, or lost a request of which no response
//! came. A request that cannot be sent again then goes out on a fresh connection; those that can be
//! go on to use kept ones, and the connections of both go on to be judged, so that the habit is
//! forgotten once the address behaves.

use std::cell::Cell;

/// How many connections are remembered.
pub const LATEST: u32 = u8::BITS;
/// How many of them were closed where it is a habit.
pub const CLOSED: u32 = 3;

/// What became of the latest connections to an address.
#[derive(Debug, Default)]
pub struct CloseHistory {
    /// One bit each, the latest lowest; set where it was closed.
    closed: Cell<u8>,
}

impl CloseHistory {
    /// A kept connection was still open.
    pub fn was_open(&self) {
        self.closed.set(self.closed.get() << 1);
    }

    /// A kept connection was closed.
    pub fn was_closed(&self) {
        self.closed.set(self.closed.get() << 1 | 1);
    }

    /// Whether the next one is likely to be closed too.
    #[must_use]
    pub fn is_to_close(&self) -> bool {
        self.closed.get().count_ones() >= CLOSED
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::silent_close::*;

    #[test]
    fn habit_is_three_of_the_latest_eight() {
        let habit = CloseHistory::default();
        let mut told = Vec::new();
        for verdict in "cooococcoooooooo".chars() {
            match verdict {
                'c' => habit.was_closed(),
                _ => habit.was_open(),
            }
            told.push(if habit.is_to_close() { 'y' } else { 'n' });
        }
        assert_eq!(told.iter().collect::<String>(), "nnnnnnyyyyyynnnn");
    }
}
