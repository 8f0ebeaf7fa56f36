//! `auth healthcheck`: one request to the service on this machine; exit code 0 or 1.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::outcome::{Failure, tell};
use crate::settings::{Environment, SettingError, listen};

/// It responds within this or is not well.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask the service on this machine whether it is well
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// Only whether it responds at all
    #[arg(long)]
    live: bool,
}

impl Healthcheck {
    /// Asks.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        tell(self.ask())
    }

    fn ask(&self) -> Result<(), Failure> {
        let path = if self.live { "/health/live" } else { "/health/ready" };
        let address = address(&|name| env::var(name).ok().filter(|value| !value.is_empty()))?;
        let failed = |error| Failure::system(format!("`{address}{path}` does not respond"))(error);
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .map_err(failed)?;
        // `HTTP/1.1 200`: the status line is enough to judge by.
        let mut head = [0; 12];
        stream.read_exact(&mut head).map_err(failed)?;
        if head.ends_with(b" 200") { Ok(()) } else { Err(Failure::NotWell) }
    }
}

/// Returns the address of the service on this machine: everywhere means here.
fn address(environment: Environment<'_>) -> Result<SocketAddr, SettingError> {
    let mut address = listen(environment)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn healthcheck_takes_everywhere_for_here_and_refuses_nonsense() {
        let of = |listen: Option<&str>| {
            address(&|_| listen.map(str::to_owned)).map(|address| address.to_string()).ok()
        };
        assert_eq!(of(None).as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(of(Some("0.0.0.0:81")).as_deref(), Some("127.0.0.1:81"));
        assert_eq!(of(Some("192.0.2.1:81")).as_deref(), Some("192.0.2.1:81"));
        assert_eq!(of(Some("8000")), None);
    }
}
