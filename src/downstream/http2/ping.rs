//! Liveness of an HTTP/2 client: a silent one gets a PING and has to acknowledge it (RFC 9113,
//! section 6.7) or to send something else.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::metered_io::Meter;

/// Silence after which a PING is sent, ...
pub const PING_AFTER: Duration = Duration::from_secs(20);
/// ... and time to acknowledge it.
pub const ANSWER: Duration = Duration::from_secs(10);

/// PING state of one connection.
pub struct PingTimer {
    pings: Option<PingPong>,
    meter: Rc<Meter>,
    due: Pin<Box<Sleep>>,
    asked: bool,
}

impl PingTimer {
    /// Creates the timer of a new connection. Without PINGs a client is never declared gone.
    #[must_use]
    pub fn new(pings: Option<PingPong>, meter: &Rc<Meter>) -> Self {
        Self { pings, meter: Rc::clone(meter), due: Box::pin(sleep(PING_AFTER)), asked: false }
    }

    /// Ready when the client is gone. Sends a PING when it is due.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.asked && pings.poll_pong(context).is_ready() {
            self.asked = false;
            self.due.as_mut().reset(Instant::now() + PING_AFTER);
        }
        // A timer that was reset registers its waker only in another poll, so every branch that
        // resets it polls again.
        while self.due.as_mut().poll(context).is_ready() {
            let (due, silent_till) = (self.due.deadline(), self.meter.heard() + PING_AFTER);
            if self.asked {
                // Pending data may lie before the PING, and received data before its
                // acknowledgement.
                let answers_till = self.meter.heard() + ANSWER;
                if answers_till <= due {
                    // The caller ends the connection. Without PINGs this is not reported a
                    // second time.
                    self.pings = None;
                    return Poll::Ready(());
                }
                self.due.as_mut().reset(answers_till);
                continue;
            } else if silent_till > due {
                // Frames that arrived show that the client is there, so no PING is sent.
                self.due.as_mut().reset(silent_till);
                continue;
            }
            if let Err(cause) = pings.send_ping(Ping::opaque()) {
                tracing::debug!(%cause, "cannot send PING to the client");
            }
            // Polled also to register the waker: an acknowledgement alone has to wake the task.
            self.asked = pings.poll_pong(context).is_pending();
            self.due.as_mut().reset(due + ANSWER);
        }
        Poll::Pending
    }
}
