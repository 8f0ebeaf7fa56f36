//! State that all workers share, and the sockets of one.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    downstream::drain::Drain,
    limit::{ConcurrencyZone, Queue, Zone},
    log::{gateway::Gateway, writer::Lines},
    process::listeners::ListenerMap,
    runtime::{clock::Clock, release_timer::Timing},
    upstream::{connect::Connector, endpoints::EndpointGroup},
};

/// State that all workers share. A configuration change makes a new one with the same clock, queue
/// and drain.
#[derive(Clone)]
pub struct Shared {
    /// Resolved configuration.
    pub config: Arc<Config>,
    /// Zones, in the order of [`Config::zones`].
    pub zones: Vec<Arc<Zone>>,
    /// Zones of concurrency, in the order of [`Config::concurrency`].
    pub concurrency: Vec<Arc<ConcurrencyZone>>,
    /// Upstreams, in the order of [`Config::upstreams`].
    pub upstreams: Vec<Arc<EndpointGroup>>,
    /// Policies of the listeners.
    pub doors: Arc<ListenerMap>,
    /// Limit on parked requests.
    pub queue: Arc<Queue>,
    /// Clock of the process.
    pub clock: Clock,
    /// Queues of the access log.
    pub lines: Option<Lines>,
    /// Kind of timer for releases.
    pub timing: Timing,
    /// Connector to upstreams.
    pub connector: Connector,
    /// Default gateway, as which hidden clients appear.
    pub gateway: Option<Gateway>,
    /// Drain state.
    pub drain: Drain,
    /// Cancelled by an immediate stop.
    pub abandon: CancellationToken,
}

/// Socket to accept on, with its configured address.
#[derive(Debug)]
pub struct Listening {
    /// Address as configured: port 0 is still 0.
    pub address: SocketAddr,
    /// Listening socket.
    pub socket: TcpListener,
}

impl Listening {
    /// Duplicates the socket.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { address: self.address, socket: self.socket.try_clone()? })
    }
}
