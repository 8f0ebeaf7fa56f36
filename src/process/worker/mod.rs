//! Worker: one core with its runtime, sockets, connections and pools. Workers share zones and the
//! health of upstreams, nothing else.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    active_config::{ActiveConfig, BuildError},
    shared::Shared,
};
use crate::{
    downstream::{
        drain::Drain, fair_queue::FairQueue, http1::lingering_close::Lingering,
        listen_address::ListenAddress, listener::ListenerPolicy, watchdog::Watchdog,
    },
    http::target::LatestHost,
    log::{access::AccessLogger, throttle::LogThrottle},
    runtime::{coarse_timer::CoarseTimer, release_timer::ReleaseTimer, sys},
};

pub mod accepting;
pub mod active_config;
mod background;
mod opening;
mod serving;
pub mod shared;
pub mod thread;
mod unfinished_head;

/// Time before the end of a drain at which connections that were waited for are closed.
const LAST_CALL: Duration = Duration::from_secs(1);

/// State of a worker for serving connections.
pub struct Worker {
    serving: RefCell<Rc<ActiveConfig>>,
    watchdog: Rc<Watchdog>,
    fair_queue: Rc<FairQueue>,
    lingering: Lingering,
    alarm: Rc<CoarseTimer>,
    releases: Rc<ReleaseTimer>,
    journal: Rc<AccessLogger>,
    drain: Drain,
    connections: TaskTracker,
    /// Cancelled to end every listener.
    shut: CancellationToken,
    /// True once the next response of every connection is its last.
    leaving: Cell<bool>,
    handshakes_failed: LogThrottle,
    /// Throttle for log lines about connections closed for abuse.
    unruly: LogThrottle,
    refused: LogThrottle,
    latest_host: LatestHost,
}

impl Worker {
    /// Builds a worker from a configuration.
    ///
    /// # Errors
    /// When a rule cannot be counted, which a checked configuration rules out.
    pub fn build(shared: &Shared) -> Result<Rc<Self>, BuildError> {
        let config = &shared.config;
        let alarm = Rc::new(CoarseTimer::default());
        let releases = Rc::new(ReleaseTimer::new(shared.timing).map_err(BuildError::Timer)?);
        let journal = AccessLogger::new(shared.clock, &config.access_log, shared.lines.clone());
        let serving = ActiveConfig::of(shared, &alarm, &releases, &journal, None)?;
        Ok(Rc::new(Self {
            serving: RefCell::new(Rc::new(serving)),
            watchdog: Rc::new(Watchdog::new(config.timeouts)),
            fair_queue: Rc::default(),
            lingering: Lingering::default(),
            alarm,
            releases,
            journal,
            drain: shared.drain.clone(),
            connections: TaskTracker::new(),
            shut: CancellationToken::new(),
            leaving: Cell::new(false),
            handshakes_failed: LogThrottle::default(),
            unruly: LogThrottle::default(),
            refused: LogThrottle::default(),
            latest_host: LatestHost::default(),
        }))
    }

    /// Builds the state for another configuration; nothing changes.
    ///
    /// # Errors
    /// When a rule cannot be counted.
    fn prepare(&self, shared: &Shared) -> Result<ActiveConfig, BuildError> {
        ActiveConfig::of(shared, &self.alarm, &self.releases, &self.journal, Some(&self.serving()))
    }

    /// Serves `next` from now on: the next request of every connection uses it. Requests in
    /// progress, parked ones too, end under the old state; an upstream whose settings stayed keeps
    /// its connections.
    fn commit(&self, next: ActiveConfig, shared: &Shared) {
        // Lines of requests in progress go to the new log, as that is where an operator looks from
        // now on.
        self.journal.adopt(&shared.config.access_log, shared.lines.clone());
        self.watchdog.grant(shared.config.timeouts);
        // Requests in progress hold their own `Rc`, so the old state lives until the last of
        // them ends.
        self.serving.replace(Rc::new(next));
        tokio::task::spawn_local(sys::give_back_memory_after_a_change());
    }

    fn serving(&self) -> Rc<ActiveConfig> {
        Rc::clone(&self.serving.borrow())
    }

    /// Policy of the listener configured with `address`, while there is one.
    fn door(&self, address: &ListenAddress) -> Option<Arc<ListenerPolicy>> {
        // Asked for each connection, so a change of the policy needs no new socket.
        self.serving().doors.get(address).cloned()
    }
}
