//! Fair queue of a worker: a connection that keeps itself busy waits in the queue, and the others
//! do not.
//!
//! A task that still has work when its turn is over does not wake itself: tokio would poll it again
//! before it asks the kernel for events, and a few busy connections would starve all others. It
//! joins this queue instead. [`FairQueue::run`] calls one waiting task, yields, and calls the next.
//! tokio polls a task that yields only after all other ready tasks and the kernel had their turn.
//! So with `n` busy connections a new request waits for one turn, not for `n`. A task that never
//! uses up its turn never joins and pays nothing.
//!
//! A task that moves much without using up a turn, because its client takes a piece at a time, is
//! woken by its socket. Many of these may be woken together, and all would have a turn before a new
//! request. So once it took `BUSY` steps in turns right behind one another, each of `FEW` or
//! more, a wake only lets it join.
//!
//! Guarantees: between two polls of the kernel at most one task of the queue has a turn, and all
//! other ready tasks go first. No wake of a [`TurnWaker`] is lost, whichever thread it comes from.

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

use crate::runtime::io::steps_taken;

/// Steps ([`steps_taken`]) in turns behind one another from which a task is busy: those of a whole
/// turn, 128 KiB of a response.
const BUSY: usize = 128;
/// Steps of a turn that does not count as busy.
const FEW: usize = 16;

/// True once the task was called.
type Place = Rc<Cell<bool>>;

/// Queue of one worker.
#[derive(Default)]
pub struct FairQueue {
    waiting: RefCell<VecDeque<(Waker, Place)>>,
    /// Waker of the task that calls the next one.
    caller: RefCell<Option<Waker>>,
}

impl FairQueue {
    fn join(&self, task: &Waker) -> Place {
        let place = Place::default();
        self.waiting.borrow_mut().push_back((task.clone(), Rc::clone(&place)));
        // Only an idle caller has left its waker. A busy one finds the new task by itself.
        if let Some(caller) = self.caller.take() {
            caller.wake();
        }
        place
    }

    /// Calls the waiting tasks one after the other, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            poll_fn(|context| self.poll_call(context)).await;
            // tokio polls a task that yields after all others, and asks the kernel before.
            tokio::task::yield_now().await;
        }
    }

    fn poll_call(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some((next, place)) = self.waiting.borrow_mut().pop_front() else {
            self.caller.replace(Some(context.waker().clone()));
            return Poll::Pending;
        };
        // A task that ended while it waited ignores the wake: it costs one call. The place is set
        // too, because a task whose place is unset does nothing.
        place.set(true);
        next.wake();
        Poll::Ready(())
    }
}

/// Task that joins the queue only when it is busy. One that never is pays nothing for it.
pub struct Queued {
    fair_queue: Rc<FairQueue>,
    place: Option<Place>,
    /// Steps of the latest turns, back to the last one with few.
    steps: usize,
}

impl Queued {
    /// Creates a task that may join this queue.
    #[must_use]
    pub fn new(fair_queue: &Rc<FairQueue>) -> Self {
        Self { fair_queue: Rc::clone(fair_queue), place: None, steps: 0 }
    }

    /// Runs a turn of the task of `context`, unless the task is in the queue.
    pub fn turn<T>(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Something else woke the task, for instance its socket. The queue has its waker and will
        // call it, so nothing is lost by doing nothing now.
        if self.place.as_ref().is_some_and(|place| !place.get()) {
            return Poll::Pending;
        }
        if self.place.is_none() && self.steps >= BUSY {
            self.place = Some(self.fair_queue.join(context.waker()));
            return Poll::Pending;
        }
        let before = steps_taken();
        let polled = work(context);
        let steps = steps_taken().wrapping_sub(before);
        self.steps = if steps < FEW { 0 } else { self.steps.saturating_add(steps) };
        // tokio gives each poll of a task a budget of steps. A task that is pending with budget
        // left waits for something; one without would have gone on.
        let used_up = polled.is_pending() && !has_budget_remaining();
        self.place = used_up.then(|| self.fair_queue.join(context.waker()));
        polled
    }
}

/// Waker of one task. A wake during the turn of the task is recorded, and the task joins the queue
/// for its next turn. A wake while it is in the queue changes nothing.
pub struct TurnWaker {
    fair_queue: Rc<FairQueue>,
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    task: AtomicWaker,
    /// True while the task has its turn, or waits in the queue for it.
    busy: AtomicBool,
    woken: AtomicBool,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        if !self.busy.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl TurnWaker {
    /// Creates the waker of a task that joins this queue.
    #[must_use]
    pub fn new(fair_queue: &Rc<FairQueue>) -> Self {
        let inner = Arc::<Inner>::default();
        Self { fair_queue: Rc::clone(fair_queue), waker: Waker::from(Arc::clone(&inner)), inner }
    }

    /// Runs a turn of the task of `context`: `work` gets a context that wakes through this waker.
    pub fn turn<T>(
        &self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.inner.task.register(context.waker());
        // From here on wakes are only recorded, so a task that wakes itself in `work` does not pass
        // the queue.
        self.inner.busy.store(true, SeqCst);
        // What a wake up to here is for, `work` sees. Cleared later, a wake during `work` would be
        // lost.
        self.inner.woken.store(false, SeqCst);
        let polled = work(&mut Context::from_waker(&self.waker));
        // A read that has used up the budget of the task wakes it only after the turn.
        let more = self.take_woken() || !has_budget_remaining();
        if polled.is_pending() && more {
            // Until then only a call from the queue wakes it.
            let _place = self.fair_queue.join(context.waker());
            return polled;
        }
        // Another thread may wake it just now. That thread stores `woken` and then loads `busy`;
        // this one stores `busy` and then loads `woken`. In the single order of SeqCst at least one
        // of the two sees what the other stored: either it wakes the task, or this one does.
        self.inner.busy.store(false, SeqCst);
        if polled.is_pending() && self.take_woken() {
            context.waker().wake_by_ref();
        }
        polled
    }

    /// Returns true if it was woken since the start of the turn, or since the last call.
    #[must_use]
    pub fn take_woken(&self) -> bool {
        self.inner.woken.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use crate::{downstream::fair_queue::*, runtime::io::take_steps};

    type Kept = Rc<RefCell<Option<Waker>>>;

    /// Creates a task that counts its turns and wakes itself within them as long as `more` is true,
    /// and the place of its waker.
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
                    // A wake does not call a waiting task earlier.
                    kept.iter()
                        .for_each(|kept| kept.borrow().as_ref().expect("a waker").wake_by_ref());
                    yield_now().await;
                    assert!(turns.get() <= before + 1, "{before} {}", turns.get());
                    before = turns.get();
                }
                for _ in 0..100 {
                    yield_now().await;
                }
                assert_eq!(turns.get(), 49, "each had its last turn, and then nobody rang");
                kept[3].take().expect("a waker").wake();
                yield_now().await;
                assert_eq!(turns.get(), 50);
            })
            .await;
    }

    /// Tasks that are woken again after each turn, from outside: by their sockets.
    #[tokio::test]
    async fn busy_tasks_that_are_woken_at_once_do_not_delay_another() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let fair_queue = Rc::<FairQueue>::default();
                let caller = Rc::clone(&fair_queue);
                spawn_local(async move { caller.run().await });
                let task = |steps: usize| {
                    let (turns, kept) = (Rc::<Cell<u32>>::default(), Kept::default());
                    let (mut queued, count) = (Queued::new(&fair_queue), Rc::clone(&turns));
                    let keep = Rc::clone(&kept);
                    spawn_local(poll_fn(move |context| {
                        keep.replace(Some(context.waker().clone()));
                        queued.turn(context, |context| {
                            count.set(count.get() + 1);
                            take_steps(steps, context);
                            Poll::<()>::Pending
                        })
                    }));
                    (turns, kept)
                };
                let wake = |kept: &Kept| kept.borrow().as_ref().expect("a waker").wake_by_ref();
                let busy: Vec<_> = (0..10).map(|_| task(BUSY / 2)).collect();
                let (small, small_kept) = task(FEW - 1);
                let sum = || busy.iter().map(|(turns, _)| turns.get()).sum::<u32>();
                yield_now().await;
                for round in 1..3 {
                    assert_eq!((sum(), small.get()), (10 * round, round), "not busy yet");
                    busy.iter().for_each(|(_, kept)| wake(kept));
                    wake(&small_kept);
                    yield_now().await;
                }
                // The third wake let the busy ones join, and the queue calls one after the other.
                assert!((20..=21).contains(&sum()), "{}", sum());
                for round in 4..9 {
                    wake(&small_kept);
                    let before = sum();
                    yield_now().await;
                    assert_eq!(small.get(), round);
                    assert!(sum() <= before + 1);
                }
                for _ in 0..20 {
                    yield_now().await;
                }
                assert_eq!(sum(), 30, "each has had its turn");
            })
            .await;
    }

    #[tokio::test]
    async fn fair_queue_only_queues_tasks_that_use_up_their_turn() {
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
                            // Ready again immediately, however much it did.
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
