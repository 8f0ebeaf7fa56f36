//! Listening sockets of a process: of TCP one for each worker on every address, else the same for
//! all workers.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rustix::io::Errno;

use super::{
    inherited_sockets::InheritedSockets, listeners::ListenerMap, socket_file::SocketFile,
    start_error::StartError, worker::shared::Listening,
};
use crate::downstream::{
    listen_address::ListenAddress,
    listen_socket::ListenSocket,
    listener,
    settings::{ListenerSettings, SocketFileSettings},
};

/// Creates empty lists for this many workers.
#[must_use]
pub fn none_for(workers: usize) -> Vec<Vec<Listening>> {
    (0..workers).map(|_| Vec::new()).collect()
}

/// Opens a socket on `address` for each worker, using those that were handed over first. All of
/// these must be used, as the kernel distributes connections over all of them.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(
    workers: &mut [Vec<Listening>],
    address: SocketAddr,
    handed: Vec<TcpListener>,
) -> Result<(), StartError> {
    let failed = |source| StartError::Bind { address: address.into(), source };
    let mut sockets = handed;
    match sockets.first() {
        None => sockets = listener::bind(address, workers.len()).map_err(failed)?,
        Some(first) => {
            let actual = first.local_addr().map_err(failed)?;
            for _ in sockets.len()..workers.len() {
                // The actual address: with port 0 each socket would get another port.
                sockets.push(listener::shared(actual).map_err(failed)?);
            }
        }
    }
    let places = workers.len().max(1);
    for (number, socket) in sockets.into_iter().enumerate() {
        // More sockets than workers: each must have an owner, or its connections would wait
        // for ever.
        let listening = Listening { address: address.into(), socket: socket.into() };
        workers[number % places].push(listening);
    }
    Ok(())
}

/// Opening of the sockets of a configuration.
pub struct Opening<'a> {
    /// Listeners of the configuration.
    pub listeners: &'a [ListenerSettings],
    /// Sockets that the service manager opened.
    pub inherited: &'a InheritedSockets,
    /// Sockets of each worker.
    pub workers: Vec<Vec<Listening>>,
    /// Files of the Unix sockets.
    pub files: Vec<SocketFile>,
}

impl Opening<'_> {
    /// Opens the sockets of an address. An IPv6 address that was not written explicitly is skipped
    /// if the machine has none.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(
        &mut self,
        address: ListenAddress,
        handed: Vec<ListenSocket>,
    ) -> Result<(), StartError> {
        let settings = self.listeners.iter().find(|listener| listener.address == address);
        match address {
            ListenAddress::Tcp(tcp) => match listen(&mut self.workers, tcp, tcp_only(handed)) {
                Err(StartError::Bind { source, .. })
                    if settings.is_none() && is_without_ipv6(&source) =>
                {
                    tracing::info!(
                        %address,
                        "this machine has no IPv6; listening on IPv4 only"
                    );
                    Ok(())
                }
                outcome => outcome,
            },
            ListenAddress::Unix(_) | ListenAddress::Inherited(_) => {
                // The address of an inherited socket has no file of weir's: its maker decides who
                // may connect.
                let permissions = settings.map(|listener| listener.file).unwrap_or_default();
                let shared = self
                    .shared(&address, permissions, handed)
                    .and_then(|sockets| spread(&mut self.workers, &address, sockets));
                shared.map_err(|source| StartError::Bind { address, source })
            }
        }
    }

    /// Sockets of an address that all workers share.
    fn shared(
        &mut self,
        address: &ListenAddress,
        permissions: SocketFileSettings,
        handed: Vec<ListenSocket>,
    ) -> io::Result<Vec<ListenSocket>> {
        match address {
            ListenAddress::Tcp(_) => Ok(handed),
            ListenAddress::Inherited(name) => self.inherited.of(name),
            ListenAddress::Unix(path) => {
                // The old process hands over a duplicate for each of its workers.
                if let Some(socket) = handed.into_iter().next() {
                    self.files.push(SocketFile::found(path)?);
                    return Ok(vec![socket]);
                }
                let (socket, file) = SocketFile::bind(path, permissions)?;
                self.files.push(file);
                Ok(vec![socket.into()])
            }
        }
    }
}

/// Gives the files of Unix sockets the permissions of their listeners, where those differ from
/// `before`.
pub fn grant(files: &[SocketFile], before: &[ListenerSettings], after: &[ListenerSettings]) {
    for file in files {
        let of = |listeners: &[ListenerSettings]| {
            let path = Some(file.path());
            listeners.iter().find(|listener| listener.address.path() == path).map(|it| it.file)
        };
        let Some(settings) = of(after).filter(|settings| of(before) != Some(*settings)) else {
            continue;
        };
        if let Err(error) = file.grant(settings) {
            let path = file.path().display();
            tracing::error!(%error, %path, "cannot change the permissions of the socket file; \
                keeping the current ones");
        }
    }
}

/// Those of TCP among these sockets.
#[must_use]
pub fn tcp_only(sockets: Vec<ListenSocket>) -> Vec<TcpListener> {
    let tcp = |socket| match socket {
        ListenSocket::Tcp(socket) => Some(socket),
        ListenSocket::Unix(_) => None,
    };
    sockets.into_iter().filter_map(tcp).collect()
}

/// Gives a duplicate of each of these sockets to every worker.
fn spread(
    workers: &mut [Vec<Listening>],
    address: &ListenAddress,
    sockets: Vec<ListenSocket>,
) -> io::Result<()> {
    // Without `SO_REUSEPORT` there is one queue of connections, from which all workers take.
    for socket in sockets {
        for worker in &mut *workers {
            let (address, socket) = (address.clone(), socket.try_clone()?);
            worker.push(Listening { address, socket });
        }
    }
    Ok(())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let known = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(|errno| Some(errno.raw_os_error()));
    known.contains(&error.raw_os_error())
}

/// Duplicates the sockets.
///
/// # Errors
/// When there is no descriptor left.
pub fn again(sockets: &[Vec<Listening>]) -> io::Result<Vec<Listening>> {
    sockets.iter().flatten().map(Listening::again).collect()
}

/// Sets the options that accepted sockets inherit, including the TCP user time-out of the
/// configuration. Clients are accepted with their first data, but not behind a proxy that sends a
/// PROXY header: it may connect ahead of its clients.
///
/// # Errors
/// When the kernel refuses.
pub fn tune<'a>(
    sockets: impl IntoIterator<Item = &'a Listening>,
    doors: &ListenerMap,
    write: Duration,
) -> Result<(), StartError> {
    let tune = |Listening { address, socket }: &Listening| {
        // The options are those of TCP.
        // A Unix socket has no delays, and the kernel knows when its peer is gone.
        let Some(socket) = socket.tcp() else { return Ok(()) };
        let defers = doors.get(address).is_some_and(|door| !door.proxy_protocol);
        listener::tune(socket, write, defers)
            .map_err(|source| StartError::Bind { address: address.clone(), source })
    };
    sockets.into_iter().try_for_each(tune)
}
