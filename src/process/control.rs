//! Control socket of a process. With its configuration file alone, a command on the same machine
//! finds the process that serves it and asks it. The file may be invalid by then, and the listeners
//! may be full or speak another protocol.
//!
//! It is an abstract unix socket, named by a digest of the absolute path of the file: nothing of it
//! stays on disk, and it ends with its process. It speaks the protocol of the admin listener.
//!
//! Guarantee: a process obeys only its own user and root, and a command believes only processes of
//! its own user, or any if it is run by root (`SO_PEERCRED`). Any process of the machine may use the
//! name.

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

/// User id of root.
const ROOT: u32 = 0;

/// Returns true if the peer is a command of this user, or of root, who may stop this process anyway.
/// It has to be visible from here: one in another container has process id 0.
///
/// # Errors
/// When the kernel does not tell.
pub fn may_command(end: &tokio::net::UnixStream) -> io::Result<bool> {
    let peer = end.peer_cred()?;
    // The kernel reports these credentials, so the peer cannot choose them.
    Ok(is_allowed(peer.uid(), geteuid().as_raw()) && peer.pid() != Some(0))
}

/// Returns true if a command of `user` may be obeyed by a process of `owner`.
fn is_allowed(user: u32, owner: u32) -> bool {
    user == owner || user == ROOT
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
    let mut stream = believed(stream)?.ok_or(ControlError::Foreign)?;
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

/// Returns the connection if this command [`is_allowed`] to command the process, which would refuse
/// it otherwise; only tokio's streams give the peer credentials.
fn believed(stream: UnixStream) -> io::Result<Option<UnixStream>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let peer = stream.peer_cred()?;
    let is_believed = is_allowed(geteuid().as_raw(), peer.uid()) && peer.pid() != Some(0);
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(is_believed.then_some(stream))
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
    // The text is shown in a terminal, and root may have asked a process of any user.
    Ok((status, body.replace(|letter: char| letter.is_control() && letter != '\n', " ")))
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
    fn control_socket_is_for_its_user_and_root() {
        assert!(is_allowed(1_000, 1_000) && is_allowed(ROOT, 1_000) && is_allowed(ROOT, ROOT));
        assert!(!is_allowed(1_001, 1_000) && !is_allowed(1_000, ROOT));
    }

    #[test]
    fn control_response_shows_no_control_characters() {
        let text = b"HTTP/1.1 200 OK\r\n\r\na\x1b[2Jb\n";
        assert_eq!(response(&text[..]).ok(), Some((200, "a [2Jb\n".to_owned())));
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
