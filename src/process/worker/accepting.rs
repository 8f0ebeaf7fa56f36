//! Accepting of a worker: its sockets, and configuration changes that open and close some.

use std::{rc::Rc, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Worker,
    active_config::{ActiveConfig, BuildError},
    shared::{Listening, Shared},
};
use crate::downstream::{
    listen_address::ListenAddress,
    listen_socket::{Acceptor, Connected},
    listener::{self, AfterStop},
};

/// Configuration change for a running worker: it builds what is needed, reports that, waits for the
/// signal, and takes it over.
pub struct ConfigChange {
    /// State to serve from then on.
    pub shared: Shared,
    /// Sockets to accept on in addition.
    pub opened: Vec<Listening>,
    /// Addresses to close.
    pub closed: Vec<ListenAddress>,
    /// Receives the result of building.
    pub built: mpsc::Sender<Result<(), BuildError>>,
    /// Signal to take over; if the sender is dropped, the change is dropped.
    pub go: oneshot::Receiver<()>,
    /// Receives a message once the change is taken over.
    pub done: mpsc::Sender<()>,
}

/// Sockets that a worker accepts on.
pub struct Acceptors {
    worker: Rc<Worker>,
    open: Vec<(ListenAddress, CancellationToken)>,
}

/// Socket registered with the runtime of this worker.
pub struct Registered {
    address: ListenAddress,
    listener: Acceptor,
}

/// Registers a socket with the runtime of this worker.
///
/// # Errors
/// When the runtime cannot poll it.
pub fn registered(Listening { address, socket }: Listening) -> Result<Registered, BuildError> {
    match socket.register() {
        Ok(listener) => Ok(Registered { address, listener }),
        Err(source) => Err(BuildError::Listener { address, source }),
    }
}

impl Acceptors {
    /// Creates the list of a worker that does not accept yet.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self { worker, open: Vec::new() }
    }

    /// Accepts on one more socket.
    pub fn open(&mut self, Registered { address, listener }: Registered) {
        // A child: one address can be closed alone, and all of them with the worker.
        let (worker, shut) = (Rc::clone(&self.worker), self.worker.shut.child_token());
        let (leaving, stopped) = (Rc::clone(&self.worker), shut.clone().cancelled_owned());
        let stop = async move {
            stopped.await;
            // A new process has the same sockets.
            if leaving.leaving.get() { AfterStop::Shared } else { AfterStop::Closed }
        };
        let (mut known, at) = (worker.door(&address), address.clone());
        let take = move |Connected { io, peer }| {
            // A removed listener still has connections in its backlog: they get the policy of the
            // listener they connected to.
            known = worker.door(&at).or(known.take());
            match &known {
                Some(door) => worker.take(io, peer, Arc::clone(door)),
                None => worker.refuse(peer, &"the listener has no settings"),
            }
        };
        // Among the connections, because it may still bring some when the others have ended.
        self.worker.connections.spawn_local(listener::accept(listener, stop, take));
        self.open.push((address, shut));
    }

    /// Builds a change, reports that, and takes it over when signalled. A panic in between sends no
    /// report, which the control loop detects.
    pub async fn change(
        &mut self,
        ConfigChange { shared, opened, closed, built, go, done }: ConfigChange,
    ) {
        let prepare = || -> Result<_, BuildError> {
            let listeners = opened.into_iter().map(registered).collect::<Result<Vec<_>, _>>()?;
            Ok((self.worker.prepare(&shared)?, listeners))
        };
        // All or nothing: a worker that could not build keeps serving what it has.
        let (prepared, outcome) = match prepare() {
            Ok(prepared) => (Some(prepared), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The requester may be gone: then there will be no signal either.
        let _ = built.send(outcome).await;
        // The control loop counts reports until every sender is gone.
        drop(built);
        if let Some((next, listeners)) = prepared
            // A dropped signal cancels: another worker could not build its part.
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
        closed: &[ListenAddress],
    ) {
        // Policies first: the new sockets look them up with their first connection.
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{io::AsyncReadExt, net::TcpStream, task::LocalSet};

    use crate::{
        downstream::{drain::DrainOrder, listener::bind},
        process::{
            listeners::{self, ListenerMap},
            share,
            worker::accepting::*,
        },
    };

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
        let address = config.listeners[0].address.clone();
        let socket = bind(address.tcp().expect("TCP"), 1).expect("a free port").remove(0);
        let (_order, drain) = DrainOrder::new();
        let shared = share(config, doors, None, drain).expect("upstreams without TLS");
        LocalSet::new()
            .run_until(async {
                let worker = Worker::build(&shared).expect("a worker");
                let mut acceptors = Acceptors::new(worker);
                let mut client =
                    std::net::TcpStream::connect(socket.local_addr().expect("an address"))
                        .expect("a listener");
                client
                    .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    .expect("a connection");
                let listening = Listening { address: address.clone(), socket: socket.into() };
                acceptors.open(registered(listening).expect("a listener"));
                let without = Shared { doors: Arc::new(ListenerMap::new()), ..shared.clone() };
                let next = acceptors.worker.prepare(&without).expect("a worker");
                acceptors.commit(next, Vec::new(), &without, &[address]);
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
            assert!(said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
        }
    }

    #[tokio::test]
    async fn door_of_a_removed_listener_still_redirects() {
        let said = said_as_the_listener_goes("{ address: '127.0.0.1:0', redirect: https }").await;
        assert!(said.starts_with(b"HTTP/1.1 308"), "{}", String::from_utf8_lossy(&said));
    }
}
