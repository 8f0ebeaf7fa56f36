//! Worker: one core with its runtime, sockets, connections and pools. Workers share zones and the
//! health of upstreams, nothing else.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Request, Version};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::LocalOptions,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{listeners::ListenerMap, panic_guard::guarded};
use crate::{
    config::Config,
    downstream::{
        client_conn::{ClientConn, ClientConnIo, ClientProtocol},
        client_state::ClientState,
        connection_limits::ConnectionPermit,
        drain::{Drain, Idle},
        fair_queue::{FairQueue, Queued},
        http1::{
            self,
            connection::ConnectionSettings,
            lingering_close::{Bounds, Lingering},
        },
        http2,
        listener::{self, ListenerPolicy},
        proxy_protocol::{self, ProxiedPeer},
        request_body::IncomingBody,
        request_channel::RequestChannel,
        settings::HeaderLimits,
        tls::{self, Tls},
        upload::RequestBody,
        watchdog::{TICK, Watchdog},
    },
    http::{error::Error, framing::head::LineSoFar, request_id::RequestIds},
    limit::{Gate, Queue, Rule, Zone},
    log::{
        access::AccessLogger,
        gateway::{Gateway, Watch},
        record::Record,
        throttle::LogThrottle,
        writer::Lines,
    },
    proxy::{Peer, Proxy, Route, Transport, counted_by, reply, route::RouteTable},
    runtime::{
        clock::Clock,
        coarse_timer::CoarseTimer,
        io::{CutReason, Io},
        release_timer::{ReleaseTimer, Timing},
        sys,
    },
    upstream::{Upstream, connect::Connector, endpoints::EndpointGroup},
};

/// State that all workers share. A configuration change makes a new one with the same clock, queue
/// and drain.
#[derive(Clone)]
pub struct Shared {
    /// Resolved configuration.
    pub config: Arc<Config>,
    /// Zones, in the order of [`Config::zones`].
    pub zones: Vec<Arc<Zone>>,
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
}

/// Number of task polls after which the runtime asks the kernel for events at the latest, however
/// busy the worker is. A client that has just sent a request does not wait for clients that send
/// without a pause.
const EVENTS: u32 = 8;

/// Time that a client has to start a request when it connects while the process stops.
const LATE: Duration = Duration::from_millis(300);

/// Time before the end of a drain at which connections that were waited for are closed.
const LAST_CALL: Duration = Duration::from_secs(1);

/// State built from one configuration. A request keeps the one with which it started.
struct ActiveConfig {
    proxy: Proxy,
    upstreams: Vec<Rc<Upstream<RequestBody>>>,
    doors: Arc<ListenerMap>,
    limits: HeaderLimits,
}

/// Socket to accept on, with its configured address.
#[derive(Debug)]
pub struct Listening {
    /// Address as configured: port 0 is still 0.
    pub address: SocketAddr,
    /// Listening socket.
    pub socket: StdListener,
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

/// Configuration change for a running worker: it builds what is needed, reports that, waits for the
/// signal, and takes it over.
pub struct ConfigChange {
    /// State to serve from then on.
    pub shared: Shared,
    /// Sockets to accept on in addition.
    pub opened: Vec<Listening>,
    /// Addresses to close.
    pub closed: Vec<SocketAddr>,
    /// Receives the result of building.
    pub built: mpsc::Sender<Result<(), BuildError>>,
    /// Signal to take over; if the sender is dropped, the change is dropped.
    pub go: oneshot::Receiver<()>,
    /// Receives a message once the change is taken over.
    pub done: mpsc::Sender<()>,
}

/// Reason why a worker could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A rule cannot be counted.
    #[error("route `{route}`: {source}")]
    Rule {
        /// Name of the route.
        route: Arc<str>,
        /// Error of the rule.
        source: crate::limit::rule::RuleError,
    },
    /// There is no timer for parked requests.
    #[error("cannot create a timer: {0}")]
    Timer(#[source] io::Error),
    /// The runtime cannot accept on a socket.
    #[error("cannot accept on `{address}`: {source}")]
    Listener {
        /// Address as configured.
        address: SocketAddr,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A route has more rules than a gate takes.
    #[error("route `{route}` has {rules} limits, and at most {max} are supported", max = crate::limit::MAX_RULES)]
    TooManyRules {
        /// Name of the route.
        route: Arc<str>,
        /// Number of rules.
        rules: usize,
    },
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
        self.journal.adopt(&shared.config.access_log, shared.lines.clone());
        self.watchdog.grant(shared.config.timeouts);
        self.serving.replace(Rc::new(next));
        tokio::task::spawn_local(sys::give_back_memory_after_a_change());
    }

    fn serving(&self) -> Rc<ActiveConfig> {
        Rc::clone(&self.serving.borrow())
    }

    /// Serves one connection; must be called where `spawn_local` may be.
    pub fn take(self: &Rc<Self>, io: Box<dyn Io>, peer: SocketAddr, door: Arc<ListenerPolicy>) {
        let mut place = match door.occupancy.enter() {
            Ok(place) => place,
            Err(full) => return self.refuse(peer, &full),
        };
        if !self.serving().proxy.trust.is_trusted(peer.ip())
            && let Err(full) = place.belong_to(peer.ip())
        {
            return self.refuse(peer, &full);
        }
        let worker = Rc::clone(self);
        self.connections.spawn_local(async move { worker.open(io, peer, (&door, place)).await });
    }

    /// Logs a connection that is closed before any response.
    fn refuse(&self, peer: SocketAddr, reason: &dyn std::fmt::Display) {
        if let Some(left_out) = self.refused.look(self.serving().proxy.clock.now()) {
            tracing::warn!(%reason, %peer, left_out, "connection refused");
        }
    }

    /// Reads the PROXY header and does the TLS handshake where the policy requires them, and
    /// serves.
    async fn open(
        self: &Rc<Self>,
        mut io: Box<dyn Io>,
        mut peer: SocketAddr,
        (door, mut place): (&ListenerPolicy, ConnectionPermit),
    ) {
        if door.proxy_protocol {
            match self.unless_stopping(self.introduce(io, peer, &mut place)).await {
                Some(Ok(introduced)) => (io, peer) = introduced,
                Some(Err(error)) => return self.refuse(peer, &error),
                None => return,
            }
        }
        let Some(tls) = &door.tls else {
            return self
                .serve(io, peer, Transport::Plain { redirect: door.redirect }, (door, &place))
                .await;
        };
        if let Some((io, transport)) =
            self.unless_stopping(self.shake_hands(tls, io, peer)).await.flatten()
        {
            self.serve(io, peer, transport, (door, &place)).await;
        }
    }

    /// Returns the output of `work` with a client that cannot have sent a request yet. When the
    /// process stops meanwhile, it is waited for only a short time.
    async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopping = async {
            match self.drain.clone().begun().await {
                (_, Idle::Close) => tokio::time::sleep(LATE).await,
                (deadline, Idle::Await) => tokio::time::sleep_until(deadline - LAST_CALL).await,
            }
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = stopping => None,
        }
    }

    /// Reads the PROXY header of a trusted proxy.
    async fn introduce(
        &self,
        io: Box<dyn Io>,
        peer: SocketAddr,
        place: &mut ConnectionPermit,
    ) -> io::Result<(Box<dyn Io>, SocketAddr)> {
        if !self.serving().proxy.trust.is_trusted(peer.ip()) {
            return Err(io::Error::other(
                "a PROXY header is accepted only from `client_ip.trusted_proxies`",
            ));
        }
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let read =
            self.alarm.within(self.watchdog.granted().header, proxy_protocol::read(io)).await;
        match read.unwrap_or_else(late)? {
            (ProxiedPeer::Proxy, io) => Ok((io, peer)),
            (ProxiedPeer::Behind(client), io) => {
                place.belong_to(client.ip()).map_err(io::Error::other)?;
                Ok((io, client))
            }
        }
    }

    /// Detects the protocol of a client. One that was still in the backlog when the process stopped
    /// is waited for, but only a short time.
    async fn hear(&self, conn: &ClientConn) -> ClientProtocol {
        if !conn.turn().is_draining() {
            return conn.speaks().await;
        }
        match self.alarm.within(LATE, conn.speaks()).await {
            Some(spoken) => spoken,
            None if conn.has_begun() => ClientProtocol::Http1,
            None => ClientProtocol::Nothing,
        }
    }

    async fn shake_hands(
        &self,
        tls: &Tls,
        io: Box<dyn Io>,
        peer: SocketAddr,
    ) -> Option<(Box<dyn Io>, Transport)> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        match self.alarm.within(tls::HANDSHAKE, tls.accept(io)).await.unwrap_or_else(|| Err(late()))
        {
            Ok((io, secured)) => Some((io, Transport::Tls(secured))),
            Err(error) => {
                if let Some(left_out) =
                    self.handshakes_failed.look(self.serving().proxy.clock.now())
                {
                    tracing::info!(%error, %peer, left_out, "TLS handshake failed");
                }
                None
            }
        }
    }

    /// Serves a connection under this policy and permit.
    async fn serve(
        self: &Rc<Self>,
        io: Box<dyn Io>,
        peer: SocketAddr,
        transport: Transport,
        (door, place): (&ListenerPolicy, &ConnectionPermit),
    ) {
        let conn = ClientConn::new(io);
        self.watchdog.watch_connection(conn.turn());
        if self.drain.closes_idle() {
            conn.turn().drain();
        }
        let http2 = match &transport {
            Transport::Tls(secured) => secured.http2,
            Transport::Plain { .. } => match self.hear(&conn).await {
                ClientProtocol::Http1 => false,
                ClientProtocol::Http2 => true,
                ClientProtocol::Nothing => return,
            },
        };
        let address = peer;
        let peer = Peer::new(peer.ip(), transport);
        let closing = Bounds { lingering: &self.lingering, place, drain: &self.drain };
        if http2 {
            self.serve_streams(&conn, Rc::new(peer), address, door.max_requests).await;
            if ends_softly(conn.turn()) {
                // The client grants room while it reads the last response.
                closing
                    .close(
                        &mut ClientConnIo(Rc::clone(&conn)),
                        &mut Queued::new(&self.fair_queue),
                        &[],
                        true,
                    )
                    .await;
            }
            return;
        }
        let line = RequestChannel::connection(&conn);
        let (line_of, peer_of) = (&line, &peer);
        let service = |request: Request<Incoming>| {
            let (serving, request) = (self.serving(), request.map(IncomingBody::Connection));
            if self.leaving.get() {
                line_of.turn.drain();
            }
            async move { guarded(line_of, serving.proxy.serve(line_of, peer_of, request, None)).await }
        };
        let granted = ConnectionSettings {
            limits: self.serving().limits,
            max_requests: door.max_requests,
            closing,
        };
        let head = HeadUnderWay {
            worker: self,
            conn: &conn,
            peer: peer_of.address,
            proto: Version::HTTP_11,
            is_told: Cell::new(false),
        };
        let blame = |error: &Error| {
            head.is_told.set(true);
            head.record().fails(error);
            reply::raw_response(error)
        };
        http1::connection::serve((Rc::clone(&conn), &self.fair_queue), granted, service, blame)
            .await;
    }

    /// Serves an HTTP/2 connection.
    async fn serve_streams(
        self: &Rc<Self>,
        conn: &Rc<ClientConn>,
        peer: Rc<Peer>,
        address: SocketAddr,
        max_requests: u64,
    ) {
        let (worker, turn) = (Rc::clone(self), Rc::clone(conn.turn()));
        let answer = move |line: RequestChannel, request, unfit| {
            let (serving, peer) = (worker.serving(), Rc::clone(&peer));
            if worker.leaving.get() {
                turn.drain();
            }
            async move { guarded(&line, serving.proxy.serve(&line, &peer, request, unfit)).await }
        };
        let limits = self.serving().limits;
        let head = HeadUnderWay {
            worker: self,
            conn,
            peer: address.ip(),
            proto: Version::HTTP_2,
            is_told: Cell::new(false),
        };
        // Boxed, so that HTTP/1.1 connections do not reserve the memory.
        Box::pin(http2::connection::serve(
            Rc::clone(conn),
            (&self.watchdog, &self.fair_queue),
            limits,
            max_requests,
            answer,
        ))
        .await;
        if let Some(error) = http1::connection::unfinished_head(conn) {
            head.is_told.set(true);
            head.record().fails(&error);
        }
        self.log_abuse(conn.turn(), address);
    }

    /// Logs a connection that was closed for abuse.
    fn log_abuse(&self, turn: &ClientState, peer: SocketAddr) {
        if let Some(reason) = turn.ended_by().filter(|reason| reason.is_abuse())
            && let Some(left_out) = self.unruly.look(self.serving().proxy.clock.now())
        {
            tracing::info!(%reason, %peer, left_out, "HTTP/2 connection closed for abuse");
        }
    }

    /// Runs the periodic tasks, for as long as it is polled; must be called where `spawn_local` may
    /// be.
    pub async fn run_background_tasks(&self) {
        // A task of its own: joined with the others, every step of the queue would poll all of
        // them.
        let fair_queue = Rc::clone(&self.fair_queue);
        tokio::task::spawn_local(async move { fair_queue.run().await });
        tokio::join!(
            self.watchdog.run(),
            self.alarm.run(),
            self.journal.run(),
            self.sweep(),
            self.pass_on(),
            self.release()
        );
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

    async fn sweep(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for upstream in &self.serving().upstreams {
                upstream.sweep();
            }
        }
    }

    /// Completes when a stop was requested and every connection has ended or the drain timeout has
    /// passed.
    pub async fn finished(&self) {
        let mut drain = self.drain.clone();
        let (deadline, _) = drain.begun().await;
        self.connections.close();
        if tokio::time::timeout_at(deadline, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "drain timeout reached; closing remaining connections"
            );
        }
    }
}

impl ActiveConfig {
    fn of(
        shared: &Shared,
        alarm: &Rc<CoarseTimer>,
        releases: &Rc<ReleaseTimer>,
        journal: &Rc<AccessLogger>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let config = &shared.config;
        let upstream = |group: &Arc<EndpointGroup>| {
            let same = before.and_then(|before| {
                before.upstreams.iter().find(|upstream| Arc::ptr_eq(upstream.group(), group))
            });
            same.map_or_else(|| Rc::new(Upstream::new(group, &shared.connector, alarm)), Rc::clone)
        };
        let upstreams: Vec<_> = shared.upstreams.iter().map(upstream).collect();
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let gate = gate(route, &shared.zones)?;
            let built = Route {
                name: Arc::clone(&route.name),
                counted: counted_by(&gate),
                gate,
                upstream: Rc::clone(&upstreams[route.upstream]),
                reject: route.reject.clone(),
                max_body: route.max_body,
                buffer: route.buffer,
                request_edits: route.request_edits.clone(),
                response_edits: route.response_edits.clone(),
                compress: route.compress.clone(),
            };
            routes.push((route.pattern.clone(), Rc::new(built)));
        }
        let proxy = Proxy {
            clock: shared.clock,
            trust: config.client_ip.clone(),
            routes: RouteTable::new(routes),
            path_matching: config.path_matching,
            queue: Arc::clone(&shared.queue),
            releases: Rc::clone(releases),
            coders: before.map(|before| before.proxy.coders.clone()).unwrap_or_default(),
            collected: before.map(|before| before.proxy.collected.clone()).unwrap_or_default(),
            journal: Rc::clone(journal),
            ids: RequestIds::new(),
            gateway: Watch::on(shared.gateway.clone()),
            drain: shared.drain.clone(),
        };
        Ok(Self {
            proxy,
            upstreams,
            doors: Arc::clone(&shared.doors),
            limits: config.header_limits,
        })
    }
}

/// Request of a connection whose head is incomplete. If it is dropped with the process, it still
/// writes its log line.
struct HeadUnderWay<'a> {
    worker: &'a Worker,
    conn: &'a ClientConn,
    peer: IpAddr,
    proto: Version,
    /// True once its line is written.
    is_told: Cell<bool>,
}

impl HeadUnderWay<'_> {
    /// Record of as much of it as is known.
    fn record(&self) -> Record {
        let serving = self.worker.serving();
        let owed = self.conn.head_since().map_or(Duration::ZERO, |since| since.elapsed());
        let began = serving.proxy.clock.now().saturating_sub(owed);
        let mut record =
            Record::begin(&self.worker.journal, self.peer, serving.proxy.ids.next(), began);
        record.entry.proto = self.proto;
        if let Some(line) = LineSoFar::read(&self.conn.head()) {
            record.asks_so_far(&line);
        }
        record
    }
}

impl Drop for HeadUnderWay<'_> {
    fn drop(&mut self) {
        let is_begun = self.conn.has_begun() && self.conn.head_since().is_some();
        if is_begun && !self.is_told.get() && self.worker.journal.is_cutting() {
            drop(self.record());
        }
    }
}

/// Runs a worker on this thread until it is stopped. It takes over each of `changes`, and then
/// keeps nothing of its former state that is not in use. It drops `starting` once it accepts on
/// every socket.
///
/// The end, in order:
///
/// 1. It stops accepting, and takes the connections that the kernel has accepted
///    (`Worker::pass_on`).
/// 2. Requests in progress get their responses, and idle connections close.
/// 3. Parked requests whose slot is too late are rejected ([`Drain::last_release`]).
/// 4. After the drain timeout, or immediately after a second stop, the rest is cut: the runtime is
///    dropped with the task of every connection.
/// 5. Each request that was cut writes its log line as it is dropped.
/// 6. All lines are passed to the log writer.
///
/// # Errors
/// When its runtime or its sockets fail at the start.
pub fn run(
    shared: Shared,
    sockets: Vec<Listening>,
    mut changes: mpsc::Receiver<ConfigChange>,
    starting: std::sync::mpsc::Sender<()>,
) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime =
        runtime.enable_all().event_interval(EVENTS).build_local(LocalOptions::default())?;
    let served: io::Result<_> = runtime.block_on(async {
        let worker = Worker::build(&shared).map_err(io::Error::other)?;
        let (leaving, abandon) = (Rc::clone(&worker), shared.abandon.clone());
        drop(shared);
        let mut ears = Acceptors { worker: Rc::clone(&worker), open: Vec::new() };
        for listening in sockets {
            let listener = registered(listening).map_err(io::Error::other)?;
            ears.open(listener);
        }
        // Tasks of their own: a future awaited here is polled with every turn of the loop.
        let house = Rc::clone(&worker);
        let house = tokio::task::spawn_local(async move { house.run_background_tasks().await });
        let changing = tokio::task::spawn_local(async move {
            while let Some(change) = changes.recv().await {
                ears.change(change).await;
            }
        });
        // Spawned after the tasks that accept, so it runs after them.
        tokio::task::spawn_local(async move { drop(starting) });
        let told = async move {
            tokio::select! {
                () = abandon.cancelled() => {}
                () = leaving.finished() => {}
            }
        };
        let end = tokio::task::spawn_local(told_or_failed(told, house));
        let outcome = match end.await.map_err(io::Error::other)? {
            // If it ends before this worker it has panicked, unless all senders of changes are
            // gone.
            Ok(()) if changing.is_finished() => changing.await.map_err(io::Error::other),
            outcome => outcome,
        };
        Ok((Rc::clone(&worker.journal), outcome))
    });
    let (journal, outcome) = served?;
    journal.cut();
    drop(runtime);
    journal.finish();
    outcome
}

/// Completes when the worker is stopped, or when its background tasks end. They end only by a
/// panic, and without them no time-out fires.
async fn told_or_failed(told: impl Future<Output = ()>, house: JoinHandle<()>) -> io::Result<()> {
    tokio::select! {
        () = told => Ok(()),
        ended = house => match ended {
            Ok(()) => Err(io::Error::other("the worker's timers ended")),
            Err(cause) => Err(io::Error::other(cause)),
        },
    }
}

/// Sockets that a worker accepts on.
struct Acceptors {
    worker: Rc<Worker>,
    open: Vec<(SocketAddr, CancellationToken)>,
}

/// Socket registered with the runtime of this worker.
struct Registered {
    address: SocketAddr,
    listener: TcpListener,
}

/// Returns true if an HTTP/2 connection ended without a fault of its client.
fn ends_softly(turn: &ClientState) -> bool {
    matches!(turn.ended_by(), None | Some(CutReason::Idle))
}

fn registered(Listening { address, socket }: Listening) -> Result<Registered, BuildError> {
    let listener =
        TcpListener::from_std(socket).map_err(|source| BuildError::Listener { address, source })?;
    Ok(Registered { address, listener })
}

impl Acceptors {
    /// Accepts on one more socket.
    fn open(&mut self, Registered { address, listener }: Registered) {
        let (worker, shut) = (Rc::clone(&self.worker), self.worker.shut.child_token());
        let stop = shut.clone().cancelled_owned();
        let mut known = worker.door(address);
        let take = move |stream: TcpStream, peer| {
            // A removed listener still has connections in its backlog: they get the policy of the
            // listener they connected to.
            known = worker.door(address).or(known.take());
            match &known {
                Some(door) => worker.take(Box::new(stream), peer, Arc::clone(door)),
                None => worker.refuse(peer, &"the listener has no settings"),
            }
        };
        // Among the connections, because it may still bring some when the others have ended.
        self.worker.connections.spawn_local(listener::accept(listener, stop, take));
        self.open.push((address, shut));
    }

    /// Builds a change, reports that, and takes it over when signalled. A panic in between sends no
    /// report, which the control loop detects.
    async fn change(
        &mut self,
        ConfigChange { shared, opened, closed, built, go, done }: ConfigChange,
    ) {
        let prepare = || -> Result<_, BuildError> {
            let listeners = opened.into_iter().map(registered).collect::<Result<Vec<_>, _>>()?;
            Ok((self.worker.prepare(&shared)?, listeners))
        };
        let (prepared, outcome) = match prepare() {
            Ok(prepared) => (Some(prepared), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The requester may be gone: then there will be no signal either.
        let _ = built.send(outcome).await;
        drop(built);
        if let Some((next, listeners)) = prepared
            && go.await.is_ok()
        {
            self.commit(next, listeners, &shared, &closed);
            let _ = done.send(()).await;
        }
    }

    fn commit(
        &mut self,
        next: ActiveConfig,
        listeners: Vec<Registered>,
        shared: &Shared,
        closed: &[SocketAddr],
    ) {
        self.worker.commit(next, shared);
        for listener in listeners {
            self.open(listener);
        }
        self.open.retain(|(address, shut)| {
            let stays = !closed.contains(address);
            if !stays {
                shut.cancel();
            }
            stays
        });
    }
}

impl Worker {
    /// Policy of the listener configured with `address`, while there is one.
    fn door(&self, address: SocketAddr) -> Option<Arc<ListenerPolicy>> {
        self.serving().doors.get(&address).cloned()
    }
}

fn gate(route: &crate::config::RouteConfig, zones: &[Arc<Zone>]) -> Result<Gate, BuildError> {
    let mut rules = Vec::with_capacity(route.limits.len());
    for (zone, settings) in &route.limits {
        let rule = Rule::new(Arc::clone(&zones[*zone]), *settings);
        rules.push(
            rule.map_err(|source| BuildError::Rule { route: Arc::clone(&route.name), source })?,
        );
    }
    Gate::new(rules)
        .map_err(|rules| BuildError::TooManyRules { route: Arc::clone(&route.name), rules })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{io::AsyncReadExt, task::LocalSet};

    use crate::{
        downstream::{drain::DrainOrder, listener::bind},
        process::{listeners, share, worker::*},
    };

    #[tokio::test]
    async fn panic_of_the_housekeeping_ends_a_worker() {
        let all = async {
            let house = tokio::task::spawn_local(async { panic!("a timer") });
            let ended = told_or_failed(std::future::pending(), house).await;
            assert!(ended.expect_err("a failure").to_string().contains("a timer"));
            let house = tokio::task::spawn_local(std::future::pending());
            assert!(told_or_failed(async {}, house).await.is_ok());
        };
        LocalSet::new().run_until(all).await;
    }

    /// Bytes sent to a client that sends `GET /` and was still in the backlog when its listener was
    /// removed.
    async fn said_as_the_listener_goes(listener: &str) -> Vec<u8> {
        let text = format!(
            "listeners: [ {listener} ]\nclient_ip: {{ trusted_proxies: [ 127.0.0.0/8 ] }}\n\
             routes: [ {{ path: /, upstream: 'http://127.0.0.1:9' }} ]\naccess_log: {{ to: none }}\n"
        );
        let config = crate::config::parse("test", &text, &[]).expect("a configuration").config;
        let doors = listeners::fit(&ListenerMap::new(), &config.listeners)
            .expect("settings that can be used")
            .apply();
        let address = config.listeners[0].address;
        let socket = bind(address, 1).expect("a free port").remove(0);
        let (_order, drain) = DrainOrder::new();
        let shared = share(config, doors, None, drain).expect("upstreams without TLS");
        LocalSet::new()
            .run_until(async {
                let worker = Worker::build(&shared).expect("a worker");
                let mut ears = Acceptors { worker, open: Vec::new() };
                let mut client =
                    std::net::TcpStream::connect(socket.local_addr().expect("an address"))
                        .expect("a listener");
                client
                    .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    .expect("a connection");
                ears.open(registered(Listening { address, socket }).expect("a listener"));
                let without = Shared { doors: Arc::new(ListenerMap::new()), ..shared.clone() };
                let next = ears.worker.prepare(&without).expect("a worker");
                ears.commit(next, Vec::new(), &without, &[address]);
                client.set_nonblocking(true).expect("a socket");
                let (mut said, mut client) =
                    (Vec::new(), TcpStream::from_std(client).expect("a socket"));
                // Closed with its request unread, the connection is reset.
                let _ = client.read_to_end(&mut said).await;
                said
            })
            .await
    }

    #[tokio::test]
    async fn door_of_a_removed_listener_still_asks_for_a_proxy_header() {
        let said =
            said_as_the_listener_goes("{ address: '127.0.0.1:0', proxy_protocol: true }").await;
        assert_eq!(String::from_utf8_lossy(&said), "");
    }

    /// Without its certificates a client would be served in the clear, and without a client
    /// certificate.
    #[tokio::test]
    async fn door_of_a_removed_listener_still_speaks_tls_only() {
        let cert =
            "certificates: [ { cert: tests/certificates/a.pem, key: tests/certificates/a.key } ]";
        for tls in [cert.to_owned(), format!("{cert}, client_ca: tests/certificates/a.pem")] {
            let said = said_as_the_listener_goes(&format!(
                "{{ address: '127.0.0.1:0', tls: {{ {tls} }} }}"
            ))
            .await;
            assert!(!said.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&said));
        }
    }

    #[tokio::test]
    async fn door_of_a_removed_listener_still_redirects() {
        let said = said_as_the_listener_goes("{ address: '127.0.0.1:0', redirect: https }").await;
        assert!(said.starts_with(b"HTTP/1.1 308"), "{}", String::from_utf8_lossy(&said));
    }
}
