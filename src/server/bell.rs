//! Wakes a task, but not while it has its turn: what rings then is noted, and answered once the others had theirs.
//!
//! Guarantee: no ring is lost, whichever thread it comes from; a task that keeps itself busy lets everybody who is ready, and the news
//! of the kernel, go first.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// The bell of one task.
pub struct Bell {
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    task: AtomicWaker,
    in_turn: AtomicBool,
    rang: AtomicBool,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, SeqCst);
        if !self.in_turn.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        let inner = Arc::<Inner>::default();
        Self { waker: Waker::from(Arc::clone(&inner)), inner }
    }
}

impl Bell {
    /// The task of `context` has its turn: `work` is given a context that rings here. If it is not ready and has rung meanwhile, the
    /// task has its next turn after the others.
    pub fn turn<T>(&self, context: &mut Context<'_>, work: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.inner.task.register(context.waker());
        self.inner.in_turn.store(true, SeqCst);
        self.inner.rang.store(false, SeqCst);
        let polled = work(&mut Context::from_waker(&self.waker));
        self.inner.in_turn.store(false, SeqCst);
        if polled.is_pending() && self.has_rung() {
            // tokio keeps who yields aside until nobody else is ready, and asks the kernel before it goes on.
            let _ = pin!(tokio::task::yield_now()).poll(context);
        }
        polled
    }

    /// Whether it rang since the turn began, or since this was asked.
    pub fn has_rung(&self) -> bool {
        self.inner.rang.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, rc::Rc};

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn a_task_that_wakes_itself_lets_the_others_go_first_and_one_that_is_woken_runs() {
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let (bell, kept) = (Bell::default(), Rc::new(Cell::new(None)));
        let keeps = Rc::clone(&kept);
        let busy = async move {
            poll_fn(|context| {
                bell.turn(context, |context| {
                    keeps.set(Some(context.waker().clone()));
                    counted.set(counted.get() + 1);
                    match counted.get() {
                        1..=3 => context.waker().wake_by_ref(),
                        5 => return Poll::Ready(()),
                        _ => {}
                    }
                    Poll::Pending
                })
            })
            .await;
        };
        let local = LocalSet::new();
        local.spawn_local(busy);
        local
            .run_until(async {
                for turn in 1..=4 {
                    yield_now().await;
                    assert_eq!(turns.get(), turn);
                }
                yield_now().await;
                assert_eq!(turns.get(), 4, "nobody rang");
                kept.take().expect("a waker").wake();
                spawn_local(yield_now()).await.expect("no panic");
                assert_eq!(turns.get(), 5);
            })
            .await;
    }
}
