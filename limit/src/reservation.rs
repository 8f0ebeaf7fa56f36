//! Reservations: places that are held until a response shows whether they are charged.
//!
//! A rule that counts responses, like failed logins, cannot charge a request on arrival: it does
//! not know the response yet. If it only looked, any number of parallel guesses would pass before
//! the first of them is counted. So each admitted request reserves its places beside the debt of
//! its key, and the next one is judged by both. The response turns a reservation into a charge or
//! ends it. At every moment `debt + reserved * T` is at most `burst * T + T`, so no more than
//! `burst + 1` counted responses fit where a full burst was free.

use std::sync::Arc;

use super::{millis::Millis, zone::Zone};

/// Places of one request in progress, in all zones that count its response. They are free again when
/// it is dropped.
#[derive(Debug, Default)]
#[must_use = "reservations that are dropped charge nothing"]
pub struct Reservations(Vec<Reservation>);

/// Places of one request in progress in a zone; they are free again when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    zone: Arc<Zone>,
    fingerprint: u64,
    places: u64,
    /// Statuses of responses that are charged.
    statuses: Arc<[u16]>,
}

impl Reservations {
    pub(super) fn add(&mut self, reservation: Reservation) {
        self.0.push(reservation);
    }

    /// Ends the reservations with a response of this status at `now`: the places of a rule are
    /// charged if it counts the status, and free again if not.
    pub fn settle(self, status: u16, now: Millis) {
        self.0.into_iter().for_each(|reservation| reservation.settle(status, now));
    }
}

impl Reservation {
    pub fn new(zone: &Arc<Zone>, fingerprint: u64, places: u64, statuses: &Arc<[u16]>) -> Self {
        Self { zone: Arc::clone(zone), fingerprint, places, statuses: Arc::clone(statuses) }
    }

    fn settle(mut self, status: u16, now: Millis) {
        if !self.statuses.contains(&status) {
            return;
        }
        let places = std::mem::take(&mut self.places);
        let zone = &self.zone;
        zone.reserved().end(self.fingerprint, places, || {
            zone.charge_places(self.fingerprint, places, now);
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.places > 0 {
            self.zone.reserved().end(self.fingerprint, self.places, || {});
        }
    }
}
