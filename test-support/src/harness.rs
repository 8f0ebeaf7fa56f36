//! `edge("10r/s burst=20").burst(30)`: a whole worker in memory, with an upstream that records what
//! reaches it.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    task::LocalSet,
    time::Instant,
};
use tower::ServiceExt;
use weir::{
    config::{Config, parse},
    downstream::{
        connection_limits::ConnectionLimits, drain::DrainOrder, listener::ListenerPolicy,
    },
    limit::{Queue, Zone},
    log::{gateway::Gateway, settings::LogFormat, writer},
    process::worker::{Worker, shared::Shared},
    runtime::{clock::Clock, io::Io, release_timer::Timing},
    upstream::{
        address::Address,
        background::BackgroundTasks,
        connect::{BoxedIo, Connector},
        dns::Resolver,
        endpoints::EndpointGroup,
        settings::{Endpoint, UpstreamSettings},
    },
};

/// What reached the upstream.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: u64,
    pub address: SocketAddr,
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The gateway of the network it stands in.
pub const GATEWAY: &str = "172.18.0.1";

/// What a client got: the status and when, in milliseconds since it asked.
pub type Got = (u16, u64);

/// The upstream's ends of the connections weir opens, in order.
pub struct Pipes(mpsc::UnboundedReceiver<(SocketAddr, DuplexStream)>);

impl Pipes {
    pub async fn recv(&mut self) -> Option<DuplexStream> {
        self.recv_at().await.map(|(_, pipe)| pipe)
    }

    /// One that was opened already.
    pub fn try_recv(&mut self) -> Option<DuplexStream> {
        self.0.try_recv().ok().map(|(_, pipe)| pipe)
    }

    /// The next one, and the address it was opened to.
    pub async fn recv_at(&mut self) -> Option<(SocketAddr, DuplexStream)> {
        self.0.recv().await
    }
}

/// What the network around weir is like.
#[derive(Default)]
pub struct World {
    /// Every address refuses connections.
    pub refusing: AtomicBool,
    /// Every address leaves who wants to connect without a word.
    pub silent: AtomicBool,
    /// Every address takes a second to take a connection.
    pub slow: AtomicBool,
    /// Who connects panics.
    pub cursed: AtomicBool,
    /// These addresses refuse connections.
    pub down: Mutex<HashSet<SocketAddr>>,
    /// The resolver's responses; a name that is not here does not resolve.
    pub names: Mutex<HashMap<String, Vec<SocketAddr>>>,
    /// How often a name was asked for.
    pub asked: AtomicUsize,
}

impl World {
    /// From now on `app` has these addresses: 10.0.0.N for each N.
    pub fn app_is(&self, last: &[u8]) {
        let addresses = last.iter().map(|last| address(*last)).collect();
        self.names.lock().expect("no panic").insert("app".to_owned(), addresses);
    }

    /// From now on these addresses refuse connections, and no others.
    pub fn down_are(&self, last: &[u8]) {
        *self.down.lock().expect("no panic") = last.iter().map(|last| address(*last)).collect();
    }

    fn takes_connections(&self, address: SocketAddr) -> bool {
        !self.refusing.load(Ordering::Relaxed)
            && !self.down.lock().expect("no panic").contains(&address)
    }
}

/// 10.0.0.N, port 80.
pub fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

pub struct Edge {
    pub worker: Rc<Worker>,
    pub seen: Rc<RefCell<Vec<Seen>>>,
    pub order: DrainOrder,
    pub queue: Arc<Queue>,
    pub world: Arc<World>,
    upstreams: Vec<Arc<EndpointGroup>>,
    connector: Connector,
    /// What the listener asks of connections.
    pub door: Arc<ListenerPolicy>,
    log: std::sync::mpsc::Receiver<Vec<u8>>,
    lines: RefCell<VecDeque<String>>,
    start: Instant,
}

/// A route on `/` with these limits, each `rate [burst=N] [delay=N|nodelay] [max_wait=MS]
/// [key=KEY]` of zones `zone0`, `zone1`, ..., and an upstream `app` at 10.0.0.1.
pub fn config(limits: &[&str]) -> Config {
    config_with(limits, &["1"])
}

/// The same without limits, with an upstream `app` at these endpoints: a name, or the N of
/// 10.0.0.N.
pub fn config_to(endpoints: &[&str]) -> Config {
    config_with(&[], endpoints)
}

/// Weir's defaults, but for these: each reject has an access line, no failure ejects an address,
/// zones are small, a missing part of a key is an empty one, and a delayed request may wait for as
/// long as it takes, up to a year.
fn config_with(limits: &[&str], endpoints: &[&str]) -> Config {
    let zone = |(index, limit): (usize, &&str)| {
        let (rate, key) = (limit.split(' ').next().unwrap_or_default(), key_of(limit));
        format!("zone{index}: {{ key: {key}, rate: {rate}, capacity: 1000, missing: empty }}")
    };
    let zones = listed(limits.iter().enumerate().map(zone));
    let rules = listed(limits.iter().enumerate().map(|(index, limit)| rule_of(index, limit)));
    let endpoints = listed(endpoints.iter().map(|text| endpoint_of(text)));
    parsed(&format!(
        "listeners: [ ':1' ]\n\
         workers: 1\n\
         access_log: {{ to: none, sample_rejects: {{ first: {} }} }}\n\
         zones: {{ {zones} }}\n\
         upstreams:\n  \
           app: {{ endpoints: [ {endpoints} ], health: {{ passive: {{ failures: 0 }} }} }}\n\
         routes: [ {{ path: /, upstream: app, limits: [ {rules} ] }} ]\n",
        u32::MAX
    ))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn key_of(limit: &str) -> &str {
    limit.split(' ').find_map(|word| word.strip_prefix("key=")).unwrap_or("client_ip")
}

fn rule_of(index: usize, limit: &str) -> String {
    let mut keys = vec![format!("zone: zone{index}")];
    for word in limit.split(' ').skip(1) {
        match word.split_once('=').unwrap_or((word, "")) {
            (name @ ("burst" | "delay"), number) => keys.push(format!("{name}: {number}")),
            ("nodelay", _) => keys.push("nodelay: true".to_owned()),
            ("max_wait", wait_ms) => keys.push(format!("max_wait: {wait_ms}ms")),
            ("key", _) => {}
            (other, _) => panic!("the harness does not know `{other}`"),
        }
    }
    if !limit.contains("max_wait") {
        keys.push("max_wait: 365d".to_owned());
    }
    format!("{{ {} }}", keys.join(", "))
}

fn endpoint_of(text: &str) -> String {
    let last = text.parse::<u8>().map(|last| address(last).to_string());
    format!("'{}'", last.unwrap_or_else(|_| format!("{text}:80")))
}

/// Configuration of a file as written, which weir reads without a problem.
pub fn parsed(file: &str) -> Config {
    parse("test.yaml", file, &[]).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// A listener without TLS, PROXY header, redirect and caps.
pub fn open_door() -> ListenerPolicy {
    let occupancy = Arc::new(ConnectionLimits::new(usize::MAX, usize::MAX));
    ListenerPolicy {
        tls: None,
        http2: true,
        redirect: None,
        http01: None,
        proxy_protocol: false,
        occupancy,
        max_requests: u64::MAX,
    }
}

/// Runs a test on a whole worker; time stands still unless everything waits.
pub async fn on_edge<F: Future<Output = ()>>(limits: &[&str], test: impl FnOnce(Rc<Edge>) -> F) {
    on_edge_of(config(limits), test).await;
}

/// The same with a configuration of the test's own.
pub async fn on_edge_of<F: Future<Output = ()>>(config: Config, test: impl FnOnce(Rc<Edge>) -> F) {
    on_door(config, open_door(), test).await;
}

/// The same behind a listener that asks something of connections.
pub async fn on_door<F: Future<Output = ()>>(
    config: Config,
    door: ListenerPolicy,
    test: impl FnOnce(Rc<Edge>) -> F,
) {
    let (edge, pipes) = Edge::new(config, door);
    let answering = Rc::clone(&edge);
    let test = Box::pin(async {
        tokio::task::spawn_local(answer_all(answering, pipes));
        test(Rc::clone(&edge)).await;
    });
    run(Rc::clone(&edge), test).await;
}

/// The same with an upstream the test plays itself, pipe by pipe.
pub async fn on_raw_edge<F: Future<Output = ()>>(
    config: Config,
    test: impl FnOnce(Rc<Edge>, Pipes) -> F,
) {
    let (edge, pipes) = Edge::new(config, open_door());
    run(Rc::clone(&edge), test(edge, pipes)).await;
}

async fn run(edge: Rc<Edge>, test: impl Future<Output = ()>) {
    let house = Rc::clone(&edge.worker);
    let mut tending =
        BackgroundTasks::new(edge.connector.clone(), scripted(Arc::clone(&edge.world)));
    tending.replace_tasks(&edge.upstreams);
    LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(async move { house.run_background_tasks().await });
            test.await;
        })
        .await;
}

fn loaded(settings: UpstreamSettings) -> Arc<EndpointGroup> {
    EndpointGroup::load(settings).expect("authorities of the test")
}

impl Edge {
    fn new(mut config: Config, door: ListenerPolicy) -> (Rc<Self>, Pipes) {
        // Also where the tests run in a terminal, which would get short lines.
        if config.access_log.format == LogFormat::Auto {
            config.access_log.format = LogFormat::Json;
        }
        let (order, drain) = DrainOrder::new();
        let (sender, pipes) = mpsc::unbounded_channel();
        let (log_sender, log) = std::sync::mpsc::channel();
        let (lines, _writer) =
            writer::start_on(Some(writer::Output::own(LogPipe(log_sender))), None)
                .expect("a thread");
        let queue = Queue::with_room(config.queue_max, config.zones.len());
        let world = Arc::<World>::default();
        let connector = in_memory(sender, Arc::clone(&world));
        let upstreams: Vec<_> = config.upstreams.iter().cloned().map(loaded).collect();
        let shared = Shared {
            zones: config.zones.iter().cloned().map(Zone::new).map(Arc::new).collect(),
            concurrency: weir::process::reload::concurrency(&[], &config.concurrency),
            upstreams: upstreams.clone(),
            doors: Arc::default(),
            inherited: Arc::default(),
            queue: Arc::clone(&queue),
            config: Arc::new(config),
            clock: Clock::start(),
            lines: Some(lines),
            timing: Timing::Runtime,
            connector: connector.clone(),
            gateway: Some(Gateway::new(GATEWAY.parse().expect("an address"))),
            drain,
            abandon: Default::default(),
        };
        let worker = Worker::build(&shared).expect("a configuration of the test");
        let edge = Self {
            worker,
            seen: Rc::default(),
            order,
            queue,
            world,
            upstreams,
            connector,
            door: Arc::new(door),
            log,
            lines: RefCell::default(),
            start: Instant::now(),
        };
        (Rc::new(edge), Pipes(pipes))
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a short test")
    }

    /// A client's end of a new connection.
    pub fn connect_from(&self, client: &str) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 16);
        let client: IpAddr = client.parse().expect("an address");
        self.worker.take(
            Box::new(theirs) as Box<dyn Io>,
            SocketAddr::new(client, 4711),
            Arc::clone(&self.door),
        );
        ours
    }

    pub fn connect(&self) -> DuplexStream {
        self.connect_from("192.0.2.1")
    }

    /// One GET on a connection of its own.
    pub async fn get(self: Rc<Self>) -> Got {
        let start = self.now();
        let answer = self.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        (status(&answer), self.now() - start)
    }

    /// Sends a request on a new connection and returns everything that comes back until it is
    /// closed.
    pub async fn exchange(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.exchange_bytes(request).await).into_owned()
    }

    /// The same to the byte.
    pub async fn exchange_bytes(&self, request: &str) -> Vec<u8> {
        let mut client = self.connect();
        client.write_all(request.as_bytes()).await.expect("an open pipe");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an open pipe");
        answer
    }

    /// Many GETs at once, in order.
    pub async fn burst(self: &Rc<Self>, count: usize) -> Vec<Got> {
        let mut asking = Vec::new();
        for _ in 0..count {
            asking.push(tokio::task::spawn_local(Rc::clone(self).get()));
            tokio::task::yield_now().await;
        }
        let mut got = Vec::new();
        for one in asking {
            got.push(one.await.expect("no panic"));
        }
        got
    }

    /// When requests reached the upstream, in milliseconds since the start.
    pub fn forwarded(&self) -> Vec<u64> {
        self.seen.borrow().iter().map(|seen| seen.at).collect()
    }

    /// How many requests each of these addresses got, and no other got any.
    pub fn shares(&self, last: &[u8]) -> Vec<usize> {
        let seen = self.seen.borrow();
        let shares: Vec<_> = last
            .iter()
            .map(|last| seen.iter().filter(|seen| seen.address == address(*last)).count())
            .collect();
        assert_eq!(shares.iter().sum::<usize>(), seen.len(), "{seen:?}");
        shares
    }

    /// The next access line.
    pub async fn line(&self) -> serde_json::Value {
        self.line_within(Duration::from_millis(60)).await
    }

    /// The next access line, which takes at most so long.
    pub async fn line_within(&self, time: Duration) -> serde_json::Value {
        serde_json::from_str(&self.text_line_within(time).await).expect("JSON")
    }

    /// The next access line as text, which takes at most so long.
    pub async fn text_line_within(&self, time: Duration) -> String {
        if self.lines.borrow().is_empty() {
            tokio::time::sleep(time).await;
            let batch = self.log.recv().expect("a line");
            let batch = String::from_utf8(batch).expect("text");
            self.lines.borrow_mut().extend(batch.lines().map(str::to_owned));
        }
        self.lines.borrow_mut().pop_front().expect("a whole line")
    }
}

/// A raw response without the interim ones before it.
pub fn final_response(answer: &str) -> &str {
    let mut rest = answer;
    while rest.starts_with("HTTP/1.1 10") && !rest.starts_with("HTTP/1.1 101") {
        rest = rest.split_once("\r\n\r\n").map_or("", |(_, behind)| behind);
    }
    rest
}

/// The status of a raw response, behind interim ones.
pub fn status(answer: &str) -> u16 {
    final_response(answer).get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

struct LogPipe(std::sync::mpsc::Sender<Vec<u8>>);

impl std::io::Write for LogPipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A test that is over reads no more lines.
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn in_memory(
    sender: mpsc::UnboundedSender<(SocketAddr, DuplexStream)>,
    world: Arc<World>,
) -> Connector {
    tower::service_fn(move |address: Arc<Address>| {
        // A Unix socket is played by the address without a host.
        let socket = address.remote().tcp().unwrap_or(SocketAddr::from(([0; 4], 0)));
        let (sender, taken) = (sender.clone(), world.takes_connections(socket));
        let (silent, slow) =
            (world.silent.load(Ordering::Relaxed), world.slow.load(Ordering::Relaxed));
        assert!(!world.cursed.load(Ordering::Relaxed), "a broken invariant of the test");
        async move {
            if silent {
                std::future::pending::<()>().await;
            }
            if slow {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let (ours, theirs) = duplex(1 << 16);
            if taken && sender.send((socket, theirs)).is_ok() {
                return Ok(Box::new(ours) as BoxedIo);
            }
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
        }
    })
    .boxed_clone()
}

fn scripted(world: Arc<World>) -> Resolver {
    tower::service_fn(move |endpoint: Arc<Endpoint>| {
        world.asked.fetch_add(1, Ordering::Relaxed);
        let found = world.names.lock().expect("no panic").get(&endpoint.host).cloned();
        async move { found.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound).into()) }
    })
    .boxed_clone()
}

async fn answer_all(edge: Rc<Edge>, mut pipes: Pipes) {
    while let Some((address, pipe)) = pipes.recv_at().await {
        let edge = Rc::clone(&edge);
        let service = service_fn(move |request: Request<Incoming>| {
            answer(Rc::clone(&edge), address, request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(pipe), service);
        tokio::task::spawn_local(connection);
    }
}

async fn answer(
    edge: Rc<Edge>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let at = edge.now();
    let body = body.collect().await?.to_bytes();
    let target = head.uri.to_string();
    edge.seen.borrow_mut().push(Seen {
        at,
        address,
        method: head.method,
        target,
        headers: head.headers,
        body,
    });
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}
