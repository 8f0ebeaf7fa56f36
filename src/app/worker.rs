//! One core: its runtime, its sockets, its connections, its pools. Workers share zones and nothing else.

use std::{io, net::SocketAddr, net::TcpListener as StdListener, rc::Rc, sync::Arc};

use tokio::{net::TcpListener, net::TcpStream, runtime::LocalOptions, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alarm::Alarm,
    clock::Clock,
    config::Config,
    limit::{Gate, Queue, Rule, Zone},
    observe::{
        gateway::{Gateway, Watch},
        journal::Journal,
        writer::Lines,
    },
    proxy::{Peer, Proxy, Route},
    record::Record,
    release::{Releases, Timing},
    request_id::RequestIds,
    route::Table,
    server::{
        body::RequestBody,
        conn,
        drain::Drain,
        listener,
        settings::HeaderLimits,
        watchdog::{TICK, Watchdog},
        wire::Wire,
    },
    stream::Io,
    upstream::{Upstream, connect::Connector},
};

/// What all workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The zones, as [`Config::zones`] lists them.
    pub zones: Vec<Arc<Zone>>,
    /// The cap on parked requests.
    pub queue: Arc<Queue>,
    /// The process's clock.
    pub clock: Clock,
    /// The access log.
    pub lines: Option<Lines>,
    /// How releases are timed.
    pub timing: Timing,
    /// How connections to upstreams are opened.
    pub connector: Connector,
    /// Whom hidden clients appear as.
    pub gateway: Option<Gateway>,
    /// The order to stop.
    pub drain: Drain,
    /// The order to stop at once.
    pub abandon: CancellationToken,
}

/// A worker's inside: everything that answers a connection.
pub struct Worker {
    proxy: Proxy,
    upstreams: Vec<Rc<Upstream<RequestBody>>>,
    watchdog: Watchdog,
    alarm: Rc<Alarm>,
    limits: HeaderLimits,
    connections: TaskTracker,
}

/// Why a worker could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A rule that cannot be counted.
    #[error("route `{route}`: {source}")]
    Rule {
        /// The route.
        route: Arc<str>,
        /// Why.
        source: crate::limit::rule::RuleError,
    },
    /// No timer for parked requests.
    #[error("no timer can be had: {0}")]
    Timer(#[source] io::Error),
    /// More rules than a gate takes.
    #[error("route `{route}` has {rules} limits, hint: at most {max} are looked at", max = crate::limit::MAX_RULES)]
    TooManyRules {
        /// The route.
        route: Arc<str>,
        /// How many.
        rules: usize,
    },
}

impl Worker {
    /// Builds what a configuration describes.
    ///
    /// # Errors
    /// When a rule cannot be counted; a checked configuration has none of these.
    pub fn build(shared: &Shared) -> Result<Rc<Self>, BuildError> {
        let config = &shared.config;
        let alarm = Rc::new(Alarm::default());
        let upstream = |settings: &crate::upstream::settings::UpstreamSettings| {
            Rc::new(Upstream::new(settings.clone(), &shared.connector, &alarm))
        };
        let upstreams: Vec<_> = config.upstreams.iter().map(upstream).collect();
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let built = Route {
                name: Arc::clone(&route.name),
                gate: gate(route, &shared.zones)?,
                upstream: Rc::clone(&upstreams[route.upstream]),
                reject: route.reject,
                max_body: route.max_body,
            };
            routes.push((route.pattern.clone(), Rc::new(built)));
        }
        let proxy = Proxy {
            clock: shared.clock,
            trust: config.client_ip.clone(),
            routes: Table::new(routes),
            queue: Arc::clone(&shared.queue),
            releases: Releases::new(shared.timing).map_err(BuildError::Timer)?,
            journal: Journal::new(shared.clock, &config.access_log, shared.lines.clone()),
            ids: RequestIds::new(),
            gateway: Watch::on(shared.gateway.clone()),
            drain: shared.drain.clone(),
        };
        let watchdog = Watchdog::new(config.timeouts);
        let connections = TaskTracker::new();
        Ok(Rc::new(Self { proxy, upstreams, watchdog, alarm, limits: config.header_limits, connections }))
    }

    /// Serves one connection; must be called where `spawn_local` may be.
    pub fn take(self: &Rc<Self>, io: Box<dyn Io>, peer: SocketAddr) {
        let worker = Rc::clone(self);
        self.connections.spawn_local(async move { worker.serve(io, peer).await });
    }

    async fn serve(&self, io: Box<dyn Io>, peer: SocketAddr) {
        let wire = Wire::new(io);
        self.watchdog.watch(&wire);
        let peer = Peer::new(peer.ip());
        let service = |request| self.proxy.serve(&wire, &peer, request);
        let served = conn::serve(Rc::clone(&wire), self.limits, service).await;
        if let Err(error) = served {
            let began = self.proxy.clock.now();
            let mut record = Record::begin(&self.proxy.journal, peer.address, self.proxy.ids.next(), began);
            record.fails(&error);
        }
    }

    /// Does what must be done now and then, for as long as it is polled.
    pub async fn keep_house(&self) {
        tokio::join!(
            self.watchdog.run(),
            self.alarm.run(),
            self.proxy.journal.run(),
            self.sweep(),
            self.pass_on(),
            self.release()
        );
    }

    async fn release(&self) {
        if let Err(error) = self.proxy.releases.run().await {
            tracing::error!(%error, "parked requests are no longer released on time");
        }
    }

    /// Passes the order to stop on to the connections.
    async fn pass_on(&self) {
        self.proxy.drain.clone().begun().await;
        self.watchdog.drain();
    }

    async fn sweep(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for upstream in &self.upstreams {
                upstream.sweep();
            }
        }
    }

    /// Waits until the order to stop was given and either every connection has ended or the time is up.
    pub async fn finished(&self) {
        let mut drain = self.proxy.drain.clone();
        let deadline = drain.begun().await;
        self.connections.close();
        if tokio::time::timeout_at(deadline, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "the time to drain is over: connections are cut");
        }
    }
}

/// Runs a worker on this thread until it is told to stop.
///
/// # Errors
/// When its runtime or its sockets fail at the start.
pub fn run(shared: &Shared, sockets: Vec<StdListener>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let worker = Worker::build(shared).map_err(io::Error::other)?;
        let mut accepting = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let (listener, taker) = (TcpListener::from_std(socket)?, Rc::clone(&worker));
            let take = move |stream: TcpStream, peer| taker.take_tcp(stream, peer);
            accepting.push(tokio::task::spawn_local(listener::accept(listener, shared.drain.clone(), take)));
        }
        // Tasks of their own: what is awaited right here is polled with every turn of the loop.
        let house = Rc::clone(&worker);
        tokio::task::spawn_local(async move { house.keep_house().await });
        let (leaving, abandon) = (Rc::clone(&worker), shared.abandon.clone());
        let end = tokio::task::spawn_local(async move {
            tokio::select! {
                () = abandon.cancelled() => {}
                () = leaving.finished() => {}
            }
        });
        end.await.map_err(io::Error::other)?;
        worker.proxy.journal.finish();
        Ok(())
    })
}

impl Worker {
    fn take_tcp(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
        self.take(Box::new(stream), peer);
    }
}

fn gate(route: &crate::config::RouteConfig, zones: &[Arc<Zone>]) -> Result<Gate, BuildError> {
    let mut rules = Vec::with_capacity(route.limits.len());
    for (zone, settings) in &route.limits {
        let rule = Rule::new(Arc::clone(&zones[*zone]), *settings);
        rules.push(rule.map_err(|source| BuildError::Rule { route: Arc::clone(&route.name), source })?);
    }
    Gate::new(rules).map_err(|rules| BuildError::TooManyRules { route: Arc::clone(&route.name), rules })
}
