//! Detection of addresses that close connections right behind a response without announcing it, as
//! some application servers do.
//!
//! Guarantee: an address counts as such while [`CLOSED`] or more of the latest [`LATEST`] kept
//! connections ended before they could carry another request.
//!
//! Each kept connection is judged once. It was open if it carried another request or stayed for the
//! whole idle time, and closed if it was found closed, or lost a request without a response. A
//! request that cannot be sent again then uses a fresh connection. Requests that can be sent again
//! continue to use kept ones, and all connections continue to be judged, so the detection ends once
//! the address behaves.

use std::cell::Cell;

/// Number of connections remembered.
pub const LATEST: u32 = u8::BITS;
/// Number of closed ones among them from which on the address counts as closing silently.
pub const CLOSED: u32 = 3;

/// Outcome of the latest connections to an address.
#[derive(Debug, Default)]
pub struct CloseHistory {
    /// One bit for each, the latest lowest; set if it was closed.
    closed: Cell<u8>,
}

impl CloseHistory {
    /// Records that a kept connection was still open.
    pub fn was_open(&self) {
        self.closed.set(self.closed.get() << 1);
    }

    /// Records that a kept connection was closed.
    pub fn was_closed(&self) {
        self.closed.set(self.closed.get() << 1 | 1);
    }

    /// Returns true if the next one is likely to be closed too.
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
