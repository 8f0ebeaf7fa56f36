//! The order to stop, as everything that must hear it sees it.

use tokio::{sync::watch, time::Instant};

/// Gives the order.
#[derive(Debug)]
pub struct DrainOrder {
    order: watch::Sender<Option<Instant>>,
}

/// Hears it.
#[derive(Clone, Debug)]
pub struct Drain {
    order: watch::Receiver<Option<Instant>>,
}

impl DrainOrder {
    /// An order not yet given.
    #[must_use]
    pub fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(None);
        (Self { order: sender }, Drain { order: receiver })
    }

    /// Orders everything to be finished by `deadline`.
    pub fn by(&self, deadline: Instant) {
        self.order.send_replace(Some(deadline));
    }
}

impl Drain {
    /// Completes with the deadline once the order is given; never, when nobody is left to give it.
    pub async fn begun(&mut self) -> Instant {
        let order = self.order.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        match order {
            Some(deadline) => deadline,
            None => std::future::pending().await,
        }
    }

    /// The deadline, if the order was given.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        *self.order.borrow()
    }
}
