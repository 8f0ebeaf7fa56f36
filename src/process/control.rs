//! Control socket of a process. With its configuration file alone, a command on the same machine
//! finds the process that serves it and asks it. The file may be invalid by then, and the listeners
//! may be full or speak another protocol.
//!
//! It is an abstract unix socket, named by a digest of the absolute path of the file: nothing of it
//! stays on disk, and it ends with its process. It speaks the protocol of the admin listener.
//!
//! Guarantee: either side trusts only processes of its own user (`SO_PEERCRED`); any process of the
//! machine may use the name.

use std::{
    ffi::OsStr,
    hash::Hasher,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::Path,
    time::Duration,
};

use rustix::process::geteuid;
use siphasher::sip128::{Hasher128, SipHasher13};
use socket2::{Domain, SockAddr, Socket, Type};

/// Limit on a response, in bytes.
const RESPONSE: u64 = 1 << 20;

/// Reason why the process that serves a file cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such process.
    #[error("no process serves this file")]
    NoProcess,
    /// It belongs to another user or another container.
    #[error("the process that serves this file belongs to another user")]
    Foreign,
    /// It does not respond.
    #[error("the process that serves this file does not respond: {0}")]
    Silent(#[from] io::Error),
}

/// Name for a configuration file. It is made of the path as written, not of the target of links: a
/// file that is replaced by way of links keeps its name.
fn name(file: &Path) -> io::Result<SocketAddr> {
    let mut digest = SipHasher13::new();
    digest.write(std::path::absolute(file)?.as_os_str().as_bytes());
    SocketAddr::from_abstract_name(format!("weir-{:032x}", digest.finish128().as_u128()))
}

/// Opens the control socket of a process that serves `file`.
///
/// # Errors
/// When another process has opened it.
pub fn bind(file: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&name(file)?)?;
    // tokio takes it as it is, and a blocking accept would stop the control loop.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Returns true if the peer is a process of this user that is visible from here: one in another
/// container has process id 0.
///
/// # Errors
/// When the kernel does not tell.
pub fn is_ours(end: &tokio::net::UnixStream) -> io::Result<bool> {
    let peer = end.peer_cred()?;
    // The kernel reports these credentials, so the peer cannot choose them.
    Ok(peer.uid() == geteuid().as_raw() && peer.pid() != Some(0))
}

/// Asks the process that serves `file`; returns status and text of its response. Connecting, asking
/// and each part of the response may take `limit`.
///
/// # Errors
/// When there is no such process, it belongs to another user, or it does not respond.
pub fn ask(file: &Path, question: &str, limit: Duration) -> Result<(u16, String), ControlError> {
    let stream = connect(&name(file)?, limit).map_err(|error| match error.kind() {
        // An abstract name has no file that could be missing: without a listener it is refused.
        io::ErrorKind::ConnectionRefused => ControlError::NoProcess,
        _ => ControlError::Silent(error),
    })?;
    let mut stream = ours(stream)?.ok_or(ControlError::Foreign)?;
    // A process that accepts and then hangs must not keep the command for ever.
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(
        stream,
        "{question} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    Ok(response(stream)?)
}

/// Connects to the name within `limit`: the backlog of a process that accepts nothing may be full.
fn connect(name: &SocketAddr, limit: Duration) -> io::Result<UnixStream> {
    let path = [b"\0", name.as_abstract_name().unwrap_or_default()].concat();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The time a connect may wait in the backlog is the write time-out (unix(7)).
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(OsStr::from_bytes(&path))?)?;
    Ok(OwnedFd::from(socket).into())
}

/// Returns the connection if [`is_ours`]; only tokio's streams give the peer credentials.
fn ours(stream: UnixStream) -> io::Result<Option<UnixStream>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let is_ours = is_ours(&stream)?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(is_ours.then_some(stream))
}

/// Reads a response to its end: status and text.
///
/// # Errors
/// When it ends early or is not a response.
pub fn response(stream: impl Read) -> io::Result<(u16, String)> {
    let mut response = String::new();
    // The peer may run another version, or be no weir at all.
    stream.take(RESPONSE).read_to_string(&mut response)?;
    let strange = || io::Error::other("the response is not weir's");
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(strange)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::process::control::*;

    #[test]
    fn control_name_is_of_the_absolute_path() {
        let folder = std::env::current_dir().expect("a folder");
        let names = ["weir.yaml", "./weir.yaml"].map(|file| name(Path::new(file)).expect("a name"));
        let absolute = name(&folder.join("weir.yaml")).expect("a name");
        assert!(names.iter().all(|name| name.as_abstract_name() == absolute.as_abstract_name()));
        let other = name(&folder.join("weir.yml")).expect("a name");
        assert_ne!(other.as_abstract_name(), absolute.as_abstract_name());
    }

    #[test]
    fn ask_waits_no_longer_than_its_limit_for_a_process_that_accepts_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, limit) = (folder.path().join("weir.yaml"), Duration::from_millis(50));
        let listener = bind(&file).expect("a socket");
        rustix::net::listen(&listener, 0).expect("a shorter queue");
        let waiting: Vec<_> =
            (0..8).map_while(|_| connect(&name(&file).expect("a name"), limit).ok()).collect();
        assert!(waiting.len() < 8, "the queue is full");
        assert!(matches!(ask(&file, "GET /", limit), Err(ControlError::Silent(_))));
    }

    #[test]
    fn control_socket_is_of_one_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("weir.yaml");
        let limit = Duration::from_secs(1);
        assert!(matches!(ask(&file, "GET /", limit), Err(ControlError::NoProcess)));
        let listener = bind(&file).expect("a socket");
        assert_eq!(
            bind(&file).map(|_| ()).map_err(|error| error.kind()),
            Err(io::ErrorKind::AddrInUse)
        );
        drop(listener);
        assert!(bind(&file).is_ok());
    }
}
