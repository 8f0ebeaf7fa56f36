//! Whether the client of an HTTP/2 connection is still there: one that is silent is asked, and has
//! to answer (RFC 9113, section 6.7) or to show otherwise that it is.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::metered_io::Meter;

/// After how much silence a client is asked, ...
pub const SILENCE: Duration = Duration::from_secs(20);
/// ... and how long it has to answer.
pub const ANSWER: Duration = Duration::from_secs(10);

/// The pings of one connection.
pub struct PingTimer {
    pings: Option<PingPong>,
    meter: Rc<Meter>,
    due: Pin<Box<Sleep>>,
    asked: bool,
}

impl PingTimer {
    /// The pulse of a connection that has just begun. Without pings a client is never found
    /// missing.
    #[must_use]
    pub fn new(pings: Option<PingPong>, meter: &Rc<Meter>) -> Self {
        Self { pings, meter: Rc::clone(meter), due: Box::pin(sleep(SILENCE)), asked: false }
    }

    /// Ready when the client is gone. Asks it when it is time to.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.asked && pings.poll_pong(context).is_ready() {
            self.asked = false;
            self.due.as_mut().reset(Instant::now() + SILENCE);
        }
        while self.due.as_mut().poll(context).is_ready() {
            let (due, silent_till) = (self.due.deadline(), self.meter.heard() + SILENCE);
            if self.asked {
                // What it takes may lie before what it is asked, and what it sends before what it
                // answers.
                let answers_till = self.meter.heard() + ANSWER;
                if answers_till <= due {
                    self.pings = None;
                    return Poll::Ready(());
                }
                self.due.as_mut().reset(answers_till);
                continue;
            } else if silent_till > due {
                self.due.as_mut().reset(silent_till);
                continue;
            }
            if let Err(cause) = pings.send_ping(Ping::opaque()) {
                tracing::debug!(%cause, "a client could not be asked whether it is there");
            }
            self.asked = pings.poll_pong(context).is_pending();
            self.due.as_mut().reset(due + ANSWER);
        }
        Poll::Pending
    }
}
