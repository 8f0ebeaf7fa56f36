//! Deadlines on one coarse timer per worker. Arming or disarming one costs a few instructions: no
//! timer of its own and no clock reading.
//!
//! Guarantee: a deadline fires no earlier than asked, and later by at most two [`TICK`]s plus the
//! delay of the worker at a tick. While nothing is armed, nothing ticks. Time in which the process
//! did not run (stopped, or a suspended machine) is no reason to close a connection that has sent
//! data meanwhile: of a longer pause only [`LONGEST_TICK`] counts.
//!
//! Each tick counts the time since the previous one, so ticks that are each a little late do not
//! add up. A deadline armed since the last tick counts from that tick on: later than it was armed
//! by less than one tick.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(100);

/// Longest time that one tick counts.
pub const LONGEST_TICK: Duration = Duration::from_millis(250);

/// Deadlines of one worker.
#[derive(Debug, Default)]
pub struct CoarseTimer {
    /// Time counted while a deadline was armed.
    passed: Cell<Duration>,
    armed: RefCell<Vec<Option<Armed>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    wanted: Notify,
}

#[derive(Debug)]
struct Armed {
    due: Due,
    waker: Waker,
}

/// Time at which a deadline fires.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// This long after the next tick.
    After(Duration),
    /// At this much counted time.
    At(Duration),
}

/// Single deadline; dropping it disarms it.
#[derive(Debug)]
pub struct Deadline {
    alarm: Rc<CoarseTimer>,
    after: Duration,
    slot: Option<usize>,
}

impl CoarseTimer {
    /// Creates a deadline that is armed by its first poll.
    #[must_use]
    pub fn deadline(self: &Rc<Self>, after: Duration) -> Deadline {
        Deadline { alarm: Rc::clone(self), after, slot: None }
    }

    /// Returns the output of `work`, or nothing when it takes longer than `limit`.
    pub async fn within<T>(
        self: &Rc<Self>,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        let mut deadline = self.deadline(limit);
        poll_fn(|context| match work.as_mut().poll(context) {
            // The work first: when both are due, its output counts.
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => deadline.poll(context).map(|()| None),
        })
        .await
    }

    /// Ticks while a deadline is armed, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            while self.count.get() == 0 {
                self.wanted.notified().await;
            }
            // Time without a deadline is not counted: no deadline refers to it.
            let mut last = Instant::now();
            while self.count.get() > 0 {
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                self.tick((now - last).min(LONGEST_TICK));
                last = now;
            }
        }
    }

    /// Counts time and wakes the deadlines that are due.
    fn tick(&self, time: Duration) {
        let now = self.passed.get() + time;
        self.passed.set(now);
        // Arming reads no clock, so it is not known how long before this tick it was. From here on
        // the time is counted. Example: 250 ms, armed 30 ms after a tick. The next tick is 70 ms
        // later and makes it `At(now + 250)`; the ticks after that come at 100, 200 and 300 ms, and
        // the last of them fires it, 370 ms after it was armed. A tick of delay comes from the
        // start and a tick from the end, so never more than 250 + 2 * 100.
        for armed in self.armed.borrow_mut().iter_mut().flatten() {
            match armed.due {
                Due::After(time) => armed.due = Due::At(now.saturating_add(time)),
                Due::At(at) if at <= now => armed.waker.wake_by_ref(),
                Due::At(_) => {}
            }
        }
    }

    fn arm(&self, after: Duration, waker: Waker) -> usize {
        let armed = Armed { due: Due::After(after), waker };
        // Only the first deadline starts the ticks. Further ones find them running.
        if self.count.replace(self.count.get() + 1) == 0 {
            self.wanted.notify_one();
        }
        let mut slots = self.armed.borrow_mut();
        // Slots are reused, so their number is that of the deadlines armed at a time.
        match self.free.borrow_mut().pop() {
            Some(slot) => {
                slots[slot] = Some(armed);
                slot
            }
            None => {
                slots.push(Some(armed));
                slots.len() - 1
            }
        }
    }

    fn disarm(&self, slot: usize) {
        self.armed.borrow_mut()[slot] = None;
        self.free.borrow_mut().push(slot);
        self.count.set(self.count.get() - 1);
    }

    /// Returns whether a slot has fired; if not, registers the waker.
    fn poll_slot(&self, slot: usize, context: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.armed.borrow_mut();
        // A disarmed slot has no owner that could poll it.
        let Some(armed) = &mut slots[slot] else { return Poll::Ready(()) };
        if matches!(armed.due, Due::At(at) if at <= self.passed.get()) {
            return Poll::Ready(());
        }
        // Keeps the old waker if it wakes the same task.
        armed.waker.clone_from(context.waker());
        Poll::Pending
    }
}

impl Deadline {
    /// Ready once the time is up. The first poll starts the time.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.slot {
            Some(slot) => self.alarm.poll_slot(slot, context),
            None => {
                self.slot = Some(self.alarm.arm(self.after, context.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Length of the deadline.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.after
    }

    /// Creates another deadline of the same length, not armed.
    #[must_use]
    pub fn again(&self) -> Self {
        self.alarm.deadline(self.after)
    }

    /// Restarts the time with the next poll.
    pub fn reset(&mut self) {
        // The slot must not be used again by this deadline: another one may get it.
        if let Some(slot) = self.slot.take() {
            self.alarm.disarm(slot);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use crate::runtime::coarse_timer::*;

    async fn on_alarm<T>(test: impl AsyncFnOnce(Rc<CoarseTimer>) -> T) -> T {
        let alarm = Rc::new(CoarseTimer::default());
        tokio::select! {
            biased;
            done = test(Rc::clone(&alarm)) => done,
            () = alarm.run() => unreachable!("an alarm never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_fires_in_time_and_never_early() {
        on_alarm(async |alarm| {
            for pause in [0, 30, 99, 100, 170] {
                sleep(Duration::from_millis(pause)).await;
                let start = Instant::now();
                assert_eq!(
                    alarm.within(Duration::from_millis(250), std::future::pending::<()>()).await,
                    None
                );
                let took = start.elapsed();
                assert!((250..=450).contains(&took.as_millis()), "{took:?}");
            }
        })
        .await;
    }

    /// A worker is 7 ms late at each tick: over 200 of them that would be 1.4 s.
    #[tokio::test(start_paused = true)]
    async fn deadline_of_many_late_ticks_does_not_drift() {
        let alarm = Rc::new(CoarseTimer::default());
        let late = async {
            loop {
                sleep(Duration::from_millis(1)).await;
                advance(Duration::from_millis(7)).await;
            }
        };
        let start = Instant::now();
        tokio::select! {
            biased;
            rung = alarm.within(Duration::from_secs(20), std::future::pending::<()>()) => assert_eq!(rung, None),
            () = late => unreachable!("it never ends"),
            () = alarm.run() => unreachable!("an alarm never ends"),
        }
        let took = start.elapsed();
        assert!((20_000..=20_220).contains(&took.as_millis()), "{took:?}");
    }

    /// As after SIGSTOP: data that arrived meanwhile is read before a deadline fires.
    #[tokio::test(start_paused = true)]
    async fn deadline_does_not_ring_for_a_pause_of_the_process() {
        on_alarm(async |alarm| {
            let work = async {
                sleep(Duration::from_millis(50)).await;
                advance(Duration::from_secs(60)).await;
                sleep(Duration::from_millis(150)).await;
            };
            assert_eq!(alarm.within(Duration::from_secs(2), work).await, Some(()));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_is_disarmed_by_work_done_in_time() {
        on_alarm(async |alarm| {
            for _ in 0..100 {
                let work = sleep(Duration::from_millis(10));
                assert_eq!(alarm.within(Duration::from_secs(1), work).await, Some(()));
            }
            assert_eq!((alarm.count.get(), alarm.armed.borrow().len()), (0, 1));
        })
        .await;
    }
}
