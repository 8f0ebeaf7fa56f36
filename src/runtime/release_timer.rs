//! Release timer for parked requests: one precise timer per worker.
//!
//! Guarantee: no release is early. A kernel timer (timerfd) wakes the worker within microseconds of
//! the release. Where there is none, or tokio's time is paused, tokio's timer is used, which counts
//! in whole milliseconds.
//!
//! There is one timer for all parked requests of a worker. Waiters stand in a map ordered by
//! (instant, number); the timer is set to the first of them, and set again whenever an earlier one
//! arrives. When it fires, every waiter that is due is woken and removed. A dropped waiter removes
//! itself, so the timer may fire once without a waiter, which is harmless.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Kind of timer for releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// Kernel timer.
    #[default]
    Precise,
    /// Timer of the tokio runtime, which follows paused time.
    Runtime,
}

/// Parked requests of one worker, by their release time.
#[derive(Debug, Default)]
pub struct ReleaseTimer {
    timer: Option<AsyncFd<OwnedFd>>,
    due: RefCell<BTreeMap<(Instant, u64), Waker>>,
    count: Cell<u64>,
}

impl ReleaseTimer {
    /// Creates a timer of this kind; must be called on the runtime of the worker.
    ///
    /// # Errors
    /// When the kernel grants no timer.
    #[allow(
        deprecated,
        reason = "what replaces it is unsafe, for descriptors that are not owned; this one is"
    )]
    pub fn new(timing: Timing) -> io::Result<Self> {
        let timer = match timing {
            Timing::Precise => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                // The clock of `Instant`. One that is set while a request waits would release it
                // early, or late.
                let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                Some(AsyncFd::with_interest(fd, Interest::READABLE)?)
            }
            Timing::Runtime => None,
        };
        Ok(Self { timer, ..Self::default() })
    }

    /// Completes at `at`.
    pub async fn until(&self, at: tokio::time::Instant) {
        if self.timer.is_none() {
            // Under paused time a kernel timer would wait for real time, and tests with it.
            return tokio::time::sleep_until(at).await;
        }
        let mut waiting = Waiting { releases: self, at: at.into_std(), number: None };
        poll_fn(|context| waiting.poll(context)).await;
    }

    /// Wakes the waiters that are due, for as long as it is polled.
    pub async fn run(&self) -> io::Result<()> {
        let Some(timer) = &self.timer else { return std::future::pending().await };
        loop {
            let mut ready = timer.readable().await?;
            let mut expirations = [0; 8];
            // Reading clears the expiration. The timer would stay readable otherwise, and this loop
            // would spin.
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                Ok(read) => read.map(drop)?,
                Err(_would_block) => continue,
            }
            self.wake_due(Instant::now());
        }
    }

    fn wake_due(&self, now: Instant) {
        let mut due = self.due.borrow_mut();
        while let Some(first) = due.first_entry().filter(|entry| entry.key().0 <= now) {
            // Waking only schedules the task, so it cannot borrow the map meanwhile.
            first.remove().wake();
        }
        // It is later than `now`, or it would have been woken. The time since `now` was read makes
        // the timer fire late by as much, never early.
        if let Some(((next, _), _)) = due.first_key_value() {
            self.arm(*next - now);
        }
    }

    fn arm(&self, after: Duration) {
        let Some(timer) = &self.timer else { return };
        let (secs, nanos) =
            (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), i64::from(after.subsec_nanos()));
        // A timerfd set to zero would be switched off.
        let value = Timespec { tv_sec: secs, tv_nsec: if after.is_zero() { 1 } else { nanos } };
        let setting =
            Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if let Err(error) = timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting) {
            tracing::error!(%error, "cannot set the timer of parked requests");
        }
    }
}

/// One parked request; dropping it removes it.
struct Waiting<'a> {
    releases: &'a ReleaseTimer,
    at: Instant,
    number: Option<u64>,
}

impl Waiting<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        // A wake alone proves nothing, so the clock decides: no release is early.
        if now >= self.at {
            return Poll::Ready(());
        }
        // The number distinguishes waiters of the same instant, and keeps their order of arrival.
        let number = *self.number.get_or_insert_with(|| {
            self.releases.count.set(self.releases.count.get() + 1);
            self.releases.count.get()
        });
        let mut due = self.releases.due.borrow_mut();
        // Compared before it is inserted. If the first one is due at the same time, or is this one,
        // polled again with another waker, the timer is set already.
        let earliest = due.first_key_value().is_none_or(|((first, _), _)| self.at < *first);
        // The same key on each poll, so only the waker is replaced.
        due.insert((self.at, number), context.waker().clone());
        drop(due);
        if earliest {
            self.releases.arm(self.at - now);
        }
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.releases.due.borrow_mut().remove(&(self.at, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use crate::runtime::release_timer::*;

    #[tokio::test]
    async fn nothing_is_early_whatever_the_order_and_what_is_dropped_is_forgotten() {
        let releases = ReleaseTimer::new(Timing::Precise).expect("a timer");
        let start = Instant::now();
        let wait = async |millis: u64| {
            let at = start + Duration::from_millis(millis);
            releases.until(at).await;
            assert!(Instant::now() >= at, "{millis}");
        };
        let all = async {
            drop(Box::pin(wait(1)));
            tokio::join!(wait(7), wait(2), wait(2), wait(4));
        };
        tokio::select! {
            () = all => {}
            ended = releases.run() => panic!("releases end: {ended:?}"),
        }
        assert!(releases.due.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn release_timer_is_exact_in_paused_time() {
        let releases = ReleaseTimer::new(Timing::Runtime).expect("no timer needed");
        let start = Instant::now();
        releases.until(start + Duration::from_millis(7)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(7));
    }
}
