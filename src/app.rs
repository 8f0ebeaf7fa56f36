//! From a configuration to a running proxy: bind everything, start the workers, wait for the order to stop, drain.

use std::{io, net::SocketAddr, net::TcpListener, sync::Arc, thread};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use self::worker::Shared;
use crate::{
    clock::Clock,
    config::Config,
    limit::{Queue, Zone},
    observe::{
        gateway::Gateway,
        writer::{self, Writer},
    },
    release::Timing,
    server::{
        drain::{Drain, DrainOrder},
        listener,
    },
    upstream::connect,
};

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

/// A proxy whose sockets are open and whose workers have not begun.
pub struct App {
    shared: Shared,
    order: DrainOrder,
    sockets: Vec<Vec<TcpListener>>,
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
        let mut sockets: Vec<Vec<TcpListener>> = (0..config.workers).map(|_| Vec::new()).collect();
        for address in &config.listeners {
            listen(&mut sockets, *address)?;
        }
        let (lines, writer) = writer::start(&config.access_log.to).map_err(StartError::Log)?.unzip();
        let (order, drain) = DrainOrder::new();
        let shared = share(config, lines, drain);
        Ok(Self { shared, order, sockets, writer })
    }

    /// Listens on one more address.
    ///
    /// # Errors
    /// When the address cannot be had; the others are still listened on.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), StartError> {
        listen(&mut self.sockets, address)
    }

    /// The addresses it listens on, ports chosen.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.first().into_iter().flatten().map(TcpListener::local_addr).collect()
    }

    /// Serves until `stops` says so: once to drain, twice to stop now.
    ///
    /// # Errors
    /// When a worker cannot be started or fails.
    pub fn run(self, mut stops: mpsc::Receiver<()>) -> Result<Ended, StartError> {
        let Self { shared, order, sockets, writer } = self;
        let (drain_time, abandon) = (shared.config.drain, shared.abandon.clone());
        let (done, mut finished) = mpsc::channel::<()>(1);
        let mut workers = Vec::with_capacity(sockets.len());
        for (number, sockets) in sockets.into_iter().enumerate() {
            let (shared, done) = (shared.clone(), done.clone());
            let work = move || {
                let outcome = worker::run(&shared, sockets);
                drop(done);
                outcome
            };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            workers.push(thread.spawn(work).map_err(StartError::Thread)?);
        }
        drop((done, shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(StartError::Thread)?;
        let ended = runtime.block_on(async {
            tokio::select! {
                _ = finished.recv() => return Ended::Drained,
                _ = stops.recv() => order.by(Instant::now() + drain_time),
            }
            tokio::select! {
                _ = finished.recv() => Ended::Drained,
                Some(()) = stops.recv() => {
                    abandon.cancel();
                    Ended::Abandoned
                }
            }
        });
        for worker in workers {
            let outcome = worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            outcome.map_err(StartError::Thread)?;
        }
        if let Some(writer) = writer {
            writer.finish();
        }
        Ok(ended)
    }
}

/// Opens a socket on `address` for each worker.
fn listen(workers: &mut [Vec<TcpListener>], address: SocketAddr) -> Result<(), StartError> {
    let bound = listener::bind(address, workers.len()).map_err(|source| StartError::Bind { address, source })?;
    for (worker, socket) in workers.iter_mut().zip(bound) {
        worker.push(socket);
    }
    Ok(())
}

fn share(config: Config, lines: Option<writer::Lines>, drain: Drain) -> Shared {
    Shared {
        zones: config.zones.iter().cloned().map(Zone::new).map(Arc::new).collect(),
        queue: Queue::with_room(config.queue_max),
        config: Arc::new(config),
        clock: Clock::start(),
        lines,
        timing: Timing::Precise,
        connector: connect::tcp(),
        gateway: Gateway::of_this_network(),
        drain,
        abandon: CancellationToken::new(),
    }
}
