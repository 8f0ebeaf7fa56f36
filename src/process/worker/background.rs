//! Background tasks of a worker: timers, the sweep of idle connections, and the drain.

use std::rc::Rc;

use tokio::time::MissedTickBehavior;

use super::{LAST_CALL, Worker};
use crate::downstream::{drain::Idle, watchdog::WATCHDOG_TICK};

impl Worker {
    /// Runs the periodic tasks, for as long as it is polled; must be called where `spawn_local` may
    /// be.
    pub async fn run_background_tasks(&self) {
        // A task of its own: joined with the others, every step of the queue would poll all of
        // them.
        let fair_queue = Rc::clone(&self.fair_queue);
        tokio::task::spawn_local(async move { fair_queue.run().await });
        // Joined they are one task, because each of them has little to do.
        tokio::join!(
            self.watchdog.run(),
            self.alarm.run(),
            self.journal.run(),
            self.sweep(),
            self.pass_on(),
            self.release()
        );
    }

    async fn sweep(&self) {
        let mut ticks = tokio::time::interval(WATCHDOG_TICK);
        // Missed sweeps are not made up for: one finds everything that is due.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for upstream in &self.serving().upstreams {
                upstream.sweep();
            }
        }
    }

    async fn release(&self) {
        if let Err(error) = self.releases.run().await {
            tracing::error!(%error, "parked requests are no longer released on time");
        }
    }

    /// Passes a stop to the connections first, then to the listeners: once a client finds the
    /// listener closed, the responses in progress are the last.
    async fn pass_on(&self) {
        let (deadline, idle) = self.drain.clone().begun().await;
        match idle {
            Idle::Close => self.watchdog.drain(),
            Idle::Await => {
                // Connections that are idle now learn it with their next request, whose response is
                // the last.
                self.leaving.set(true);
                self.watchdog.drain_busy();
            }
        }
        self.shut.cancel();
        if idle == Idle::Await {
            tokio::time::sleep_until(deadline - LAST_CALL).await;
            self.watchdog.drain();
        }
    }

    /// Completes when a stop was requested and every connection has ended or the drain timeout has
    /// passed.
    pub async fn finished(&self) {
        let mut drain = self.drain.clone();
        let (deadline, _) = drain.begun().await;
        // The tracker completes only when it is closed: before that more connections may come.
        self.connections.close();
        if tokio::time::timeout_at(deadline, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "drain timeout reached; closing remaining connections"
            );
        }
    }
}
