//! Reasons why a proxy cannot start, or cannot take over another configuration.

use std::{io, net::SocketAddr, sync::Arc};

use super::state::StateError;
use crate::{
    downstream::tls::TlsError, log::writer::LogError, runtime::hint::Hinted,
    upstream::tls::SecureError,
};

/// Reason why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// Address of the listener.
        address: SocketAddr,
        /// Error of the kernel.
        source: io::Error,
    },
    /// TLS cannot be set up for a listener.
    #[error("cannot speak TLS on `{address}`: {source}")]
    Tls {
        /// Address of the listener.
        address: SocketAddr,
        /// Error of the TLS settings.
        source: Box<TlsError>,
    },
    /// TLS cannot be set up for an upstream.
    #[error("cannot speak TLS to upstream `{upstream}`: {source}")]
    Upstream {
        /// Name of the upstream.
        upstream: Arc<str>,
        /// Error of the TLS settings.
        source: SecureError,
    },
    /// The access log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The old process did not hand over everything.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// A thread or a runtime cannot be started.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
}

impl Hinted for StartError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Bind { source, .. } => taken_hint(source).map(str::to_owned),
            Self::Tls { source, .. } => source.hint(),
            Self::Upstream { source, .. } => source.hint(),
            Self::Log(error) => error.hint(),
            Self::Handover(_) | Self::Thread(_) => None,
        }
    }
}

fn taken_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another program listens there; stop it or choose another port")
        }
        io::ErrorKind::PermissionDenied => {
            Some("a port below 1024 needs `CAP_NET_BIND_SERVICE`; grant it or choose a higher port")
        }
        io::ErrorKind::AddrNotAvailable => Some("this machine has no such address"),
        _ => None,
    }
}

/// Reason why nothing was handed over; this process continues to serve.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The new process cannot be started, or the channel to it failed.
    #[error("the new process cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The new process sent something else, or ended.
    #[error("the new process did not become ready: {0}")]
    NotReady(#[source] io::Error),
    /// The state did not arrive.
    #[error("the old process did not hand over its state: {0}")]
    State(#[from] StateError),
}

#[cfg(test)]
mod tests {
    use crate::process::start_error::*;

    #[test]
    fn bind_hint_names_the_capability_for_a_low_port() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let refused = StartError::Bind { address, source: io::ErrorKind::PermissionDenied.into() };
        let hint =
            "a port below 1024 needs `CAP_NET_BIND_SERVICE`; grant it or choose a higher port";
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}
