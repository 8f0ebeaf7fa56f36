//! Reasons why a proxy cannot start, or cannot take over another configuration.

use std::{io, sync::Arc};

use super::state::StateError;
use crate::{
    downstream::{listen_address::ListenAddress, tls::TlsError},
    log::writer::LogError,
    runtime::hint::Hinted,
    upstream::tls::SecureError,
};

/// Reason why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// Address of the listener.
        address: ListenAddress,
        /// Error of the kernel.
        source: io::Error,
    },
    /// TLS cannot be set up for a listener.
    #[error("cannot speak TLS on `{address}`: {source}")]
    Tls {
        /// Address of the listener.
        address: ListenAddress,
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
            Self::Bind { address: ListenAddress::Tcp(_), source } => {
                taken_hint(source).map(str::to_owned)
            }
            Self::Bind { address: ListenAddress::Unix(_), source } => {
                socket_file_hint(source).map(str::to_owned)
            }
            Self::Bind { address: ListenAddress::Inherited(_), source } => {
                inherited_hint(source).map(str::to_owned)
            }
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

fn socket_file_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another program listens there; stop it or choose another path")
        }
        io::ErrorKind::AlreadyExists => Some("remove it, or choose another path"),
        io::ErrorKind::NotFound => Some("its folder must exist"),
        io::ErrorKind::PermissionDenied => {
            Some("the user weir runs as must be able to write to its folder, and to change `owner`")
        }
        _ => None,
    }
}

fn inherited_hint(source: &io::Error) -> Option<&'static str> {
    let hint = "systemd passes it by a `.socket` unit with `FileDescriptorName=`, at the start";
    (source.kind() == io::ErrorKind::NotFound).then_some(hint)
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
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into();
        let refused = StartError::Bind { address, source: io::ErrorKind::PermissionDenied.into() };
        let hint =
            "a port below 1024 needs `CAP_NET_BIND_SERVICE`; grant it or choose a higher port";
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}
