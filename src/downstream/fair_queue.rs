//! Who takes a turn after the other: a connection that keeps itself busy waits in line, and the
//! others do not.
//!
//! Guarantees: between two looks at the kernel's news at most one task of the line has a turn, and
//! everybody else who is ready goes first; no ring of a [`TurnWaker`] is lost, whichever thread it comes
//! from.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use tokio::task::coop::has_budget_remaining;

/// Whether it was called.
type Place = Rc<Cell<bool>>;

/// The line of one worker.
#[derive(Default)]
pub struct FairQueue {
    waiting: RefCell<VecDeque<(Waker, Place)>>,
    /// Whoever calls the next.
    caller: RefCell<Option<Waker>>,
}

impl FairQueue {
    fn join(&self, task: &Waker) -> Place {
        let place = Place::default();
        self.waiting.borrow_mut().push_back((task.clone(), Rc::clone(&place)));
        if let Some(caller) = self.caller.take() {
            caller.wake();
        }
        place
    }

    /// Calls one after the other, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            poll_fn(|context| self.poll_call(context)).await;
            // tokio keeps who yields aside until others had their turn, and asks the kernel before
            // it goes on.
            tokio::task::yield_now().await;
        }
    }

    fn poll_call(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some((next, place)) = self.waiting.borrow_mut().pop_front() else {
            self.caller.replace(Some(context.waker().clone()));
            return Poll::Pending;
        };
        place.set(true);
        next.wake();
        Poll::Ready(())
    }
}

/// A task that gets in line only when it has used up its turn: one that never does pays nothing for
/// it.
pub struct Queued {
    fair_queue: Rc<FairQueue>,
    place: Option<Place>,
}

impl Queued {
    /// A task that may get in this line.
    #[must_use]
    pub fn new(fair_queue: &Rc<FairQueue>) -> Self {
        Self { fair_queue: Rc::clone(fair_queue), place: None }
    }

    /// The task of `context` has its turn, unless it is in line for it.
    pub fn turn<T>(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.place.as_ref().is_some_and(|place| !place.get()) {
            return Poll::Pending;
        }
        let polled = work(context);
        let used_up = polled.is_pending() && !has_budget_remaining();
        self.place = used_up.then(|| self.fair_queue.join(context.waker()));
        polled
    }
}

/// The bell of one task: what rings while the task has its turn is noted, and the task gets in line
/// for its next. What rings while it waits there changes nothing.
pub struct TurnWaker {
    fair_queue: Rc<FairQueue>,
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    task: AtomicWaker,
    /// The task has its turn, or waits in line for it.
    busy: AtomicBool,
    rang: AtomicBool,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, SeqCst);
        if !self.busy.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl TurnWaker {
    /// The bell of a task that gets in this line.
    #[must_use]
    pub fn new(fair_queue: &Rc<FairQueue>) -> Self {
        let inner = Arc::<Inner>::default();
        Self { fair_queue: Rc::clone(fair_queue), waker: Waker::from(Arc::clone(&inner)), inner }
    }

    /// The task of `context` has its turn: `work` is given a context that rings here.
    pub fn turn<T>(
        &self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.inner.task.register(context.waker());
        self.inner.busy.store(true, SeqCst);
        self.inner.rang.store(false, SeqCst);
        let polled = work(&mut Context::from_waker(&self.waker));
        // A read that has used up the task's budget rings only once the turn is over.
        let more = self.take_ring() || !has_budget_remaining();
        if polled.is_pending() && more {
            // Only who calls it wakes it until then.
            let _place = self.fair_queue.join(context.waker());
            return polled;
        }
        self.inner.busy.store(false, SeqCst);
        // Rung from another thread just now.
        if polled.is_pending() && self.take_ring() {
            context.waker().wake_by_ref();
        }
        polled
    }

    /// Whether it rang since the turn began, or since this was asked.
    #[must_use]
    pub fn take_ring(&self) -> bool {
        self.inner.rang.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use crate::{downstream::fair_queue::*, runtime::io::take_steps};

    type Kept = Rc<RefCell<Option<Waker>>>;

    /// A task that counts its turns and rings within them as long as `more` says so, and where it
    /// keeps its bell.
    fn busy(
        fair_queue: &Rc<FairQueue>,
        turns: &Rc<Cell<u32>>,
        more: fn(u32) -> bool,
    ) -> (impl Future<Output = ()> + use<>, Kept) {
        let (turn_waker, turns, kept) =
            (TurnWaker::new(fair_queue), Rc::clone(turns), Kept::default());
        let keeps = Rc::clone(&kept);
        let task = poll_fn(move |context| {
            turn_waker.turn(context, |context| {
                keeps.replace(Some(context.waker().clone()));
                turns.set(turns.get() + 1);
                if more(turns.get()) {
                    context.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            })
        });
        (task, kept)
    }

    #[tokio::test]
    async fn of_those_who_are_busy_one_has_a_turn_at_a_time_and_who_is_called_runs_at_once() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (fair_queue, turns) = (Rc::<FairQueue>::default(), Rc::<Cell<u32>>::default());
                let caller = Rc::clone(&fair_queue);
                spawn_local(async move { caller.run().await });
                let tasks: Vec<_> =
                    (0..10).map(|_| busy(&fair_queue, &turns, |turn| turn < 40)).collect();
                let kept = tasks.into_iter().map(|(task, kept)| {
                    spawn_local(task);
                    kept
                });
                let kept: Vec<_> = kept.collect();
                yield_now().await;
                let mut before = turns.get();
                assert!((10..=11).contains(&before), "the first turn of each: {before}");
                while before < 40 {
                    // Those in line are not called the sooner.
                    kept.iter()
                        .for_each(|kept| kept.borrow().as_ref().expect("a bell").wake_by_ref());
                    yield_now().await;
                    assert!(turns.get() <= before + 1, "{before} {}", turns.get());
                    before = turns.get();
                }
                for _ in 0..100 {
                    yield_now().await;
                }
                assert_eq!(turns.get(), 49, "each had its last turn, and then nobody rang");
                kept[3].take().expect("a bell").wake();
                yield_now().await;
                assert_eq!(turns.get(), 50);
            })
            .await;
    }

    #[tokio::test]
    async fn who_uses_up_its_turn_gets_in_line_and_who_does_not_is_served_at_once() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (fair_queue, large, small) = (
                    Rc::<FairQueue>::default(),
                    Rc::<Cell<u32>>::default(),
                    Rc::<Cell<u32>>::default(),
                );
                let caller = Rc::clone(&fair_queue);
                spawn_local(async move { caller.run().await });
                let task = |turns: &Rc<Cell<u32>>, steps: usize| {
                    let (mut queued, turns) = (Queued::new(&fair_queue), Rc::clone(turns));
                    spawn_local(poll_fn(move |context| {
                        queued.turn(context, |context| {
                            turns.set(turns.get() + 1);
                            take_steps(steps, context);
                            // Ready again at once, however much it did.
                            context.waker().wake_by_ref();
                            Poll::<()>::Pending
                        })
                    }));
                };
                (0..10).for_each(|_| task(&large, 1000));
                task(&small, 1);
                yield_now().await;
                let mut before = (large.get(), small.get());
                assert!(before.0 >= 10 && before.1 >= 1, "{before:?}");
                for _ in 0..100 {
                    yield_now().await;
                    let after = (large.get(), small.get());
                    assert!(after.0 <= before.0 + 1 && after.1 > before.1, "{before:?} {after:?}");
                    before = after;
                }
                assert!((100..=120).contains(&before.0), "{before:?}");
            })
            .await;
    }
}
