//! `weir healthcheck`: is the proxy of this configuration serving? For images without a shell.
//!
//! Asks `OPTIONS *` of the first listener in the open: a request about the server itself (RFC 9110, section 9.3.7) that goes the whole way
//! from accept to answer, spends no limit and reaches no upstream.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::{Outcome, Which, complain, fail};
use crate::config;

/// How long connecting, asking and answering may take each.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ask the running proxy whether it serves.
#[derive(Clone, Debug, clap::Args)]
pub struct Healthcheck {
    #[command(flatten)]
    which: Which,
}

impl Healthcheck {
    /// Asks; exits 0 when it serves and 1 when not.
    #[must_use]
    pub fn run(self) -> Outcome {
        let loaded = match config::load(&self.which.path(), &self.which.sets) {
            Ok(loaded) => loaded,
            Err(problems) => {
                complain(&problems);
                return Outcome::Invalid;
            }
        };
        let open = loaded.config.listeners.iter().find(|listener| listener.tls.is_none());
        let Some(listener) = open.map(|listener| reachable(listener.address)) else {
            let message = "every listener speaks TLS, hint: add one in the open for it, like `127.0.0.1:8081`";
            return fail(&io::Error::other(message), Outcome::Failed);
        };
        match ask(listener) {
            Ok(()) => Outcome::Fine,
            Err(cause) => fail(&io::Error::other(format!("`{listener}` does not serve: {cause}")), Outcome::Failed),
        }
    }
}

/// Where a listener on every address is reached from this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn ask(listener: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&listener, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "OPTIONS * HTTP/1.1\r\nhost: {listener}\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head == *b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!("it answered `{}`", String::from_utf8_lossy(&head))))
}
