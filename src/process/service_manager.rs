//! States of the process for the service manager that started it (`sd_notify`, systemd's
//! `Type=notify` and `Type=notify-reload`): one datagram each to the socket of `NOTIFY_SOCKET`.
//!
//! Guarantee: nothing waits for the service manager. A message that it does not take is reported
//! and lost (`tests/serve/service_manager.rs`).

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};

/// Variable with the address of the socket: a path, or a name behind `@`.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Service manager; without one nothing is sent.
#[derive(Debug, Default)]
pub struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// The one that the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match connected(&name) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                tracing::warn!(%error, "cannot open the socket of `NOTIFY_SOCKET`; the service \
                    manager gets no messages");
                Self::default()
            }
        }
    }

    /// The process serves, for the first time or again after a reload.
    pub fn is_ready(&self) {
        self.send("READY=1");
    }

    /// A reload has begun; [`Self::is_ready`] ends it.
    pub fn is_reloading(&self) {
        // By the time, the manager knows which of its requests this is for.
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The process ends.
    pub fn is_stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Another process serves from now on.
    pub fn is_followed_by(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\nREADY=1"));
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            let state = message.lines().next();
            tracing::warn!(%error, state, "cannot tell the service manager; continuing");
        }
    }
}

fn connected(name: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    // The control loop must not wait for another process.
    socket.set_nonblocking(true)?;
    Ok(socket)
}
