//! From a configuration to a running proxy: bind everything, start the workers, wait for the order to stop, drain.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    crew::Crew,
    keep::Keep,
    reload::ReloadError,
    worker::{Listening, Shared},
};
use crate::{
    clock::Clock,
    config::{Config, Loaded, Problems},
    limit::Queue,
    observe::writer::{self, Writer},
    release::Timing,
    server::{
        drain::{Drain, DrainOrder},
        listener,
    },
    upstream::{connect, group::Group, resolve, tend::Tending},
};

pub mod crew;
pub mod keep;
pub mod reload;
pub mod worker;

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
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    Log(#[source] io::Error),
    /// A thread or a runtime cannot be had.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
}

fn taken_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => ", hint: another program listens there; stop it or choose another port",
        io::ErrorKind::PermissionDenied => ", hint: ports below 1024 need a privilege; choose a higher one",
        io::ErrorKind::AddrNotAvailable => ", hint: this machine has no such address",
        _ => "",
    }
}

/// What a running proxy may be told.
pub enum Order {
    /// To drain; told again, to stop at once.
    Stop,
    /// To load its configuration again, and to tell somebody what came of it.
    Reload(Option<oneshot::Sender<Result<(), ReloadError>>>),
    /// To open its log again, because the file was moved away.
    ReopenLog,
}

/// Where a running proxy finds its configuration.
pub struct Source {
    /// Loads it.
    pub load: Box<dyn Fn() -> Result<Loaded, Problems>>,
    /// Is told the level of diagnostics.
    pub set_log_level: Box<dyn Fn(&str)>,
}

/// A proxy whose sockets are open and whose workers have not begun.
pub struct App {
    shared: Shared,
    order: DrainOrder,
    sockets: Vec<Vec<Listening>>,
    writer: Option<Writer>,
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
    /// Opens everything a configuration asks for; nothing is served yet.
    ///
    /// # Errors
    /// When an address or the access log cannot be had.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let sockets = listen(&config.listeners, config.workers)?;
        let (lines, writer) = open_log(&config)?;
        let (order, drain) = DrainOrder::new();
        let shared = share(config, lines, drain);
        Ok(Self { shared, order, sockets, writer })
    }

    /// Listens on one more address.
    ///
    /// # Errors
    /// When the address cannot be had; the others are still listened on.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let more = listen(&[address], self.sockets.len())?;
        self.sockets.iter_mut().zip(more).for_each(|(sockets, more)| sockets.extend(more));
        Ok(())
    }

    /// The addresses it listens on, ports chosen.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.first().into_iter().flatten().map(|listening| listening.socket.local_addr()).collect()
    }

    /// Serves until `orders` say stop. Where there is no `source`, there is nothing to load again.
    ///
    /// # Errors
    /// When a worker cannot be started or fails.
    pub fn run(self, orders: mpsc::Receiver<Order>, source: Option<Source>) -> Result<Ended, StartError> {
        let Self { shared, order, sockets, writer } = self;
        let crew = Crew::start(&shared, sockets)?;
        let (writers, tending) = (writer.into_iter().collect(), Tending::new(shared.connector.clone(), resolve::system()));
        let mut running = Running { shared, order, crew, writers, source, keep: Keep::default(), tending };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let ended = runtime.block_on(running.until_ended(orders));
        let Running { shared, crew, writers, .. } = running;
        drop(shared);
        crew.join()?;
        writers.into_iter().for_each(Writer::finish);
        Ok(ended)
    }
}

/// A proxy at work.
struct Running {
    shared: Shared,
    order: DrainOrder,
    crew: Crew,
    writers: Vec<Writer>,
    source: Option<Source>,
    keep: Keep,
    tending: Tending,
}

impl Running {
    async fn until_ended(&mut self, orders: mpsc::Receiver<Order>) -> Ended {
        self.tending.tend(&self.shared.upstreams);
        let ended = self.obey(orders).await;
        self.keep.finish(&self.shared).await;
        ended
    }

    async fn obey(&mut self, mut orders: mpsc::Receiver<Order>) -> Ended {
        loop {
            let order = tokio::select! {
                () = self.crew.finished() => return Ended::Drained,
                () = tokio::time::sleep(self.shared.config.state.interval) => {
                    self.keep.begin(&self.shared);
                    continue;
                }
                order = orders.recv() => order,
            };
            match order {
                None | Some(Order::Stop) => break,
                Some(Order::Reload(answer)) => {
                    let outcome = self.reload().await;
                    tell("the configuration was loaded again", &outcome);
                    // Who asked may have gone: the log knows.
                    let _ = answer.map(|answer| answer.send(outcome));
                }
                Some(Order::ReopenLog) => {
                    let config = Config::clone(&self.shared.config);
                    tell("the log was opened again", &self.serve(config).await);
                }
            }
        }
        self.order.by(Instant::now() + self.shared.config.drain);
        loop {
            let order = tokio::select! {
                () = self.crew.finished() => return Ended::Drained,
                Some(order) = orders.recv() => order,
            };
            match order {
                Order::Stop => {
                    self.shared.abandon.cancel();
                    return Ended::Abandoned;
                }
                Order::Reload(answer) => {
                    let _ = answer.map(|answer| answer.send(Err(ReloadError::Stopping)));
                }
                Order::ReopenLog => {}
            }
        }
    }

    async fn reload(&mut self) -> Result<(), ReloadError> {
        let source = self.source.as_ref().ok_or(ReloadError::NoFile)?;
        let loaded = (source.load)().map_err(ReloadError::Invalid)?;
        for warning in loaded.warnings.iter() {
            tracing::warn!(problem = %warning.message, "the configuration loaded again");
        }
        for key in reload::left_alone(&self.shared.config, &loaded.config) {
            tracing::warn!(key, "changes only with a restart");
        }
        (source.set_log_level)(&loaded.config.log_level);
        self.serve(loaded.config).await
    }

    /// Opens what is new, then lets every worker change over.
    async fn serve(&mut self, config: Config) -> Result<(), ReloadError> {
        let before = &self.shared;
        let (new, closed) = reload::moves(&before.config.listeners, &config.listeners);
        let opened = listen(&new, self.crew.size())?;
        let (lines, writer) = open_log(&config)?;
        before.queue.set_room(config.queue_max);
        let zones = reload::carry(&before.zones, &config.zones, before.clock);
        let upstreams = reload::groups(&before.upstreams, &config.upstreams);
        let shared = Shared { zones, upstreams, lines, config: Arc::new(config), ..before.clone() };
        self.crew.change(&shared, opened, &closed).await?;
        self.shared = shared;
        self.tending.tend(&self.shared.upstreams);
        self.writers.retain(|writer| !writer.has_finished());
        self.writers.extend(writer);
        Ok(())
    }
}

/// Says what came of an order.
fn tell(done: &str, outcome: &Result<(), ReloadError>) {
    match outcome {
        Ok(()) => tracing::info!("{done}"),
        Err(error) => tracing::error!("{error}"),
    }
}

fn open_log(config: &Config) -> Result<(Option<writer::Lines>, Option<Writer>), StartError> {
    writer::start(&config.access_log.to).map(Option::unzip).map_err(StartError::Log)
}

/// Opens a socket on each address for each worker.
fn listen(addresses: &[SocketAddr], workers: usize) -> Result<Vec<Vec<Listening>>, StartError> {
    let mut sockets: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    for &address in addresses {
        let bound = listener::bind(address, workers).map_err(|source| StartError::Bind { address, source })?;
        for (worker, socket) in sockets.iter_mut().zip(bound) {
            worker.push(Listening { address, socket });
        }
    }
    Ok(sockets)
}

fn share(config: Config, lines: Option<writer::Lines>, drain: Drain) -> Shared {
    let clock = Clock::start();
    Shared {
        zones: keep::zones(&config, clock),
        queue: Queue::with_room(config.queue_max),
        upstreams: config.upstreams.iter().cloned().map(Group::new).collect(),
        config: Arc::new(config),
        clock,
        lines,
        timing: Timing::Precise,
        connector: connect::tcp(),
        drain,
        abandon: CancellationToken::new(),
    }
}
