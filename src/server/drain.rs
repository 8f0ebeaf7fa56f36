//! The order to stop, as everything that must hear it sees it.

use tokio::{sync::watch, time::Instant};

/// What becomes of connections without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They are closed at once: the process is wanted gone.
    Close,
    /// They may ask once more, so that no request meets a closing connection: somebody else serves already.
    Await,
}

/// Gives the order.
#[derive(Debug)]
pub struct DrainOrder {
    order: watch::Sender<Option<(Instant, Idle)>>,
}

/// Hears it.
#[derive(Clone, Debug)]
pub struct Drain {
    order: watch::Receiver<Option<(Instant, Idle)>>,
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
        self.order.send_replace(Some((deadline, idle)));
    }
}

impl Drain {
    /// Completes with the deadline once the order is given; never, when nobody is left to give it.
    pub async fn begun(&mut self) -> (Instant, Idle) {
        let order = self.order.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        match order {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// The deadline, if the order was given.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.order.borrow().map(|(deadline, _)| deadline)
    }

    /// Whether the order was given, and connections without a request are to be closed. Every task sees it at the same moment,
    /// whoever is told first.
    #[must_use]
    pub fn closes_idle(&self) -> bool {
        self.order.borrow().is_some_and(|(_, idle)| idle == Idle::Close)
    }
}
