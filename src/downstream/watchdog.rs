//! Watchdog of a worker: one coarse timer that ends connections and streams whose clients take too
//! long.
//!
//! Guarantee: a client is cut no earlier than its time-out and at most [`WATCHDOG_TICK`] later.
//! Nothing is armed per request. `tests/edge/watchdog.rs` holds it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use super::{
    client_state::{ClientState, WaitingFor},
    settings::ClientTimeouts,
};
use crate::runtime::io::CutReason;

/// Interval between looks at all connections.
pub const WATCHDOG_TICK: Duration = Duration::from_millis(500);

/// Connections and streams of a worker.
pub struct Watchdog {
    timeouts: Cell<ClientTimeouts>,
    watched: RefCell<Vec<Watched>>,
    draining: Cell<bool>,
}

struct Watched {
    state: Weak<ClientState>,
    seen: (WaitingFor, u64),
    ticks: u32,
    upload: u64,
    upload_ticks: u32,
    /// Looks since the connection started, if its age is limited.
    age: Option<u32>,
    /// Bytes of an upload that may have arrived but are not counted yet.
    unseen: u64,
}

/// Minimum average rate of a body in bytes a second, over the time that was spent waiting for it
/// ...
const LEAST_RATE: u64 = 250;
/// ... once that is longer than this.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// Largest HTTP/2 frame that is accepted (RFC 9113, section 4.2).
const FRAME: u64 = 16 * 1024;
/// Time that a client which closed its sending side may go without taking the next piece of its
/// response: most of those have left.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time-out of a connection without streams ...
const NO_STREAM: Duration = Duration::from_secs(60);
/// ... and time for closing it after GOAWAY.
const CLOSING: Duration = Duration::from_secs(1);

impl Watchdog {
    /// Creates a watchdog without connections.
    #[must_use]
    pub fn new(timeouts: ClientTimeouts) -> Self {
        Self {
            timeouts: Cell::new(timeouts),
            watched: RefCell::default(),
            draining: Cell::new(false),
        }
    }

    /// Changes the time-outs from now on, also for open connections.
    pub fn grant(&self, timeouts: ClientTimeouts) {
        self.timeouts.set(timeouts);
    }

    /// Returns the time-outs.
    #[must_use]
    pub fn granted(&self) -> ClientTimeouts {
        self.timeouts.get()
    }

    /// Watches a connection, which ends when it is too old.
    pub fn watch_connection(&self, state: &Rc<ClientState>) {
        self.watch(state, Some(0), 0);
    }

    /// Watches a stream, of whose body only whole frames are seen.
    pub fn watch_stream(&self, state: &Rc<ClientState>) {
        self.watch(state, None, FRAME);
    }

    fn watch(&self, state: &Rc<ClientState>, age: Option<u32>, unseen: u64) {
        // A connection may be accepted, or a stream opened, after the drain has started.
        if self.draining.get() {
            state.drain();
        }
        let (state, seen) = (Rc::downgrade(state), state.pending());
        self.watched.borrow_mut().push(Watched {
            state,
            seen,
            ticks: 0,
            upload: 0,
            upload_ticks: 0,
            age,
            unseen,
        });
    }

    /// Notifies every connection, also later ones, that the response in progress is the last.
    pub fn drain(&self) {
        self.draining.set(true);
        for state in self.watched.borrow().iter().filter_map(|watched| watched.state.upgrade()) {
            state.drain();
        }
    }

    /// Notifies those with a request in progress; the others may start one more.
    pub fn drain_busy(&self) {
        let watched = self.watched.borrow();
        let idle = |state: &Rc<ClientState>| {
            matches!(state.pending().0, WaitingFor::Request | WaitingFor::Head)
        };
        for state in watched
            .iter()
            .filter_map(|watched| watched.state.upgrade())
            .filter(|state| !idle(state))
        {
            state.drain();
        }
    }

    /// Looks at all connections every [`WATCHDOG_TICK`], for as long as it is polled.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(WATCHDOG_TICK);
        // Ticks are the only clock of the time-outs. If missed ticks were made up for, a process
        // that was frozen would cut clients that had no time to act.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let timeouts = self.timeouts.get();
        self.watched.borrow_mut().retain_mut(|watched| {
            // A connection that ended is dropped here, so none has to unregister itself.
            let Some(state) = watched.state.upgrade() else { return false };
            if watched.is_old(&timeouts) {
                state.drain();
            }
            if let Some(why) = watched.is_late(&state, &timeouts) {
                // The time for closing begins with GOAWAY, not with the last stream.
                watched.ticks = 0;
                // A connection without streams gets GOAWAY first, so that a stream in flight is not
                // lost.
                if state.pending().0 == WaitingFor::Stream && !state.is_draining() {
                    state.drain();
                } else {
                    state.cut(why);
                }
            } else if watched.is_too_slow(&state) {
                state.cut(CutReason::SlowBody);
            }
            true
        });
    }
}

impl Watched {
    fn is_old(&mut self, timeouts: &ClientTimeouts) -> bool {
        let Some(age) = &mut self.age else { return false };
        *age += 1;
        // The first look may follow right after the start.
        WATCHDOG_TICK * (*age - 1) >= timeouts.connection
    }

    /// Returns true if a body is too slow on average, however short each pause is.
    fn is_too_slow(&mut self, state: &ClientState) -> bool {
        let upload = state.upload();
        if upload.number != self.upload {
            self.upload = upload.number;
            self.upload_ticks = 0;
        }
        // Only waiting for the client counts. A body that is slow because its endpoint takes it
        // slowly is not the fault of the client.
        if state.pending().0 != WaitingFor::Body {
            return false;
        }
        self.upload_ticks += 1;
        let waited = WATCHDOG_TICK * self.upload_ticks;
        // Bytes of an incomplete frame are not visible here, so one whole frame counts in favour of
        // the client.
        waited > RATE_GRACE && upload.bytes + self.unseen < LEAST_RATE * waited.as_secs()
    }

    /// Returns the time-out that has passed, if any.
    fn is_late(&mut self, state: &ClientState, timeouts: &ClientTimeouts) -> Option<CutReason> {
        let now = state.pending();
        // The counter changes with each contribution of the client, also when the state before and
        // after is the same.
        if now != self.seen {
            self.seen = now;
            self.ticks = 0;
        }
        self.ticks += 1;
        let (timeout, why) = match now.0 {
            WaitingFor::Nothing | WaitingFor::Tunnel => return None,
            WaitingFor::Request => (timeouts.keepalive, CutReason::Idle),
            WaitingFor::Stream if state.is_draining() => (CLOSING, CutReason::Idle),
            WaitingFor::Stream => (timeouts.keepalive.min(NO_STREAM), CutReason::Idle),
            WaitingFor::Head => (timeouts.header, CutReason::Head),
            WaitingFor::Body => (timeouts.body, CutReason::Body),
            WaitingFor::Room => (timeouts.write, CutReason::Write),
            WaitingFor::Farewell => (FAREWELL, CutReason::HalfClosed),
        };
        // The first look may follow right after the start of the wait, so one more tick must pass.
        (WATCHDOG_TICK * self.ticks.saturating_sub(1) >= timeout).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use crate::downstream::watchdog::*;

    const TIMEOUTS: ClientTimeouts = ClientTimeouts {
        header: Duration::from_secs(10),
        body: Duration::from_secs(30),
        keepalive: Duration::from_secs(75),
        write: Duration::from_secs(30),
        connection: Duration::from_secs(3600),
    };

    async fn cut_after(awaiting: WaitingFor, uploaded: u64) -> (Duration, Option<CutReason>) {
        let state = ClientState::new(awaiting);
        state.uploaded(uploaded);
        let watchdog = Watchdog::new(TIMEOUTS);
        watchdog.watch(&state, None, 0);
        let start = Instant::now();
        let after = tokio::select! {
            () = poll_fn(|context| state.poll_cut(context)) => start.elapsed(),
            () = watchdog.run() => Duration::ZERO,
            () = tokio::time::sleep(Duration::from_secs(600)) => Duration::MAX,
        };
        (after, state.ended_by())
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit_and_our_own_turn_has_none() {
        let seconds = Duration::from_secs;
        assert_eq!(cut_after(WaitingFor::Head, 0).await, (seconds(10), Some(CutReason::Head)));
        assert_eq!(
            cut_after(WaitingFor::Body, 1 << 20).await,
            (seconds(30), Some(CutReason::Body))
        );
        assert_eq!(cut_after(WaitingFor::Room, 0).await, (seconds(30), Some(CutReason::Write)));
        assert_eq!(
            cut_after(WaitingFor::Farewell, 0).await,
            (FAREWELL, Some(CutReason::HalfClosed))
        );
        assert_eq!(cut_after(WaitingFor::Request, 0).await, (seconds(75), Some(CutReason::Idle)));
        assert_eq!(
            cut_after(WaitingFor::Stream, 0).await,
            (NO_STREAM + CLOSING + WATCHDOG_TICK, Some(CutReason::Idle))
        );
        assert_eq!(cut_after(WaitingFor::Nothing, 0).await, (Duration::MAX, None));
    }

    #[tokio::test(start_paused = true)]
    async fn watchdog_cuts_body_below_minimum_rate_after_grace() {
        assert_eq!(cut_after(WaitingFor::Body, 0).await, (RATE_GRACE, Some(CutReason::SlowBody)));
        assert_eq!(
            cut_after(WaitingFor::Body, 250 * 20).await,
            (Duration::from_secs(20) + WATCHDOG_TICK, Some(CutReason::SlowBody))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_told_to_close_no_earlier_than_its_time() {
        let watchdog =
            Watchdog::new(ClientTimeouts { connection: Duration::from_secs(6), ..TIMEOUTS });
        let ages = async {
            for pause in [0, 1, 250, 499] {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let (state, start) = (ClientState::new(WaitingFor::Nothing), Instant::now());
                watchdog.watch_connection(&state);
                while !state.is_draining() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(
                    (6_000..=6_501).contains(&start.elapsed().as_millis()),
                    "{:?}",
                    start.elapsed()
                );
            }
        };
        tokio::select! {
            () = ages => {}
            () = watchdog.run() => unreachable!("a watchdog never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_ended_is_forgotten() {
        let watchdog = Watchdog::new(TIMEOUTS);
        watchdog.watch(&ClientState::new(WaitingFor::Head), None, 0);
        watchdog.look();
        assert!(watchdog.watched.borrow().is_empty());
    }
}
