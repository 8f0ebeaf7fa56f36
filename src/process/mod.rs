//! From a configuration to a running proxy: bind everything, start the workers, wait for the order
//! to stop, drain.

use std::{io, net::SocketAddr, os::unix::net::UnixListener, path::Path, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    admin::Reloaded,
    handover::{HandoverError, Predecessor},
    running::{Running, Startup},
    worker::{Listening, Shared},
    workers::Workers,
};
use crate::{
    config::{Config, Loaded, Problems},
    downstream::{
        drain::{Drain, DrainOrder},
        settings::ListenerSettings,
        tls::TlsError,
    },
    limit::Queue,
    log::{
        gateway::Gateway,
        writer::{self, LogError, Writer},
    },
    runtime::{clock::Clock, release_timer::Timing},
    upstream::{connect, tls::SecureError},
};

pub mod admin;
pub mod control;
pub mod fd_limit;
pub mod handover;
pub mod listeners;
pub mod panic_guard;
pub mod reload;
mod running;
mod sockets;
pub mod state;
pub mod state_writer;
pub mod worker;
pub mod workers;

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}{}", taken_hint(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A listener cannot speak TLS.
    #[error("cannot speak TLS on `{address}`: {source}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Box<TlsError>,
    },
    /// TLS to an upstream cannot be spoken.
    #[error("cannot speak TLS to upstream `{upstream}`: {source}")]
    Upstream {
        /// Its name.
        upstream: Arc<str>,
        /// Why.
        source: SecureError,
    },
    /// The access log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The process that was to be followed did not hand everything over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// A thread or a runtime cannot be had.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
}

fn taken_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ", hint: another program listens there; stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            ", hint: ports below 1024 need a privilege; choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => ", hint: this machine has no such address",
        _ => "",
    }
}

/// What a running proxy may be told.
pub enum ControlMessage {
    /// To drain; told again, to stop at once.
    Stop,
    /// To load its configuration again, and to tell somebody what came of it.
    Reload(Option<oneshot::Sender<Reloaded>>),
    /// To open its log again, because the file was moved away.
    ReopenLog,
    /// To hand everything over to a new process of the program that is on disk now.
    HandOver,
}

/// Where orders are given, and where they are taken.
pub struct Control {
    /// For whoever gives them.
    pub give: mpsc::Sender<ControlMessage>,
    /// For the proxy.
    pub take: mpsc::Receiver<ControlMessage>,
}

impl Control {
    /// No order given yet; giving waits while several are not taken.
    #[must_use]
    pub fn none() -> Self {
        let (give, take) = mpsc::channel(4);
        Self { give, take }
    }
}

/// Loads a configuration.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// Where a running proxy finds its configuration.
pub struct ConfigSource {
    /// Loads it, on a thread that may wait for a disk.
    pub load: Load,
    /// Is told the level of diagnostics.
    pub set_log_level: Box<dyn Fn(&str)>,
}

/// A proxy whose sockets are open and whose workers have not begun.
pub struct App {
    shared: Shared,
    order: DrainOrder,
    sockets: Vec<Vec<Listening>>,
    /// The operator's.
    admin: Option<Listening>,
    /// Where commands with the same configuration file ask.
    control: Option<UnixListener>,
    writer: Option<Writer>,
    predecessor: Option<Predecessor>,
}

/// How a proxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Drained: everything under way was answered, or its time was up.
    Drained,
    /// Told twice: everything was dropped.
    Abandoned,
}

impl App {
    /// Opens everything a configuration asks for, but what a predecessor hands over; nothing is
    /// served yet.
    ///
    /// # Errors
    /// When an address, a certificate or the access log cannot be had.
    pub fn bind(config: Config, mut predecessor: Option<Predecessor>) -> Result<Self, StartError> {
        let doors = listeners::fit(&listeners::ListenerMap::new(), &config.listeners)?.apply();
        let mut sockets = sockets::none_for(config.workers);
        for address in addresses(&config.listeners) {
            let handed = predecessor
                .as_mut()
                .map(|predecessor| predecessor.take(address))
                .unwrap_or_default();
            sockets::listen_for(&config.listeners, &mut sockets, address, handed)?;
        }
        let mut door = sockets::none_for(1);
        if let Some(address) = config.admin {
            let handed = predecessor
                .as_mut()
                .map(|predecessor| predecessor.take(address))
                .unwrap_or_default();
            sockets::listen(&mut door, address, handed)?;
        }
        let admin = door.pop().and_then(|mut door| door.pop());
        state_writer::try_out(&config.state, predecessor.is_some());
        let (lines, writer) = open_log(&config)?;
        let (order, drain) = DrainOrder::new();
        let shared = share(config, doors, lines, drain)?;
        Ok(Self { shared, order, sockets, admin, control: None, writer, predecessor })
    }

    /// Opens the control socket of the configuration `file`, or takes that of a predecessor.
    /// Without one commands ask `admin.address`.
    pub fn open_control(&mut self, file: &Path) {
        let handed = self.predecessor.as_mut().and_then(Predecessor::take_control);
        match handed.map_or_else(|| control::bind(file), Ok) {
            Ok(socket) => self.control = Some(socket),
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "cannot open the control socket; commands ask `admin.address`");
            }
        }
    }

    /// Listens on one more address, with the settings and the connection caps of the first
    /// listener.
    ///
    /// # Errors
    /// When the address cannot be listened on; the others still are.
    pub fn listen_beside_first(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let first = self
            .shared
            .config
            .listeners
            .first()
            .and_then(|first| self.shared.doors.get(&first.address));
        let Some(first) = first.map(Arc::clone) else {
            let source = io::Error::other("there is no listener beside it");
            return Err(StartError::Bind { address, source });
        };
        sockets::listen(&mut self.sockets, address, Vec::new())?;
        Arc::make_mut(&mut self.shared.doors).insert(address, first);
        Ok(())
    }

    /// The addresses it listens on, ports chosen.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets
            .first()
            .into_iter()
            .flatten()
            .map(|listening| listening.socket.local_addr())
            .collect()
    }

    /// Serves until `orders` say stop. Where there is no `source`, there is nothing to load again.
    ///
    /// # Errors
    /// When a worker cannot be started or fails.
    pub fn run(self, orders: Control, source: Option<ConfigSource>) -> Result<Ended, StartError> {
        let addresses = self.addresses().map_err(StartError::Thread)?;
        let Self { mut shared, order, sockets, admin, control, writer, predecessor } = self;
        if let Some(predecessor) = predecessor {
            shared.zones = state_writer::revive(predecessor.state()?, &shared.config, shared.clock);
            tracing::info!(pid = std::process::id(), "took over");
        }
        let again = sockets.iter().flatten().chain(&admin).map(Listening::again);
        let held: Vec<_> = again.collect::<io::Result<_>>().map_err(StartError::Thread)?;
        sockets::tune(&held, shared.config.timeouts.write)?;
        let crew = Workers::start(&shared, sockets)?;
        tracing::info!(?addresses, "listening");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let running = Running::new(Startup { shared, order, crew, held, control, writer, source });
        let (ended, crew, writers) =
            LocalSet::new().block_on(&runtime, running.until_ended(orders, admin));
        // Nothing waits for a thread that is still within a file, a name or a new process.
        runtime.shutdown_background();
        crew.join()?;
        Writer::finish_all(&writers);
        Ok(ended)
    }
}

fn open_log(config: &Config) -> Result<(Option<writer::Lines>, Option<Writer>), StartError> {
    Ok(writer::start(&config.access_log)?.unzip())
}

fn addresses(listeners: &[ListenerSettings]) -> Vec<SocketAddr> {
    listeners.iter().flat_map(ListenerSettings::addresses).collect()
}

fn share(
    config: Config,
    doors: Arc<listeners::ListenerMap>,
    lines: Option<writer::Lines>,
    drain: Drain,
) -> Result<Shared, StartError> {
    let clock = Clock::start();
    Ok(Shared {
        zones: state_writer::zones(&config, clock),
        queue: Queue::with_room(config.queue_max, config.zones.len()),
        upstreams: reload::groups(&[], &config.upstreams)?,
        doors,
        config: Arc::new(config),
        clock,
        lines,
        timing: Timing::Precise,
        connector: connect::tcp(),
        gateway: Gateway::of_this_network(),
        drain,
        abandon: CancellationToken::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::process::*;

    /// A proxy that is told to load this, and then nothing more.
    fn told_to_load(load: Load) -> (Result<Ended, StartError>, Reloaded) {
        let text = "listeners: [ '127.0.0.1:0' ]\nroutes: [ { path: /, upstream: 'http://127.0.0.1:9' } ]\n\
                    access_log: { to: none }\nworkers: 2\ndrain: 1s\n";
        let config = crate::config::parse("test", text, &[]).expect("a configuration").config;
        let app = App::bind(config, None).expect("a free port");
        let (orders, (asked, outcome)) = (Control::none(), oneshot::channel());
        // Its own end of the orders stays: without one it would be told to stop.
        let give = orders.give.clone();
        give.try_send(ControlMessage::Reload(Some(asked))).expect("room for an order");
        let ended = app.run(orders, Some(ConfigSource { load, set_log_level: Box::new(|_| ()) }));
        (ended, outcome.blocking_recv().expect("an outcome"))
    }

    #[test]
    fn worker_that_panics_within_a_change_ends_the_process() {
        let (ended, outcome) = told_to_load(Arc::new(|| {
            let text =
                "listeners: [ ':1' ]\nroutes: [ { path: /, upstream: 'http://127.0.0.1:9' } ]\n";
            let mut loaded = crate::config::parse("test", text, &[])?;
            loaded.config.listeners.clear();
            // An upstream that is not there: no file says such a thing.
            loaded.config.routes[0].upstream = 99;
            Ok(loaded)
        }));
        assert!(
            matches!(&outcome, Reloaded::Failed(why) if why.contains("a worker has failed")),
            "{outcome:?}"
        );
        assert!(matches!(ended, Err(StartError::Thread(_))), "{ended:?}");
    }
}
