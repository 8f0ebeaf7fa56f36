//! Listening sockets of TCP and of Unix, and the connections they accept.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener as StdUnixListener,
    },
    task::{Context, Poll},
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::listen_address::ListenAddress;
use crate::runtime::io::Io;

/// Client address of every peer on a Unix socket, which has none. No host has the unspecified
/// address (RFC 4291, section 2.5.2), so it belongs to no network but that of all addresses.
pub const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// Listening socket.
#[derive(Debug)]
pub enum ListenSocket {
    /// Socket of TCP.
    Tcp(StdTcpListener),
    /// Unix socket.
    Unix(StdUnixListener),
}

impl ListenSocket {
    /// Takes over a listening socket that another process opened.
    ///
    /// # Errors
    /// When it is no listening stream socket of TCP or Unix.
    pub fn of(socket: OwnedFd) -> io::Result<Self> {
        let other = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        // A datagram socket could be passed by mistake, and its accept would fail again and again.
        if sockopt::socket_type(&socket)? != SocketType::STREAM {
            return Err(other("it is not a stream socket"));
        }
        if !sockopt::socket_acceptconn(&socket)? {
            return Err(other("it does not listen"));
        }
        // By the family of the socket and not by its name: the service manager decides what it is.
        match sockopt::socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                let socket = StdTcpListener::from(socket);
                // The runtime requires it: a blocking accept would stop the whole worker.
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(socket))
            }
            AddressFamily::UNIX => {
                let socket = StdUnixListener::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
            _ => Err(other("it is a socket of neither TCP nor Unix")),
        }
    }

    /// Duplicates the descriptor.
    ///
    /// # Errors
    /// When there is none left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// Socket of TCP, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<&StdTcpListener> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) => None,
        }
    }

    /// Address it listens on, with the chosen port; `configured` for a Unix socket.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn local_address(&self, configured: &ListenAddress) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(ListenAddress::Tcp),
            // It has no other: the path is the one that was bound.
            Self::Unix(_) => Ok(configured.clone()),
        }
    }

    /// Registers it with the runtime of this thread.
    ///
    /// # Errors
    /// When the runtime cannot poll it.
    pub fn register(self) -> io::Result<Acceptor> {
        Ok(match self {
            Self::Tcp(socket) => Acceptor::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket) => Acceptor::Unix(UnixListener::from_std(socket)?),
        })
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<StdTcpListener> for ListenSocket {
    fn from(socket: StdTcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl From<StdUnixListener> for ListenSocket {
    fn from(socket: StdUnixListener) -> Self {
        Self::Unix(socket)
    }
}

/// Accepted connection.
pub struct Connected {
    /// Its bytes.
    pub io: Box<dyn Io>,
    /// Address of the other end; [`UNIX_PEER`] on a Unix socket.
    pub peer: SocketAddr,
}

impl Connected {
    fn tcp((stream, peer): (TcpStream, SocketAddr)) -> Self {
        Self { io: Box::new(stream), peer }
    }

    fn unix(stream: UnixStream) -> Self {
        Self { io: Box::new(stream), peer: UNIX_PEER }
    }
}

/// Listening socket that is registered with a runtime.
#[derive(Debug)]
pub enum Acceptor {
    /// Socket of TCP.
    Tcp(TcpListener),
    /// Unix socket.
    Unix(UnixListener),
}

impl Acceptor {
    /// Waits for a connection.
    ///
    /// # Errors
    /// That of the kernel.
    pub async fn accept(&self) -> io::Result<Connected> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(Connected::tcp),
            Self::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Connected::unix(stream))
            }
        }
    }

    /// Takes a connection, if one waits.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Connected>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(Connected::tcp),
            Self::Unix(listener) => {
                listener.poll_accept(context).map_ok(|(stream, _)| Connected::unix(stream))
            }
        }
    }

    /// Takes it from the runtime.
    ///
    /// # Errors
    /// When the runtime cannot release it.
    pub fn into_std(self) -> io::Result<ListenSocket> {
        Ok(match self {
            Self::Tcp(listener) => ListenSocket::Tcp(listener.into_std()?),
            Self::Unix(listener) => ListenSocket::Unix(listener.into_std()?),
        })
    }
}

impl ListenSocket {
    /// Takes a connection from the kernel, which is asked itself: the runtime does not know what
    /// arrived since its last poll.
    ///
    /// # Errors
    /// When none waits, or that of the kernel.
    pub fn accept_now(&self) -> io::Result<Connected> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Connected::tcp((TcpStream::from_std(stream)?, peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Connected::unix(UnixStream::from_std(stream)?))
            }
        }
    }
}
