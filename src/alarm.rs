//! Deadlines from one coarse timer per worker: arming and disarming one costs a few instructions, not a timer.
//!
//! Guarantee: a deadline rings no earlier than asked and at most two [`TICK`]s later; with nothing armed nothing ticks.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::Notify;

/// How fine deadlines are.
pub const TICK: Duration = Duration::from_millis(100);

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub struct Alarm {
    tick: Cell<u64>,
    armed: RefCell<Vec<Option<Armed>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    wanted: Notify,
}

#[derive(Debug)]
struct Armed {
    at: u64,
    waker: Waker,
}

/// One deadline; dropping it disarms it.
#[derive(Debug)]
pub struct Deadline {
    alarm: Rc<Alarm>,
    after: Duration,
    slot: Option<usize>,
}

impl Alarm {
    /// A deadline that is armed when it is first polled.
    #[must_use]
    pub fn deadline(self: &Rc<Self>, after: Duration) -> Deadline {
        Deadline { alarm: Rc::clone(self), after, slot: None }
    }

    /// What `work` comes to, or nothing when it takes longer than `limit`.
    pub async fn within<T>(self: &Rc<Self>, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
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
            tokio::time::sleep(TICK).await;
            let now = self.tick.get() + 1;
            self.tick.set(now);
            for armed in self.armed.borrow().iter().flatten().filter(|armed| armed.at <= now) {
                armed.waker.wake_by_ref();
            }
        }
    }

    fn arm(&self, after: Duration, waker: Waker) -> usize {
        let ticks = u64::try_from(after.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        // The tick under way may be nearly over: it does not count.
        let armed = Armed { at: self.tick.get().saturating_add(ticks).saturating_add(1), waker };
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
        if armed.at <= self.tick.get() {
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
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn on_alarm<T>(test: impl AsyncFnOnce(Rc<Alarm>) -> T) -> T {
        let alarm = Rc::new(Alarm::default());
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
                assert_eq!(alarm.within(Duration::from_millis(250), std::future::pending::<()>()).await, None);
                let took = start.elapsed();
                assert!((250..=450).contains(&took.as_millis()), "{took:?}");
            }
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
