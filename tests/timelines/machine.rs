//! How late the machine itself is: a byte goes round a ring of threads, as a request goes from
//! client to weir, upstream and back.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Who is woken in turn between a timer and the client's clock.
const HOPS: usize = 5;
const PAUSE: Duration = Duration::from_millis(1);
/// What weir may be late by on a calm machine. Measured it is below 2 ms.
const LATE: Duration = Duration::from_millis(50);

/// Measures until it is dropped.
pub struct Machine {
    over: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
}

impl Machine {
    pub fn watched() -> Self {
        let machine = Self { over: Arc::default(), worst_us: Arc::default() };
        let (over, worst_us) = (Arc::clone(&machine.over), Arc::clone(&machine.worst_us));
        let (mut first, mut last) = ring();
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(PAUSE);
                first.write_all(b"x").expect("a ring");
                last.read_exact(&mut [0]).expect("a ring");
                let late = begun.elapsed().saturating_sub(PAUSE);
                worst_us.fetch_max(
                    u64::try_from(late.as_micros()).unwrap_or(u64::MAX),
                    Ordering::Relaxed,
                );
            }
        });
        machine
    }

    /// Of these responses half are late by no more than may be, and than the machine added to
    /// others meanwhile: a burst of thirty takes its turns on each hop. A single late one is the
    /// machine's.
    pub fn forgives(&self, mut late: Vec<Duration>) {
        late.sort_unstable();
        let (middle, machine) =
            (late[late.len() / 2], Duration::from_micros(self.worst_us.load(Ordering::Relaxed)));
        assert!(
            middle <= LATE + machine * 4,
            "half of the answers are later than {middle:?}, the machine {machine:?}"
        );
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Both ends of a chain of threads that hand each byte on; they end with the first of them.
fn ring() -> (UnixStream, UnixStream) {
    let (first, mut last) = UnixStream::pair().expect("a pair of sockets");
    for _ in 0..HOPS {
        let (mut out, next) = UnixStream::pair().expect("a pair of sockets");
        let mut input = std::mem::replace(&mut last, next);
        thread::spawn(move || std::io::copy(&mut input, &mut out));
    }
    (first, last)
}
