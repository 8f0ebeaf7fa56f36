//! A delayed request: a timer and nothing else. It has not touched the upstream and its body is not read.
//!
//! Guarantees: it is released at its slot, never before; when its client leaves it ends at once and its slot is given back; when
//! the process is to stop before its slot, it is rejected at once.

use tokio::time::Instant;

use crate::{
    clock::Clock,
    limit::{Charges, Gate, Millis},
    release::Releases,
    server::{drain::Drain, turn::Line},
};

/// What a parked request waits for.
pub struct Parking<'a> {
    /// The gate that holds it.
    pub gate: &'a Gate,
    /// What it was charged.
    pub charges: Charges,
    /// What its release is timed by.
    pub clock: Clock,
    /// The worker's releases.
    pub releases: &'a Releases,
    /// When it is released.
    pub release: Instant,
}

/// Why a parked request was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its client left.
    ClientGone,
    /// The process stops before its slot.
    Draining,
}

/// Gives the slot back unless the request was released.
struct Slot<'a> {
    parking: &'a Parking<'a>,
    released: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.released {
            let now = Millis::cut(self.parking.clock.now());
            self.parking.gate.give_back(&self.parking.charges, now);
        }
    }
}

/// Holds a request until its release.
///
/// # Errors
/// Why it left before; its slot has been given back then, as it is when this is dropped.
pub async fn park(parking: &Parking<'_>, line: &Line, drain: &Drain) -> Result<(), Left> {
    let mut slot = Slot { parking, released: false };
    tokio::select! {
        biased;
        () = parking.releases.until(parking.release) => {
            slot.released = true;
            Ok(())
        }
        () = line.departed() => Err(Left::ClientGone),
        () = too_late(parking.release, drain.clone()) => Err(Left::Draining),
    }
}

/// Completes when the process is to stop before `release`.
async fn too_late(release: Instant, mut drain: Drain) {
    if drain.begun().await.0 >= release {
        std::future::pending::<()>().await;
    }
}
