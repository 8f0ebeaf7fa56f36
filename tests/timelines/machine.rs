//! How late the machine itself is: what a thread that only sleeps is woken late by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const NAP: Duration = Duration::from_millis(1);
/// What weir may be late by on a calm machine. Measured it is below 2 ms.
const LATE: Duration = Duration::from_millis(50);

/// Naps until it is dropped.
pub struct Machine {
    over: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
}

impl Machine {
    pub fn watched() -> Self {
        let machine = Self { over: Arc::default(), worst_us: Arc::default() };
        let (over, worst_us) = (Arc::clone(&machine.over), Arc::clone(&machine.worst_us));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(NAP);
                let late = begun.elapsed().saturating_sub(NAP);
                worst_us.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        machine
    }

    /// The most that an answer may be late: a request and its answer are woken for a few times each.
    pub fn patience(&self) -> Duration {
        LATE + Duration::from_micros(self.worst_us.load(Ordering::Relaxed)) * 4
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
