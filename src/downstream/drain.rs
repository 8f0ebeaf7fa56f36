//! Drain: the state of a graceful stop, as seen by everything that has to react to it.
//!
//! For parked requests the stop ends before its deadline: one released just before the deadline
//! would be forwarded and then cut without a response. So the last quarter of the drain, at most
//! `RESERVE`, is for responses only.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// Longest time before the deadline in which no parked request is released.
const RESERVE: Duration = Duration::from_secs(1);

/// Treatment of connections without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They are closed immediately.
    Close,
    /// They may send one more request, so that no request meets a closing connection: another
    /// process serves already.
    Await,
}

/// Sending half: starts the drain.
#[derive(Debug)]
pub struct DrainOrder {
    order: watch::Sender<Option<Ending>>,
}

/// Receiving half.
#[derive(Clone, Debug)]
pub struct Drain {
    order: watch::Receiver<Option<Ending>>,
}

/// Drain that was started.
#[derive(Clone, Copy, Debug)]
struct Ending {
    deadline: Instant,
    last_release: Instant,
    idle: Idle,
}

impl DrainOrder {
    /// Creates a drain that was not started.
    #[must_use]
    pub fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(None);
        (Self { order: sender }, Drain { order: receiver })
    }

    /// Starts the drain, which ends at `deadline`.
    pub fn by(&self, deadline: Instant, idle: Idle) {
        // A quarter, so that a short drain still releases parked requests for most of its time.
        let reserve = (deadline.saturating_duration_since(Instant::now()) / 4).min(RESERVE);
        self.order.send_replace(Some(Ending { deadline, last_release: deadline - reserve, idle }));
    }
}

impl Drain {
    /// Completes with the deadline once the drain starts; never, if the sending half is gone.
    pub async fn begun(&mut self) -> (Instant, Idle) {
        let Ending { deadline, idle, .. } = self.ending().await;
        (deadline, idle)
    }

    /// Completes, once the drain starts, with the last instant at which a parked request is
    /// released.
    pub async fn last_release(&mut self) -> Instant {
        self.ending().await.last_release
    }

    async fn ending(&mut self) -> Ending {
        let order = self.order.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        match order {
            Some(order) => order,
            // A sender that is gone starts no drain. Its end must not look like one.
            None => std::future::pending().await,
        }
    }

    /// Deadline, if the drain was started.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.order.borrow().map(|order| order.deadline)
    }

    /// Returns true if the drain was started and idle connections are to be closed. All tasks see
    /// it at the same moment.
    #[must_use]
    pub fn closes_idle(&self) -> bool {
        self.order.borrow().is_some_and(|order| order.idle == Idle::Close)
    }
}
