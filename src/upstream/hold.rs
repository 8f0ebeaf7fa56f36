//! A request that found nobody to take it, and waits for somebody to come back: nothing of it was
//! sent.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::endpoints::Known;
use crate::http::error::Error;

/// How long a request has waited, and how long it may.
#[derive(Debug)]
pub struct Hold {
    until: Option<Instant>,
    time: Duration,
    pause: Duration,
}

impl Hold {
    /// The first and the longest pause between two looks.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

    /// A request that may wait this long; the first look that fails starts the time.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self { until: None, time, pause: Self::PAUSES.0 }
    }

    /// The next pause is the longest, or half of the time: who lost a fresh connection may be
    /// dying, and a busy machine takes its time.
    pub fn expect_no_haste(&mut self) {
        self.pause = Self::PAUSES.1.min(self.time / 2);
    }

    /// Pauses before the next look, or gives up with what the last one met. Other addresses end the
    /// pause.
    ///
    /// # Errors
    /// The given one, once the time is up.
    pub async fn or_give_up(
        &mut self,
        error: Error,
        mut known: watch::Receiver<Known>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.time);
        if now + self.pause > until {
            return Err(error);
        }
        if let Ok(Ok(())) = tokio::time::timeout(self.pause, known.changed()).await {
            self.pause = Self::PAUSES.0;
            return Ok(());
        }
        self.pause = (self.pause * 2).min(Self::PAUSES.1);
        Ok(())
    }
}
