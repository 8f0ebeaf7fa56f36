//! Listening sockets that the service manager opened for this process (`sd_listen_fds(3)`).
//!
//! Guarantee: they are taken only if `LISTEN_PID` is this process, and have a name each, of
//! `LISTEN_FDNAMES`. They stay open while the process lives, as the service manager keeps its own
//! duplicates too: clients wait in them and are not refused.

use std::{env, io, os::fd::OwnedFd, sync::Arc};

use crate::{downstream::listen_socket::ListenSocket, runtime::sys::inherited_descriptors};

/// Limit on the sockets of one service.
pub const MAX_SOCKETS: usize = 64;
/// Name of a socket without one (`sd_listen_fds(3)`).
const UNKNOWN: &str = "unknown";

/// Inherited sockets by name; several may have the same one.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<(Arc<str>, ListenSocket)>);

impl InheritedSockets {
    /// Those that the environment names, the first time it is called.
    #[must_use]
    pub fn of_environment() -> Self {
        let descriptors = inherited_descriptors(MAX_SOCKETS);
        let names = names(&env::var("LISTEN_FDNAMES").unwrap_or_default(), descriptors.len());
        Self::new(names.into_iter().zip(descriptors))
    }

    /// Sockets with these names. One that cannot be listened on is reported and left out.
    #[must_use]
    pub fn new(sockets: impl IntoIterator<Item = (Arc<str>, OwnedFd)>) -> Self {
        let usable = |(name, socket): (Arc<str>, OwnedFd)| match ListenSocket::of(socket) {
            Ok(socket) => Some((name, socket)),
            Err(error) => {
                tracing::warn!(%error, %name, "cannot use the inherited socket; ignoring it");
                None
            }
        };
        Self(sockets.into_iter().filter_map(usable).collect())
    }

    /// Duplicates of the sockets with this name.
    ///
    /// # Errors
    /// When there is none, or no descriptor left.
    pub fn of(&self, name: &str) -> io::Result<Vec<ListenSocket>> {
        // Several sockets may have one name, as those of one unit do by default.
        let named = self.0.iter().filter(|(own, _)| **own == *name);
        let found: Vec<_> =
            named.map(|(_, socket)| socket.try_clone()).collect::<io::Result<_>>()?;
        if found.is_empty() {
            let message = "the service manager passed no socket of this name";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        Ok(found)
    }

    /// Names and sockets, for a hand-over.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &ListenSocket)> {
        self.0.iter().map(|(name, socket)| (name, socket))
    }

    /// Sockets that were handed over.
    #[must_use]
    pub fn handed(sockets: Vec<(Arc<str>, ListenSocket)>) -> Self {
        Self(sockets)
    }
}

/// Names of this many sockets, as the variable has them.
fn names(variable: &str, count: usize) -> Vec<Arc<str>> {
    let mut names = variable.split(':').filter(|_| !variable.is_empty());
    (0..count).map(|_| names.next().unwrap_or(UNKNOWN).into()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use crate::process::inherited_sockets::*;

    #[test]
    fn inherited_names_are_those_of_the_variable() {
        let of =
            |text, count| names(text, count).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("web:admin", 2), ["web", "admin"]);
        assert_eq!(of("", 2), ["unknown", "unknown"]);
        assert_eq!(of("web", 2), ["web", "unknown"]);
    }

    #[test]
    fn inherited_sockets_are_found_by_name_and_must_listen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = OwnedFd::from(TcpStream::connect(address).expect("a connection"));
        let datagrams = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let sockets = InheritedSockets::new([
            ("web".into(), listener.into()),
            ("client".into(), client),
            ("datagrams".into(), datagrams),
        ]);
        let found = sockets.of("web").expect("a socket");
        assert_eq!(found.len(), 1);
        assert!(sockets.of("client").is_err() && sockets.of("datagrams").is_err());
        assert_eq!(sockets.all().count(), 1);
    }
}
