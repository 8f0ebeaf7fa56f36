//! Hold: a request for which no endpoint accepts connections waits for one to return.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::endpoints::Known;
use crate::http::error::Error;

/// Time that a request has waited, and may wait.
#[derive(Debug)]
pub struct Hold {
    until: Option<Instant>,
    time: Duration,
    pause: Duration,
}

impl Hold {
    /// Pause after the first failed try; it doubles with each further one ...
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    /// ... up to this.
    const LONGEST_PAUSE: Duration = Duration::from_millis(500);

    /// Creates the hold of a request that may wait this long; the first failed try starts the time.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self { until: None, time, pause: Self::FIRST_PAUSE }
    }

    /// Makes the next pause the longest, or half of the time: an endpoint that closed a fresh
    /// connection may be about to end, and a busy machine needs time.
    pub fn expect_no_haste(&mut self) {
        self.pause = Self::LONGEST_PAUSE.min(self.time / 2);
    }

    /// Pauses before the next try, or gives up with the error of the last one. New addresses end
    /// the pause.
    ///
    /// # Errors
    /// The given one, once the time is up.
    pub async fn or_give_up(
        &mut self,
        error: Error,
        mut known: watch::Receiver<Known>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        // The time starts with the first failure, not with each pause.
        let until = *self.until.get_or_insert(now + self.time);
        // A pause beyond the end cannot succeed, so the client gets the error now.
        if now + self.pause > until {
            return Err(error);
        }
        if let Ok(Ok(())) = tokio::time::timeout(self.pause, known.changed()).await {
            // New addresses are tried soon: they are what the request waited for.
            self.pause = Self::FIRST_PAUSE;
            return Ok(());
        }
        self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
        Ok(())
    }
}
