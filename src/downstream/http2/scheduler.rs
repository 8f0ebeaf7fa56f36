//! Stream scheduler of one connection: runs the work of its streams in small portions.
//!
//! All streams of a connection are one task, so tokio cannot schedule them. New streams wait in
//! order of arrival; started ones are futures in reusable slots. A slot has a waker that puts its
//! index into the ready list, so only ready streams are polled. A turn starts at most [`A_TURN`]
//! new streams and polls at most [`A_TURN`] ready ones: the order among streams stays fair, and one
//! connection with 100 streams does no more per turn than one with 3.
//!
//! Guarantees: in one turn at most [`A_TURN`] streams are started, in the order they came, and at
//! most as many others continued, in the order they became ready. No wake is lost, whichever thread
//! it comes from. A stream that panics is dropped, and no other.

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
pub const A_TURN: usize = 3;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Work of the streams of one connection.
#[derive(Default)]
pub struct StreamScheduler {
    came: VecDeque<Work>,
    places: Vec<Place>,
    free: Vec<usize>,
    ready: Arc<Ready>,
}

/// Slot for the work of a started stream. Its waker is reused by the next stream in the slot, which
/// at worst is polled once too often.
struct Place {
    work: Option<Work>,
    waker: Waker,
    knock: Arc<StreamWaker>,
}

/// Slots that are ready to continue.
#[derive(Default)]
struct Ready {
    places: Mutex<VecDeque<usize>>,
    task: AtomicWaker,
}

struct StreamWaker {
    place: usize,
    /// True while it is in the ready list.
    heard: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn places(&self) -> MutexGuard<'_, VecDeque<usize>> {
        // No code panics while the lock is held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once in the list is enough, and bounds the list by the number of slots.
        if !self.heard.swap(true, SeqCst) {
            self.ready.places().push_back(self.place);
            self.ready.task.wake();
        }
    }
}

impl StreamScheduler {
    /// Adds the work of a new stream.
    pub fn add(&mut self, work: impl Future<Output = ()> + 'static) {
        self.came.push_back(Box::pin(work));
    }

    /// Returns true if there is work to do now.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.came.is_empty() || !self.ready.places().is_empty()
    }

    /// Runs the portion of a turn. The task of `context` is woken for streams that become ready
    /// later, but not for those left over.
    pub fn go_on(&mut self, context: &mut Context<'_>) {
        for _ in 0..A_TURN {
            let Some(place) = self.ready.places().pop_front() else { break };
            self.poll(place);
        }
        for _ in 0..A_TURN {
            let Some(work) = self.came.pop_front() else { break };
            let place = self.free.pop().unwrap_or_else(|| self.another_place());
            self.places[place].work = Some(work);
            self.poll(place);
        }
        // Registered last, because a wake removes it. A stream that another thread made ready
        // before this line is in the list: `is_behind`, which the caller asks next, returns true.
        self.ready.task.register(context.waker());
    }

    fn another_place(&mut self) -> usize {
        let place = self.places.len();
        let knock = Arc::new(StreamWaker {
            place,
            heard: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        self.places.push(Place { work: None, waker: Waker::from(Arc::clone(&knock)), knock });
        place
    }

    fn poll(&mut self, index: usize) {
        let place = &mut self.places[index];
        // Before the poll: a wake during it must enter the list again.
        place.knock.heard.store(false, SeqCst);
        // An old waker of a stream that has ended: its slot is free already.
        let Some(work) = &mut place.work else { return };
        // Bytes read by the connection in this turn do not count against the stream, and a panic of
        // one does not reach its neighbours.
        let mut work = pin!(unconstrained(work.as_mut()));
        let mut context = Context::from_waker(&place.waker);
        // Nothing sees the broken state of a stream that panicked: its work is dropped below.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        if !matches!(polled, Ok(Poll::Pending)) {
            place.work = None;
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
        let (mut portions, polled) =
            (StreamScheduler::default(), Rc::<RefCell<Vec<usize>>>::default());
        for stream in 0..10 {
            let polled = Rc::clone(&polled);
            let mut times = 0;
            portions.add(poll_fn(move |context| {
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
        while portions.is_behind() {
            turns += 1;
            portions.go_on(&mut context);
            assert!(polled.borrow().len() <= 2 * A_TURN * turns, "{polled:?}");
        }
        let polled = polled.take();
        for time in 0..3 {
            let nth = |stream| {
                polled.iter().enumerate().filter(|(_, polled)| **polled == stream).nth(time)
            };
            assert!((0..10).map(|stream| nth(stream).map(|(at, _)| at)).is_sorted(), "{polled:?}");
        }
        assert_eq!((polled.len(), portions.free.len()), (30, portions.places.len()));
    }

    #[test]
    fn one_that_panics_takes_no_other_with_it() {
        let (mut portions, mut context) =
            (StreamScheduler::default(), Context::from_waker(Waker::noop()));
        let ended = Rc::<RefCell<bool>>::default();
        let ends = Rc::clone(&ended);
        portions.add(async { panic!("a broken invariant") });
        portions.add(async move { *ends.borrow_mut() = true });
        portions.go_on(&mut context);
        assert!(
            *ended.borrow()
                && !portions.is_behind()
                && portions.free.len() == portions.places.len()
        );
    }

    #[test]
    fn scheduler_slot_is_reused_and_old_waker_is_harmless() {
        let (mut portions, mut context) =
            (StreamScheduler::default(), Context::from_waker(Waker::noop()));
        let (kept, polls) =
            (Rc::<RefCell<Option<Waker>>>::default(), Rc::<RefCell<u32>>::default());
        let keeps = Rc::clone(&kept);
        portions.add(poll_fn(move |context| {
            keeps.replace(Some(context.waker().clone()));
            Poll::Ready(())
        }));
        portions.go_on(&mut context);
        let counts = Rc::clone(&polls);
        portions.add(poll_fn(move |_| {
            *counts.borrow_mut() += 1;
            Poll::Pending
        }));
        portions.go_on(&mut context);
        assert!(!portions.is_behind());
        kept.take().expect("a waker").wake();
        assert!(portions.is_behind());
        portions.go_on(&mut context);
        assert_eq!((*polls.borrow(), portions.places.len(), portions.is_behind()), (2, 1, false));
    }
}
