//! `weir healthcheck`: is the proxy of this configuration serving? For images without a shell.
//!
//! Asks the operator's listener, which knows whether the process is about to stop; where there is none, the first listener in the open
//! `OPTIONS *`: a request about the server itself (RFC 9110, section 9.3.7) that goes the whole way from accept to answer. Either spends no
//! limit and reaches no upstream.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::{Outcome, Which, complain, fail};
use crate::config::{self, Config};

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
        let Some((listener, question)) = whom_to_ask(&loaded.config) else {
            let message = "every listener speaks TLS, hint: set `admin.address`, like `127.0.0.1:9900`";
            return fail(&io::Error::other(message), Outcome::Failed);
        };
        match ask(listener, question) {
            Ok(()) => Outcome::Fine,
            Err(cause) => fail(&io::Error::other(format!("`{listener}` does not serve: {cause}")), Outcome::Failed),
        }
    }
}

/// Who knows, and how that is asked.
fn whom_to_ask(config: &Config) -> Option<(SocketAddr, &'static str)> {
    let open = || config.listeners.iter().find(|listener| listener.tls.is_none());
    match config.admin {
        Some(admin) => Some((admin, "GET /health/ready")),
        None => open().map(|listener| (reachable(listener.address), "OPTIONS *")),
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

fn ask(listener: SocketAddr, question: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&listener, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{question} HTTP/1.1\r\nhost: {listener}\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head == *b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!("it answered `{}`", String::from_utf8_lossy(&head))))
}
