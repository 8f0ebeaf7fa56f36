//! `weir healthcheck`: asks whether the proxy of this configuration serves, for images without a
//! shell.
//!
//! It asks the process at its control socket, whatever the file says by now. If there is none, the
//! file names the address to ask: the operator's listener, or the first listener with `OPTIONS *`,
//! a request about the server itself (RFC 9110, section 9.3.7) that passes everything from accept
//! to response. It is charged to no limit and reaches no upstream.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    arguments::ConfigArgs,
    outcome::{Outcome, report_error, report_hinted, usable},
};
use crate::{
    config::{self, Config},
    downstream::settings::ListenerSettings,
    process::control::{self, ControlError},
    runtime::hint::hinted,
};

/// Time-out for connecting, asking and the response, each.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Ask the running proxy whether it serves.
#[derive(Clone, Debug, clap::Args)]
pub struct Healthcheck {
    #[command(flatten)]
    which: ConfigArgs,
}

impl Healthcheck {
    /// Asks; exits 0 when it serves and 1 when not.
    #[must_use]
    pub fn run(self) -> Outcome {
        let failed = |why: &str| {
            let file = self.which.path();
            report_error(
                &io::Error::other(format!("`{}` is not served: {why}", file.display())),
                Outcome::Failed,
            )
        };
        match control::ask(&self.which.path(), "GET /health/ready", CHECK_TIMEOUT) {
            Ok((200, _)) => Outcome::Fine,
            Ok((_, text)) => failed(text.trim_end()),
            // A process of another user refuses this one at its socket, but its listeners are open.
            Err(ControlError::NoProcess | ControlError::Foreign) => self.ask_listener(),
            // A process that is there and silent is what a health check must report.
            Err(error @ ControlError::Silent(_)) => failed(&error.to_string()),
        }
    }

    /// Asks a listener of the file.
    fn ask_listener(&self) -> Outcome {
        let loaded = match usable(config::load(&self.which.path(), &self.which.sets)) {
            Ok(loaded) => loaded,
            Err(outcome) => return outcome,
        };
        let Some((listener, question)) = probe_target(&loaded.config) else {
            let message = format!(
                "no running weir that serves `{}` accepts this command, and no listener takes plain \
                requests over TCP",
                self.which.path().display()
            );
            let hint = "set `admin.address`, like `127.0.0.1:9900`";
            return report_hinted(&hinted(message, hint), Outcome::Failed);
        };
        match ask(listener, question) {
            Ok(()) => Outcome::Fine,
            Err(cause) => report_error(
                &io::Error::other(format!("`{listener}` is not healthy: {cause}")),
                Outcome::Failed,
            ),
        }
    }
}

/// Address to ask, and the request to send.
fn probe_target(config: &Config) -> Option<(SocketAddr, &'static str)> {
    let open = || {
        // This probe speaks neither TLS nor the PROXY protocol.
        let plain =
            |listener: &&ListenerSettings| listener.tls.is_none() && !listener.proxy_protocol;
        config.listeners.iter().filter(plain).find_map(|listener| listener.address.tcp())
    };
    // The admin listener knows about a drain, in which a listener may still accept.
    match config.admin {
        Some(admin) => Some((admin, "GET /health/ready")),
        None => open().map(|address| (reachable(address), "OPTIONS *")),
    }
}

/// Address at which a listener on every address is reached from this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        // An unspecified address is for listening, not for connecting.
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn ask(listener: SocketAddr, question: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&listener, CHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(CHECK_TIMEOUT))?;
    stream.set_write_timeout(Some(CHECK_TIMEOUT))?;
    write!(stream, "{question} HTTP/1.1\r\nhost: {listener}\r\nconnection: close\r\n\r\n")?;
    // The status line is enough: `HTTP/1.1 200`.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head == *b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!("unexpected response `{}`", String::from_utf8_lossy(&head))))
}
