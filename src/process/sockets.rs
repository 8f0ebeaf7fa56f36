//! Listening sockets of a process: one for each worker on every address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rustix::io::Errno;

use super::{listeners::ListenerMap, start_error::StartError, worker::shared::Listening};
use crate::downstream::{listener, settings::ListenerSettings};

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
    let failed = |source| StartError::Bind { address, source };
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
        workers[number % places].push(Listening { address, socket });
    }
    Ok(())
}

/// Opens the sockets of a configuration. An IPv6 address that was not written explicitly is skipped
/// if the machine has none.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen_for(
    listeners: &[ListenerSettings],
    workers: &mut [Vec<Listening>],
    address: SocketAddr,
    handed: Vec<TcpListener>,
) -> Result<(), StartError> {
    let is_written = listeners.iter().any(|listener| listener.address == address);
    match listen(workers, address, handed) {
        Err(StartError::Bind { source, .. }) if !is_written && is_without_ipv6(&source) => {
            tracing::info!(%address, "this machine has no IPv6; listening on IPv4 only");
            Ok(())
        }
        outcome => outcome,
    }
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
        let defers = doors.get(address).is_some_and(|door| !door.proxy_protocol);
        listener::tune(socket, write, defers)
            .map_err(|source| StartError::Bind { address: *address, source })
    };
    sockets.into_iter().try_for_each(tune)
}
