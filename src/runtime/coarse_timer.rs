//! Deadlines from one coarse timer per worker: arming and disarming one costs a few instructions,
//! not a timer and no look at a clock.
//!
//! Guarantee: a deadline rings no earlier than asked and at most two [`TICK`]s later, and what the
//! worker was late for a tick; with nothing armed nothing ticks. Time in which the process did not
//! run (stopped, or its machine asleep) is no reason to give anybody up who has responded
//! meanwhile: of a longer pause [`LONGEST`] counts.
//!
//! Each tick counts the time since the last one, so that many ticks that are a little late do not
//! add up. A deadline that was armed since the last tick counts from this one: later than it was
//! armed, by less than a tick.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How fine deadlines are.
pub const TICK: Duration = Duration::from_millis(100);

/// The most time that one tick counts.
pub const LONGEST: Duration = Duration::from_millis(250);

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub struct CoarseTimer {
    /// Time that was counted while anything was armed.
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

/// When a deadline rings.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// So long after the next tick.
    After(Duration),
    /// Once so much time was counted.
    At(Duration),
}

/// One deadline; dropping it disarms it.
#[derive(Debug)]
pub struct Deadline {
    alarm: Rc<CoarseTimer>,
    after: Duration,
    slot: Option<usize>,
}

impl CoarseTimer {
    /// A deadline that is armed when it is first polled.
    #[must_use]
    pub fn deadline(self: &Rc<Self>, after: Duration) -> Deadline {
        Deadline { alarm: Rc::clone(self), after, slot: None }
    }

    /// What `work` comes to, or nothing when it takes longer than `limit`.
    pub async fn within<T>(
        self: &Rc<Self>,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        let mut deadline = self.deadline(limit);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => deadline.poll(context).map(|()| None),
        })
        .await
    }

    /// Ticks while anything is armed, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            while self.count.get() == 0 {
                self.wanted.notified().await;
            }
            let mut last = Instant::now();
            while self.count.get() > 0 {
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                self.tick((now - last).min(LONGEST));
                last = now;
            }
        }
    }

    /// Counts time, and wakes those whose time is up.
    fn tick(&self, time: Duration) {
        let now = self.passed.get() + time;
        self.passed.set(now);
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
        if self.count.replace(self.count.get() + 1) == 0 {
            self.wanted.notify_one();
        }
        let mut slots = self.armed.borrow_mut();
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

    /// Whether a slot has rung; if not, whom to wake when it does.
    fn poll_slot(&self, slot: usize, context: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.armed.borrow_mut();
        let Some(armed) = &mut slots[slot] else { return Poll::Ready(()) };
        if matches!(armed.due, Due::At(at) if at <= self.passed.get()) {
            return Poll::Ready(());
        }
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

    /// Time that it takes.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.after
    }

    /// Another one of the same length, not armed.
    #[must_use]
    pub fn again(&self) -> Self {
        self.alarm.deadline(self.after)
    }

    /// Starts anew with the next poll.
    pub fn reset(&mut self) {
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
    async fn a_deadline_rings_in_time_and_never_early() {
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

    /// A worker that comes to each tick 7 ms late: 200 of them would be 1.4 s.
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

    /// As after SIGSTOP: what came meanwhile is looked at before anybody is given up.
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
    async fn what_is_done_in_time_disarms_its_deadline() {
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
