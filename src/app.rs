//! From a configuration to a running proxy: bind everything, start the workers, wait for the order to stop, drain.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, LocalSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    crew::Crew,
    handover::{HandoverError, Predecessor, Successor},
    keep::Keep,
    reload::ReloadError,
    worker::{Listening, Shared},
};
use crate::{
    admin::{self, Doors, Pending, Reloaded},
    clock::Clock,
    config::{Config, Loaded, Problems, networks::NetworkWatch},
    limit::Queue,
    observe::{
        gateway::Gateway,
        writer::{self, Writer},
    },
    release::Timing,
    server::{
        drain::{Drain, DrainOrder, Idle},
        listener,
        settings::ListenerSettings,
        tls::{self, TlsError},
    },
    upstream::{connect, group::Group, resolve, tend::Tending},
};

pub mod crew;
pub mod descriptors;
pub mod doors;
pub mod guard;
pub mod handover;
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
    /// A listener cannot speak TLS.
    #[error("cannot speak TLS on `{address}`: {source}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Box<TlsError>,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    Log(#[source] io::Error),
    /// The process that was to be followed did not hand everything over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
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
    /// To hand everything over to a new process of the program that is on disk now.
    HandOver,
}

/// Where orders are given, and where they are taken.
pub struct Orders {
    /// For whoever gives them.
    pub give: mpsc::Sender<Order>,
    /// For the proxy.
    pub take: mpsc::Receiver<Order>,
}

impl Orders {
    /// No order given yet; giving waits while several are not taken.
    #[must_use]
    pub fn none() -> Self {
        let (give, take) = mpsc::channel(4);
        Self { give, take }
    }
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
    /// The operator's.
    admin: Option<Listening>,
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
    /// Opens everything a configuration asks for, but what a predecessor hands over; nothing is served yet.
    ///
    /// # Errors
    /// When an address, a certificate or the access log cannot be had.
    pub fn bind(config: Config, mut predecessor: Option<Predecessor>) -> Result<Self, StartError> {
        let doors = doors::fit(&doors::Doors::new(), &config.listeners)?;
        let mut sockets = none_for(config.workers);
        for address in addresses(&config.listeners) {
            let handed = predecessor.as_mut().map(|predecessor| predecessor.take(address)).unwrap_or_default();
            listen(&mut sockets, address, handed)?;
        }
        let mut door = none_for(1);
        if let Some(address) = config.admin {
            let handed = predecessor.as_mut().map(|predecessor| predecessor.take(address)).unwrap_or_default();
            listen(&mut door, address, handed)?;
        }
        let admin = door.pop().and_then(|mut door| door.pop());
        let (lines, writer) = open_log(&config)?;
        let (order, drain) = DrainOrder::new();
        let shared = share(config, doors, lines, drain);
        Ok(Self { shared, order, sockets, admin, writer, predecessor })
    }

    /// Listens on one more address, with the settings and the connection caps of the first listener.
    ///
    /// # Errors
    /// When the address cannot be listened on; the others still are.
    pub fn listen_beside_first(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let first = self.shared.config.listeners.first().and_then(|first| self.shared.doors.get(&first.address));
        let Some(first) = first.map(Arc::clone) else {
            let source = io::Error::other("there is no listener beside it");
            return Err(StartError::Bind { address, source });
        };
        listen(&mut self.sockets, address, Vec::new())?;
        Arc::make_mut(&mut self.shared.doors).insert(address, first);
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
    pub fn run(self, orders: Orders, source: Option<Source>) -> Result<Ended, StartError> {
        let addresses = self.addresses().map_err(StartError::Thread)?;
        let Self { mut shared, order, sockets, admin, writer, predecessor } = self;
        if let Some(predecessor) = predecessor {
            shared.zones = keep::revive(predecessor.state()?, &shared.config, shared.clock);
            tracing::info!(pid = std::process::id(), "took over");
        }
        let again = sockets.iter().flatten().chain(&admin).map(Listening::again);
        let held: Vec<_> = again.collect::<io::Result<_>>().map_err(StartError::Thread)?;
        tune(&held, &shared.config)?;
        let crew = Crew::start(&shared, sockets)?;
        tracing::info!(?addresses, "listening");
        let writers = writer.into_iter().collect();
        let tending = Tending::new(shared.connector.clone(), resolve::system());
        let (keep, networks) = (Keep::default(), NetworkWatch::default());
        let mut running = Running { shared, order, crew, held, writers, source, keep, networks, tending, successor: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let ended = LocalSet::new().block_on(&runtime, async {
            let door =
                admin.map(|admin| tokio::task::spawn_local(open(admin.socket, orders.give, running.shared.drain.clone())));
            running.until_ended(orders.take, door).await
        });
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
    /// The sockets, to hand over: what a worker no longer listens on must not be here either.
    held: Vec<Listening>,
    writers: Vec<Writer>,
    source: Option<Source>,
    keep: Keep,
    networks: NetworkWatch,
    tending: Tending,
    successor: Option<JoinHandle<Result<Successor, HandoverError>>>,
}

/// How long a process that has handed over waits for its last clients beyond `drain`: as long as a request may be parked.
const FAREWELL: Duration = Duration::from_secs(30);

impl Running {
    async fn until_ended(&mut self, mut orders: mpsc::Receiver<Order>, door: Option<JoinHandle<()>>) -> Ended {
        self.tending.tend(&self.shared.upstreams);
        let handed_over = self.until_told(&mut orders).await;
        let (time, idle) = if handed_over { (FAREWELL, Idle::Await) } else { (Duration::ZERO, Idle::Close) };
        self.held.clear();
        if handed_over && let Some(door) = door {
            // Its socket is another process's now.
            door.abort();
        }
        self.order.by(Instant::now() + self.shared.config.drain + time, idle);
        let ended = self.until_drained(&mut orders).await;
        if !handed_over {
            self.keep.finish(&self.shared).await;
        }
        ended
    }

    /// Serves until there is a reason to end; true when everything was handed over.
    async fn until_told(&mut self, orders: &mut mpsc::Receiver<Order>) -> bool {
        let (mut kept, mut looked) = (Instant::now(), Instant::now());
        loop {
            let order = tokio::select! {
                () = self.crew.lost_one() => {
                    tracing::error!("a worker has failed: this process ends with the requests of the others");
                    return false;
                }
                successor = ready(&mut self.successor) => {
                    self.successor = None;
                    match successor {
                        Ok(successor) => return self.follow(&successor).await,
                        Err(error) => not_handed_over(&error),
                    }
                    continue;
                }
                () = tokio::time::sleep_until(kept + self.shared.config.state.interval) => {
                    kept = Instant::now();
                    self.keep.begin(&self.shared);
                    continue;
                }
                () = tokio::time::sleep_until(looked + tls::LOOK) => {
                    looked = Instant::now();
                    self.look_at_files().await;
                    continue;
                }
                order = orders.recv() => order,
            };
            match order {
                None | Some(Order::Stop) => return false,
                Some(order) => self.obey(order).await,
            }
        }
    }

    /// Looks whether files of certificates or of networks changed.
    async fn look_at_files(&mut self) {
        doors::look(&self.shared.doors);
        if let Some(config) = self.networks.look(&self.shared.config) {
            tell("files of networks changed and were read again", &self.serve(config).await);
        }
    }

    /// Does what was ordered, and goes on.
    async fn obey(&mut self, order: Order) {
        match order {
            Order::Reload(answer) => {
                let outcome = self.reload().await;
                tell("the configuration was loaded again", &outcome);
                // Who asked may have gone: the log knows.
                let _ = answer.map(|answer| answer.send(outcome));
            }
            Order::ReopenLog => {
                let config = Config::clone(&self.shared.config);
                tell("the log was opened again", &self.serve(config).await);
            }
            Order::HandOver => self.hand_over(),
            Order::Stop => {}
        }
    }

    async fn until_drained(&mut self, orders: &mut mpsc::Receiver<Order>) -> Ended {
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
                Order::ReopenLog | Order::HandOver => {}
            }
        }
    }

    /// Begins to start a new process, unless one is being started.
    fn hand_over(&mut self) {
        if self.successor.is_some() {
            return;
        }
        match self.held.iter().map(Listening::again).collect::<io::Result<Vec<_>>>() {
            Ok(held) => self.successor = Some(tokio::task::spawn_blocking(move || handover::start(&held))),
            Err(error) => tracing::error!(%error, "nothing can be handed over; this process serves on"),
        }
    }

    /// Stops accepting and lets a new process that is ready take over; false when that is gone after all.
    async fn follow(&mut self, successor: &Successor) -> bool {
        self.order.by(Instant::now() + self.shared.config.drain + FAREWELL, Idle::Await);
        match successor.remember(&keep::take(&self.shared)) {
            Ok(()) => {
                tracing::info!(pid = successor.pid(), "handed over: this process ends with its last request");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the new process is gone, and this one has stopped listening: it ends");
                false
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
        let (new, closed) = reload::moves(&addresses(&before.config.listeners), &addresses(&config.listeners));
        let doors = Arc::new(doors::fit(&before.doors, &config.listeners)?);
        let mut opened = none_for(self.crew.size());
        for address in new {
            listen(&mut opened, address, Vec::new())?;
        }
        let newly_held = held(&opened).map_err(StartError::Thread)?;
        tune(self.held.iter().chain(&newly_held), &config)?;
        let (lines, writer) = open_log(&config)?;
        before.queue.set_room(config.queue_max);
        let zones = reload::carry(&before.zones, &config.zones, before.clock);
        let upstreams = reload::groups(&before.upstreams, &config.upstreams);
        let shared = Shared { zones, doors, upstreams, lines, config: Arc::new(config), ..before.clone() };
        self.crew.change(&shared, opened, &closed).await?;
        self.shared = shared;
        self.tending.tend(&self.shared.upstreams);
        self.held.retain(|listening| !closed.contains(&listening.address));
        self.held.extend(newly_held);
        self.writers.retain(|writer| !writer.has_finished());
        self.writers.extend(writer);
        Ok(())
    }
}

fn not_handed_over(error: &HandoverError) {
    tracing::error!("{error}; this process serves on");
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

/// Opens the operator's door.
async fn open(socket: TcpListener, orders: mpsc::Sender<Order>, drain: Drain) {
    let reload = move || {
        let orders = orders.clone();
        Box::pin(async move { reloaded(&orders).await }) as Pending<Reloaded>
    };
    let doors = Doors { is_ready: Box::new(move || drain.deadline().is_none()), reload: Box::new(reload) };
    if let Err(error) = admin::serve(socket, doors).await {
        tracing::error!(%error, "the admin listener ended");
    }
}

async fn reloaded(orders: &mpsc::Sender<Order>) -> Reloaded {
    let (answer, outcome) = oneshot::channel();
    if orders.send(Order::Reload(Some(answer))).await.is_err() {
        return Reloaded::Failed(ReloadError::Stopping.to_string());
    }
    match outcome.await.unwrap_or(Err(ReloadError::Stopping)) {
        Ok(()) => Reloaded::Done,
        Err(error @ ReloadError::Invalid(_)) => Reloaded::Invalid(error.to_string()),
        Err(error) => Reloaded::Failed(error.to_string()),
    }
}

fn addresses(listeners: &[ListenerSettings]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.address).collect()
}

fn none_for(workers: usize) -> Vec<Vec<Listening>> {
    (0..workers).map(|_| Vec::new()).collect()
}

/// Gives each worker a socket on `address`: those that were handed over first. None of these may be left out, for the kernel
/// shares connections out among all of them.
fn listen(workers: &mut [Vec<Listening>], address: SocketAddr, handed: Vec<TcpListener>) -> Result<(), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let mut sockets = handed;
    match sockets.first() {
        None => sockets = listener::bind(address, workers.len()).map_err(failed)?,
        Some(first) => {
            let actual = first.local_addr().map_err(failed)?;
            for _ in sockets.len()..workers.len() {
                sockets.push(listener::shared(actual).map_err(failed)?);
            }
        }
    }
    let places = workers.len().max(1);
    for (number, socket) in sockets.into_iter().enumerate() {
        workers[number % places].push(Listening { address, socket });
    }
    Ok(())
}

/// The same sockets once more.
fn held(sockets: &[Vec<Listening>]) -> io::Result<Vec<Listening>> {
    sockets.iter().flatten().map(Listening::again).collect()
}

/// Makes what is accepted on these sockets what a configuration asks for.
fn tune<'a>(sockets: impl IntoIterator<Item = &'a Listening>, config: &Config) -> Result<(), StartError> {
    let tune = |Listening { address, socket }: &Listening| {
        listener::tune(socket, config.timeouts.write).map_err(|source| StartError::Bind { address: *address, source })
    };
    sockets.into_iter().try_for_each(tune)
}

/// What a new process came to; nothing while none is being started.
async fn ready(successor: &mut Option<JoinHandle<Result<Successor, HandoverError>>>) -> Result<Successor, HandoverError> {
    match successor {
        Some(successor) => successor.await.unwrap_or_else(|error| Err(HandoverError::Start(io::Error::other(error)))),
        None => std::future::pending().await,
    }
}

fn share(config: Config, doors: doors::Doors, lines: Option<writer::Lines>, drain: Drain) -> Shared {
    let clock = Clock::start();
    Shared {
        zones: keep::zones(&config, clock),
        queue: Queue::with_room(config.queue_max),
        upstreams: config.upstreams.iter().cloned().map(Group::new).collect(),
        doors: Arc::new(doors),
        config: Arc::new(config),
        clock,
        lines,
        timing: Timing::Precise,
        connector: connect::tcp(),
        gateway: Gateway::of_this_network(),
        drain,
        abandon: CancellationToken::new(),
    }
}
