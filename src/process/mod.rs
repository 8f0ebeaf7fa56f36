//! From a configuration to a running proxy: bind all sockets, start the workers, wait for a stop,
//! drain.

use std::{io, net::SocketAddr, os::unix::net::UnixListener, path::Path, sync::Arc};

use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use self::{
    handover::Predecessor,
    inherited_sockets::InheritedSockets,
    listeners::addresses,
    reload::open_log,
    running::{Running, Startup},
    service_manager::ServiceManager,
    socket_file::SocketFile,
    sockets::Opening,
    worker::shared::{Listening, Shared},
    workers::Workers,
};
use crate::{
    config::Config,
    downstream::{
        drain::{Drain, DrainOrder},
        listen_address::ListenAddress,
    },
    limit::Queue,
    log::{
        gateway::Gateway,
        writer::{self, Writer},
    },
    runtime::{clock::Clock, release_timer::Timing},
    upstream::connect,
};

pub mod admin;
pub mod command;
pub mod control;
pub mod fd_limit;
mod file_watch;
pub mod handover;
pub mod inherited_sockets;
pub mod listeners;
pub mod panic_guard;
mod pending_work;
pub mod reload;
mod reload_report;
mod running;
mod service_manager;
mod socket_file;
mod sockets;
pub mod start_error;
pub mod state;
pub mod state_writer;
pub mod worker;
pub mod workers;

pub use command::{ConfigSource, Control, ControlMessage, Ended, Load};
pub use start_error::StartError;

/// Proxy whose sockets are open and whose workers have not started.
pub struct App {
    shared: Shared,
    order: DrainOrder,
    sockets: Vec<Vec<Listening>>,
    /// Files of the Unix sockets.
    files: Vec<SocketFile>,
    /// Socket of the admin listener.
    admin: Option<Listening>,
    /// Control socket for commands with the same configuration file.
    control: Option<UnixListener>,
    writer: Option<Writer>,
    predecessor: Option<Predecessor>,
}

impl App {
    /// Opens everything that a configuration needs, except what a predecessor hands over; nothing
    /// is served yet.
    ///
    /// # Errors
    /// When an address, a certificate or the access log cannot be opened.
    pub fn bind(config: Config, mut predecessor: Option<Predecessor>) -> Result<Self, StartError> {
        // Certificates before sockets: a wrong file is reported without a port being opened.
        let doors = listeners::fit(&listeners::ListenerMap::new(), &config.listeners)?.apply();
        let inherited = match &mut predecessor {
            Some(predecessor) => predecessor.take_inherited(),
            None => InheritedSockets::of_environment(),
        };
        let inherited = Arc::new(inherited);
        let mut opening = Opening {
            listeners: &config.listeners,
            inherited: &inherited,
            workers: sockets::none_for(config.workers),
            files: Vec::new(),
        };
        for address in addresses(&config.listeners) {
            let handed = predecessor.as_mut().map(|predecessor| predecessor.take(&address));
            opening.listen(address, handed.unwrap_or_default())?;
        }
        let Opening { workers: sockets, files, .. } = opening;
        let mut door = sockets::none_for(1);
        if let Some(address) = config.admin {
            let handed = predecessor
                .as_mut()
                .map(|predecessor| predecessor.take(&address.into()))
                .unwrap_or_default();
            sockets::listen(&mut door, address, sockets::tcp_only(handed))?;
        }
        let admin = door.pop().and_then(|mut door| door.pop());
        state_writer::try_out(&config.state, predecessor.is_some());
        let (lines, writer) = open_log(&config)?;
        let (order, drain) = DrainOrder::new();
        let shared = Shared { inherited, ..share(config, doors, lines, drain)? };
        Ok(Self { shared, order, sockets, files, admin, control: None, writer, predecessor })
    }

    /// Opens the control socket of the configuration `file`, or takes that of a predecessor.
    /// Without one commands ask `admin.address`.
    pub fn open_control(&mut self, file: &Path) {
        let handed = self.predecessor.as_mut().and_then(Predecessor::take_control);
        match handed.map_or_else(|| control::bind(file), Ok) {
            Ok(socket) => self.control = Some(socket),
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "cannot open the control socket; \
                    commands ask `admin.address`");
            }
        }
    }

    /// Listens on one more address, with the settings and the connection limits of the first
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
            let source = io::Error::other("there is no first listener");
            return Err(StartError::Bind { address: address.into(), source });
        };
        sockets::listen(&mut self.sockets, address, Vec::new())?;
        Arc::make_mut(&mut self.shared.doors).insert(address.into(), first);
        Ok(())
    }

    /// Addresses it listens on, with the chosen ports.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.sockets.first().into_iter().flatten().map(Listening::local_address).collect()
    }

    /// Serves until `orders` has a stop. Without a `source` there is nothing to reload.
    ///
    /// # Errors
    /// When a worker cannot be started or fails.
    pub fn run(self, orders: Control, source: Option<ConfigSource>) -> Result<Ended, StartError> {
        let addresses = self.addresses().map_err(StartError::Thread)?;
        let Self { mut shared, order, sockets, mut files, admin, control, writer, predecessor } =
            self;
        if let Some(predecessor) = predecessor {
            // When the state arrives the old process has stopped accepting: now this one has to
            // serve.
            shared.zones = state_writer::revive(predecessor.state()?, &shared.config, shared.clock);
            files.iter_mut().for_each(SocketFile::own);
            sockets::grant(&files, &[], &shared.config.listeners);
            tracing::info!(pid = std::process::id(), "took over");
        }
        // Duplicates are made before the workers own the sockets.
        let again = sockets.iter().flatten().chain(&admin).map(Listening::again);
        let held: Vec<_> = again.collect::<io::Result<_>>().map_err(StartError::Thread)?;
        sockets::tune(&held, &shared.doors, shared.config.timeouts.write)?;
        let crew = Workers::start(&shared, sockets)?;
        // Logged only now, when every worker accepts.
        tracing::info!(?addresses, "listening");
        let manager = ServiceManager::of_environment();
        manager.is_ready();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let startup = Startup {
            shared,
            order,
            crew,
            held,
            socket_files: files,
            control,
            writer,
            source,
            manager,
        };
        let running = Running::new(startup);
        let (ended, crew, writers) =
            LocalSet::new().block_on(&runtime, running.until_ended(orders, admin));
        // A thread that still waits for a file, a name or a new process is not waited for.
        runtime.shutdown_background();
        crew.join()?;
        Writer::finish_all(&writers);
        Ok(ended)
    }
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
        concurrency: reload::concurrency(&[], &config.concurrency),
        queue: Queue::with_room(config.queue_max, config.zones.len()),
        upstreams: reload::groups(&[], &config.upstreams)?,
        doors,
        inherited: Arc::default(),
        config: Arc::new(config),
        clock,
        lines,
        timing: Timing::Precise,
        connector: connect::sockets(),
        gateway: Gateway::of_this_network(),
        drain,
        abandon: CancellationToken::new(),
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use crate::process::{admin::Reloaded, *};

    /// Runs a proxy that reloads once and then stops.
    fn told_to_load(load: Load) -> (Result<Ended, StartError>, Reloaded) {
        let text = "listeners: [ '127.0.0.1:0' ]\nroutes: [ { path: /, upstream: 'http://127.0.0.1:9' } ]\n\
                    access_log: { to: none }\nworkers: 2\ndrain: 1s\n";
        let config = crate::config::parse("test", text, &[]).expect("a configuration").config;
        let app = App::bind(config, None).expect("a free port");
        let (orders, (asked, outcome)) = (Control::none(), oneshot::channel());
        // The proxy keeps a sender of its own: without one it would stop.
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
            // An upstream that does not exist, which no file can express.
            loaded.config.routes[0].action = crate::proxy::action::Action::Forward(99);
            Ok(loaded)
        }));
        assert!(
            matches!(&outcome, Reloaded::Failed(why) if why.contains("a worker failed")),
            "{outcome:?}"
        );
        assert!(matches!(ended, Err(StartError::Thread(_))), "{ended:?}");
    }
}
