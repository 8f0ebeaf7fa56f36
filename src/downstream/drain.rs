//! The order to stop, as everything that must hear it sees it.
//!
//! The end of a stop is ahead of its deadline for parked requests: one that is released just before
//! the deadline would be forwarded and then cut without a response. So the last part of the time to
//! drain, a quarter of it and at most `RESERVE`, is for responses only.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// The longest time before the deadline in which no parked request is released.
const RESERVE: Duration = Duration::from_secs(1);

/// What becomes of connections without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They are closed at once: the process is wanted gone.
    Close,
    /// They may ask once more, so that no request meets a closing connection: somebody else serves
    /// already.
    Await,
}

/// Gives the order.
#[derive(Debug)]
pub struct DrainOrder {
    order: watch::Sender<Option<Ending>>,
}

/// Hears it.
#[derive(Clone, Debug)]
pub struct Drain {
    order: watch::Receiver<Option<Ending>>,
}

/// An order that was given.
#[derive(Clone, Copy, Debug)]
struct Ending {
    deadline: Instant,
    last_release: Instant,
    idle: Idle,
}

impl DrainOrder {
    /// An order not yet given.
    #[must_use]
    pub fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(None);
        (Self { order: sender }, Drain { order: receiver })
    }

    /// Orders everything to be finished by `deadline`.
    pub fn by(&self, deadline: Instant, idle: Idle) {
        let reserve = (deadline.saturating_duration_since(Instant::now()) / 4).min(RESERVE);
        self.order.send_replace(Some(Ending { deadline, last_release: deadline - reserve, idle }));
    }
}

impl Drain {
    /// Completes with the deadline once the order is given; never, when nobody is left to give it.
    pub async fn begun(&mut self) -> (Instant, Idle) {
        let Ending { deadline, idle, .. } = self.ending().await;
        (deadline, idle)
    }

    /// Completes with the last instant at which a parked request is released once the order is
    /// given.
    pub async fn last_release(&mut self) -> Instant {
        self.ending().await.last_release
    }

    async fn ending(&mut self) -> Ending {
        let order = self.order.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        match order {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// The deadline, if the order was given.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.order.borrow().map(|order| order.deadline)
    }

    /// Whether the order was given, and connections without a request are to be closed. Every task
    /// sees it at the same moment, whoever is told first.
    #[must_use]
    pub fn closes_idle(&self) -> bool {
        self.order.borrow().is_some_and(|order| order.idle == Idle::Close)
    }
}
