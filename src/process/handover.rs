//! Hand-over to a new binary: it takes the listening sockets and the debts of the zones, and this
//! process ends when its last request is done. The two talk over a pair of sockets. One end is the
//! standard input of the new process, by which it recognises the hand-over:
//!
//! ```text
//! old                                new
//! "listen ADDRESS" + socket, ...     takes what its configuration names
//! "control" + socket                 takes the control socket
//! "all"                              has opened everything it needs
//!                                    "ready"
//! stops accepting
//! "state" + file                     remembers, serves
//! ```
//!
//! The order of the steps decides what a failure costs. Up to "ready" the old process serves as
//! before, so a new process that fails or hangs changes nothing. The old process stops accepting
//! *before* it takes the debts, because a request charged after that would be missing in the new
//! zones. Between these two steps no process accepts: new connections wait in the backlog of the
//! sockets, which both processes hold, so none of them is refused. Requests that the old process
//! still has are charged to its own copy of the zones, so both together may let `2 * (burst + 1)`
//! requests of a key through in that time.
//!
//! Guarantees: no socket is closed in between, so a connection that arrives then waits and is
//! served. A new process that does not reach "ready" changes nothing. `tests/serve/handover.rs`
//! holds them.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::UnixListener,
        },
    },
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg,
        shutdown, socketpair,
        sockopt::{Timeout, set_socket_timeout, socket_type},
    },
};

use tokio::task::JoinHandle;

use super::{
    inherited_sockets::InheritedSockets,
    start_error::HandoverError,
    state::{SavedState, StateError},
    worker::shared::Listening,
};
use crate::downstream::{listen_address::ListenAddress, listen_socket::ListenSocket};

/// Time-out of either side for the other.
const SIDE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest message: a word and an address, with a path of at most 107 bytes (`unix(7)`) or a name
/// of at most 255 (`sd_listen_fds(3)`).
const MESSAGE: usize = 512;

/// New process that is ready to take over.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    child: Child,
}

/// Sockets that this process was given when it was started.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    sockets: Vec<(ListenAddress, ListenSocket)>,
    control: Option<UnixListener>,
}

/// Sockets for a new process.
#[derive(Debug)]
pub struct HandedOver {
    /// The listening sockets.
    pub sockets: Vec<Listening>,
    /// Sockets that the service manager opened, also those without a listener.
    pub inherited: Arc<InheritedSockets>,
    /// Control socket.
    pub control: Option<UnixListener>,
}

/// New process that is being started, by a thread of its own.
#[derive(Debug)]
pub struct Starting {
    /// Outcome of the start.
    outcome: JoinHandle<Result<Successor, HandoverError>>,
    /// Duplicate of this side of the channel.
    channel: OwnedFd,
}

/// Starts the program that is on disk now with these sockets, and waits until it is ready. Must be
/// called on a runtime.
///
/// # Errors
/// When the channel fails.
pub fn start(handed: HandedOver) -> Result<Starting, HandoverError> {
    let pair = || -> io::Result<_> {
        // Packets, because a descriptor must arrive with the words that name it. By this type the
        // new process recognises its standard input.
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((ours.try_clone()?, ours, theirs))
    };
    // Opened before the thread, so that `give_up` has its duplicate whatever the thread does.
    let (channel, ours, theirs) = pair().map_err(HandoverError::Start)?;
    let outcome = tokio::task::spawn_blocking(move || launch(ours, theirs, &handed));
    Ok(Starting { outcome, channel })
}

fn launch(ours: OwnedFd, theirs: OwnedFd, handed: &HandedOver) -> Result<Successor, HandoverError> {
    let start = || -> io::Result<Successor> {
        let mut command = Command::new(program()?);
        // The same arguments, so the new process serves the same configuration file.
        command.args(env::args_os().skip(1)).stdin(theirs);
        // Our duplicate of the other end is dropped with `command`. If it stayed open, the channel
        // would not end with the new process.
        Ok(Successor { channel: Channel::new(ours)?, child: command.spawn()? })
    };
    let mut successor = start().map_err(HandoverError::Start)?;
    match successor.offer(handed) {
        Ok(()) => Ok(successor),
        Err(error) => {
            // Not ready means that it must not stay: it holds duplicates of the sockets, in which
            // connections would wait.
            successor.end();
            Err(HandoverError::NotReady(error))
        }
    }
}

impl Starting {
    /// Returns a process that is ready within 30 s, or the reason why there is none; one that was
    /// not ready is killed then.
    pub async fn outcome(&mut self) -> Result<Successor, HandoverError> {
        (&mut self.outcome)
            .await
            .unwrap_or_else(|error| Err(HandoverError::Start(io::Error::other(error))))
    }

    /// Cancels the start: the new process is killed, at the latest when `limit` has passed.
    pub async fn give_up(mut self, limit: Duration) {
        // The thread is blocked in a read of its own descriptor, which this duplicate can end. It
        // fails if the new process has closed its side: then the thread has stopped waiting
        // already.
        let _ = shutdown(&self.channel, Shutdown::Both);
        match tokio::time::timeout(limit, self.outcome()).await {
            // It became ready meanwhile. Without the debts it cannot serve, so it is ended too.
            Ok(Ok(mut ready)) => ready.end(),
            Ok(Err(_)) => {}
            Err(_) => tracing::error!("cannot end the new process; it may still be waiting"),
        }
    }
}

impl Successor {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn offer(&self, HandedOver { sockets, inherited, control }: &HandedOver) -> io::Result<()> {
        // Sockets first, `all` last: the new process opens what is missing only after the
        // whole list.
        for Listening { address, socket } in sockets {
            // Inherited ones follow, whether a listener uses them or not.
            if address.inherited().is_none() {
                self.channel.send(&format!("listen {address}"), Some(socket))?;
            }
        }
        for (name, socket) in inherited.all() {
            let address = ListenAddress::Inherited(Arc::clone(name));
            self.channel.send(&format!("listen {address}"), Some(socket))?;
        }
        if let Some(control) = control {
            self.channel.send("control", Some(control))?;
        }
        self.channel.send("all", None::<&File>)?;
        match self.channel.receive()? {
            (word, None) if word == "ready" => Ok(()),
            // The end of a packet socket: the process has closed its side, as by exiting.
            (word, _) if word.is_empty() => Err(io::Error::other("it exited; see its log")),
            (word, _) => Err(io::Error::other(format!("unexpected message `{word}`"))),
        }
    }

    /// Sends the debts of the zones: from now on the new process serves.
    ///
    /// # Errors
    /// When it is gone.
    pub fn remember(&self, state: &SavedState) -> io::Result<()> {
        // A file in memory, because debts do not fit into one packet.
        let mut file = File::from(memfd_create("weir-state", MemfdFlags::CLOEXEC)?);
        file.write_all(&state.encode())?;
        // The descriptor that is sent shares its position, so the reader begins where this
        // one stands.
        file.rewind()?;
        self.channel.send("state", Some(&file))
    }

    fn end(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::error!(%error, "cannot end the new process that did not become ready");
        }
    }
}

impl Predecessor {
    /// Returns the hand-over to this process, if it was started for one.
    ///
    /// # Errors
    /// When the channel to the old process fails.
    pub fn find() -> Result<Option<Self>, HandoverError> {
        // No other parent gives a process such a standard input, and the environment stays clean.
        if !socket_type(io::stdin()).is_ok_and(|kind| kind == SocketType::SEQPACKET) {
            return Ok(None);
        }
        let find = || -> io::Result<Self> {
            let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?)?;
            // Otherwise standard input would keep the channel open beyond `Channel`, and the old
            // process would not notice its end.
            rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
            let (mut sockets, mut control) = (Vec::new(), None);
            loop {
                let (words, attached) = channel.receive()?;
                match (words.split_once(' '), attached) {
                    (Some(("listen", address)), Some(socket)) => {
                        let address = address.parse().map_err(io::Error::other)?;
                        sockets.push((address, ListenSocket::of(socket)?));
                    }
                    (None, Some(socket)) if words == "control" => control = Some(socket.into()),
                    (None, None) if words == "all" => {
                        return Ok(Self { channel, sockets, control });
                    }
                    _ => {
                        return Err(io::Error::other(format!(
                            "unexpected message from the old \
                        process: `{words}`"
                        )));
                    }
                }
            }
        };
        find().map(Some).map_err(HandoverError::Start)
    }

    /// Takes the sockets of an address, one per worker of the old process.
    pub fn take(&mut self, address: &ListenAddress) -> Vec<ListenSocket> {
        let (taken, left) =
            std::mem::take(&mut self.sockets).into_iter().partition(|(known, _)| known == address);
        self.sockets = left;
        let taken: Vec<(ListenAddress, ListenSocket)> = taken;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Takes the sockets that the service manager opened for the first process.
    pub fn take_inherited(&mut self) -> InheritedSockets {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for (address, socket) in std::mem::take(&mut self.sockets) {
            match address {
                ListenAddress::Inherited(name) => taken.push((name, socket)),
                address => left.push((address, socket)),
            }
        }
        self.sockets = left;
        InheritedSockets::handed(taken)
    }

    /// Takes the control socket.
    pub fn take_control(&mut self) -> Option<UnixListener> {
        self.control.take()
    }

    /// Reports that everything is ready, and waits for the debts of the zones.
    ///
    /// # Errors
    /// When the old process is gone: then no process serves.
    pub fn state(self) -> Result<SavedState, HandoverError> {
        let receive = || -> Result<SavedState, StateError> {
            // Up to here a failure of this process changes nothing: the old one still serves.
            self.channel.send("ready", None::<&File>)?;
            let (word, attached) = self.channel.receive()?;
            let Some(file) = attached.filter(|_| word == "state") else {
                return Err(io::Error::other(format!(
                    "unexpected message from the old process: \
                    `{word}`"
                ))
                .into());
            };
            let mut bytes = Vec::new();
            File::from(file).read_to_end(&mut bytes)?;
            SavedState::decode(&bytes)
        };
        receive().map_err(HandoverError::State)
    }
}

/// Path of the program, also when the file was replaced since.
fn program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let bytes = path.as_os_str().as_bytes();
    Ok(bytes
        // The kernel adds this when the file was replaced, which is the usual case of a hand-over.
        .strip_suffix(b" (deleted)")
        .map_or(path.clone(), |bytes| OsString::from_vec(bytes.to_vec()).into()))
}

/// Channel of whole messages, each with at most one descriptor.
#[derive(Debug)]
struct Channel(OwnedFd);

impl Channel {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        // Without a time-out a process that hangs would hold up the other for ever.
        set_socket_timeout(&socket, Timeout::Recv, Some(SIDE_TIMEOUT))?;
        set_socket_timeout(&socket, Timeout::Send, Some(SIDE_TIMEOUT))?;
        Ok(Self(socket))
    }

    fn send(&self, words: &str, attached: Option<&impl AsFd>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let attached = attached.map(|attached| [attached.as_fd()]);
        if let Some(attached) = &attached
            && !control.push(SendAncillaryMessage::ScmRights(attached))
        {
            return Err(io::Error::other("no room for a descriptor"));
        }
        // A process that is gone must be an error here, not a signal that ends this one.
        sendmsg(&self.0, &[IoSlice::new(words.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives the next message; an empty one when the other side is gone.
    fn receive(&self) -> io::Result<(String, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; MESSAGE];
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            // Children that are started later must not inherit listening sockets.
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let attached = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), attached))
    }
}

#[cfg(test)]
mod tests {
    use crate::process::handover::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a pair");
        (Channel::new(one).expect("a channel"), Channel::new(other).expect("a channel"))
    }

    #[test]
    fn handover_socket_crosses_and_still_listens() {
        let (one, other) = pair();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        one.send("listen 127.0.0.1:0", Some(&socket)).expect("a channel");
        drop(socket);
        let (words, attached) = other.receive().expect("a message");
        assert_eq!(words, "listen 127.0.0.1:0");
        let socket = std::net::TcpListener::from(attached.expect("a socket"));
        let client = std::net::TcpStream::connect(address).expect("somebody listens");
        let (_, peer) = socket.accept().expect("a connection");
        assert_eq!(peer, client.local_addr().expect("an address"));
    }

    #[test]
    fn gone_client_is_reported_once() {
        let (one, other) = pair();
        drop(one);
        let (words, attached) = other.receive().expect("an end");
        assert!(words.is_empty() && attached.is_none());
    }
}
