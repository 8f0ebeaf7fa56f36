//! State that all workers share, and the sockets of one.

use std::{io, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    downstream::{drain::Drain, listen_address::ListenAddress, listen_socket::ListenSocket},
    limit::{ConcurrencyZone, Queue, Zone},
    log::{gateway::Gateway, writer::Lines},
    process::{inherited_sockets::InheritedSockets, listeners::ListenerMap},
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
    /// Sockets that the service manager opened.
    pub inherited: Arc<InheritedSockets>,
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
    pub address: ListenAddress,
    /// Listening socket.
    pub socket: ListenSocket,
}

impl Listening {
    /// Duplicates the socket.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { address: self.address.clone(), socket: self.socket.try_clone()? })
    }

    /// Address it listens on, with the chosen port.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn local_address(&self) -> io::Result<ListenAddress> {
        self.socket.local_address(&self.address)
    }
}
