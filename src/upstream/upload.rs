//! Tasks in which hyper sends bodies on an HTTP/2 connection to an endpoint, and how one is
//! stopped.
//!
//! hyper takes a piece of a body and waits until the endpoint grants room for it. Once the response
//! has started it listens to nothing else meanwhile. So an endpoint that grants no room would keep
//! the stream open after the end of its response, and after the client has left. Therefore the task
//! is dropped, and with it the last handle of the stream, which the `h2` crate then resets.
//!
//! An executor does not know whose task it gets. But hyper polls a body when it starts the request,
//! and spawns the task for the rest of it before it polls another one: the task belongs to the body
//! that was polled last.
//!
//! Guarantee: stopping one upload ends the task of no other request
//! (`tests/edge/http2_uploads.rs`).

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;

/// Order to stop one upload.
#[derive(Debug, Default)]
pub struct UploadStop {
    ordered: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl UploadStop {
    /// Stops the upload.
    pub fn order(&self) {
        // Set before the wake, because the task may not have been polled yet and left no waker.
        self.ordered.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.ordered.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Tasks of one connection, all on this thread.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    polled_last: Rc<RefCell<Option<Rc<UploadStop>>>>,
}

impl Tasks {
    /// Records that the body of this order was polled.
    pub fn polls(&self, stop: &Rc<UploadStop>) {
        *self.polled_last.borrow_mut() = Some(Rc::clone(stop));
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        // No body was polled before it, so it is a task of the connection itself.
        let Some(stop) = self.polled_last.take() else {
            tokio::task::spawn_local(task);
            return;
        };
        let polled_last = Rc::clone(&self.polled_last);
        tokio::task::spawn_local(async move {
            // Dropping the pinned task is what ends the upload: it holds the last handle of
            // the stream.
            let mut task = pin!(task);
            poll_fn(|context| {
                if stop.poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let polled = task.as_mut().poll(context);
                // It has its task: the next spawned one is not for its body.
                polled_last.take();
                polled
            })
            .await;
        });
    }
}
