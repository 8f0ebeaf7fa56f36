//! Address that a connection to an endpoint is opened to.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

/// Address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// Address of TCP.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(Arc<Path>),
}

impl Remote {
    /// Address of TCP, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
