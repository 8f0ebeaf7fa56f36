//! Stream scheduler of one connection: runs the work of its streams in small portions.
//!
//! All streams of a connection are one task, so tokio cannot schedule them. New streams wait in
//! order of arrival; started ones are futures in reusable slots. A slot has a waker that puts its
//! index into the ready list, so only ready streams are polled. A turn starts at most
//! [`STREAMS_A_TURN`] new streams and polls at most [`STREAMS_A_TURN`] ready ones: the order among
//! streams stays fair, and one connection with 100 streams does no more per turn than one with 3.
//!
//! Guarantees: in one turn at most [`STREAMS_A_TURN`] streams are started, in the order they came,
//! and at most as many others continued, in the order they became ready. No wake is lost, whichever
//! thread it comes from. A stream that panics is dropped, and no other.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use tokio::task::coop::unconstrained;

/// Streams started in one turn, and streams continued in one turn.
pub const STREAMS_A_TURN: usize = 3;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Work of the streams of one connection.
#[derive(Default)]
pub struct StreamScheduler {
    new: VecDeque<Work>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    ready: Arc<Ready>,
}

/// Slot for the work of a started stream. Its waker is reused by the next stream in the slot, which
/// at worst is polled once too often.
struct Slot {
    work: Option<Work>,
    waker: Waker,
    stream_waker: Arc<StreamWaker>,
}

/// Slots that are ready to continue.
#[derive(Default)]
struct Ready {
    slots: Mutex<VecDeque<usize>>,
    task: AtomicWaker,
}

struct StreamWaker {
    slot: usize,
    /// True while it is in the ready list.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn slots(&self) -> MutexGuard<'_, VecDeque<usize>> {
        // No code panics while the lock is held.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once in the list is enough, and bounds the list by the number of slots.
        if !self.queued.swap(true, SeqCst) {
            // The list before the wake: if another thread wakes, the task may run between the two.
            self.ready.slots().push_back(self.slot);
            self.ready.task.wake();
        }
    }
}

impl StreamScheduler {
    /// Adds the work of a new stream.
    pub fn add(&mut self, work: impl Future<Output = ()> + 'static) {
        self.new.push_back(Box::pin(work));
    }

    /// Returns true if there is work to do now.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.new.is_empty() || !self.ready.slots().is_empty()
    }

    /// Runs the portion of a turn. The task of `context` is woken for streams that become ready
    /// later, but not for those left over.
    pub fn go_on(&mut self, context: &mut Context<'_>) {
        for _ in 0..STREAMS_A_TURN {
            // The lock is released before the poll, because the stream may wake itself or a
            // neighbour in it.
            let Some(slot) = self.ready.slots().pop_front() else { break };
            self.poll(slot);
        }
        for _ in 0..STREAMS_A_TURN {
            let Some(work) = self.new.pop_front() else { break };
            // Slots are reused, so their number is that of the streams in progress at a time, not
            // of all.
            let slot = self.free.pop().unwrap_or_else(|| self.another_slot());
            self.slots[slot].work = Some(work);
            self.poll(slot);
        }
        // Registered last, because a wake removes it. A stream that another thread made ready
        // before this line is in the list: `is_behind`, which the caller asks next, returns true.
        self.ready.task.register(context.waker());
    }

    fn another_slot(&mut self) -> usize {
        let slot = self.slots.len();
        let stream_waker = Arc::new(StreamWaker {
            slot,
            queued: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        self.slots.push(Slot {
            work: None,
            waker: Waker::from(Arc::clone(&stream_waker)),
            stream_waker,
        });
        slot
    }

    fn poll(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        // Before the poll: a wake during it must enter the list again.
        slot.stream_waker.queued.store(false, SeqCst);
        // An old waker of a stream that has ended: its slot is free already.
        let Some(work) = &mut slot.work else { return };
        // Bytes read by the connection in this turn do not count against the stream, and a panic of
        // one does not reach its neighbours.
        let mut work = pin!(unconstrained(work.as_mut()));
        let mut context = Context::from_waker(&slot.waker);
        // Nothing sees the broken state of a stream that panicked: its work is dropped below.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        if !matches!(polled, Ok(Poll::Pending)) {
            slot.work = None;
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::poll_fn, rc::Rc};

    use crate::downstream::http2::scheduler::*;

    #[test]
    fn scheduler_runs_portions_in_order_of_arrival_and_readiness() {
        let (mut scheduler, polled) =
            (StreamScheduler::default(), Rc::<RefCell<Vec<usize>>>::default());
        for stream in 0..10 {
            let polled = Rc::clone(&polled);
            let mut times = 0;
            scheduler.add(poll_fn(move |context| {
                polled.borrow_mut().push(stream);
                times += 1;
                if times == 3 {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                context.waker().wake_by_ref();
                Poll::Pending
            }));
        }
        let (mut context, mut turns) = (Context::from_waker(Waker::noop()), 0);
        while scheduler.is_behind() {
            turns += 1;
            scheduler.go_on(&mut context);
            assert!(polled.borrow().len() <= 2 * STREAMS_A_TURN * turns, "{polled:?}");
        }
        let polled = polled.take();
        for time in 0..3 {
            let nth = |stream| {
                polled.iter().enumerate().filter(|(_, polled)| **polled == stream).nth(time)
            };
            assert!((0..10).map(|stream| nth(stream).map(|(at, _)| at)).is_sorted(), "{polled:?}");
        }
        assert_eq!((polled.len(), scheduler.free.len()), (30, scheduler.slots.len()));
    }

    #[test]
    fn one_that_panics_takes_no_other_with_it() {
        let (mut scheduler, mut context) =
            (StreamScheduler::default(), Context::from_waker(Waker::noop()));
        let ended = Rc::<RefCell<bool>>::default();
        let ends = Rc::clone(&ended);
        scheduler.add(async { panic!("a broken invariant") });
        scheduler.add(async move { *ends.borrow_mut() = true });
        scheduler.go_on(&mut context);
        assert!(
            *ended.borrow()
                && !scheduler.is_behind()
                && scheduler.free.len() == scheduler.slots.len()
        );
    }

    #[test]
    fn scheduler_slot_is_reused_and_old_waker_is_harmless() {
        let (mut scheduler, mut context) =
            (StreamScheduler::default(), Context::from_waker(Waker::noop()));
        let (kept, polls) =
            (Rc::<RefCell<Option<Waker>>>::default(), Rc::<RefCell<u32>>::default());
        let keeps = Rc::clone(&kept);
        scheduler.add(poll_fn(move |context| {
            keeps.replace(Some(context.waker().clone()));
            Poll::Ready(())
        }));
        scheduler.go_on(&mut context);
        let counts = Rc::clone(&polls);
        scheduler.add(poll_fn(move |_| {
            *counts.borrow_mut() += 1;
            Poll::Pending
        }));
        scheduler.go_on(&mut context);
        assert!(!scheduler.is_behind());
        kept.take().expect("a waker").wake();
        assert!(scheduler.is_behind());
        scheduler.go_on(&mut context);
        assert_eq!((*polls.borrow(), scheduler.slots.len(), scheduler.is_behind()), (2, 1, false));
    }
}
