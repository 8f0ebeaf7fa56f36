//! Address of a listener: of TCP, a Unix socket, or a socket that the service manager opened.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Prefix of a path.
const UNIX: &str = "unix:";
/// Prefix of the name of an inherited socket.
const INHERITED: &str = "fd:";

/// Address to listen on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// Unix socket with this path.
    Unix(Arc<Path>),
    /// Socket with this name that the service manager opened (`sd_listen_fds(3)`).
    Inherited(Arc<str>),
}

/// Text that is not an address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of a listener")]
pub struct NoListenAddress;

impl ListenAddress {
    /// Address of TCP, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }

    /// Path of a Unix socket, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) | Self::Inherited(_) => None,
        }
    }

    /// Name of an inherited socket, if it is one.
    #[must_use]
    pub fn inherited(&self) -> Option<&Arc<str>> {
        match self {
            Self::Inherited(name) => Some(name),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Inherited(name) => write!(f, "{INHERITED}{name}"),
        }
    }
}

// As in the file, so that lists of them can be logged.
impl fmt::Debug for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ListenAddress {
    type Err = NoListenAddress;

    /// Parses what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoListenAddress> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return Ok(Self::Unix(PathBuf::from(path).into()));
        }
        match text.strip_prefix(INHERITED) {
            Some(name) => Ok(Self::Inherited(name.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| NoListenAddress),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::downstream::listen_address::*;

    #[test]
    fn listen_address_is_parsed_as_it_is_written() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/weir.sock", "fd:web"] {
            let address: ListenAddress = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert_eq!(format!("{address:?}"), text);
        }
        assert_eq!("web".parse::<ListenAddress>(), Err(NoListenAddress));
    }
}
