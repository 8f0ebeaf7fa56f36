//! `auth healthcheck`: one request to the service on this machine; exit code 0 or 1.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::outcome::{Failure, tell};

/// It answers within this or is not well.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask the service on this machine whether it is well
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// Only whether it answers at all
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
        let address = address(env::var("LISTEN").ok().as_deref());
        let failed = |error| Failure::system(format!("`{address}{path}` does not answer"))(error);
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").map_err(failed)?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).map_err(failed)?;
        if head.ends_with(b" 200") { Ok(()) } else { Err(Failure::NotWell) }
    }
}

/// Where to ask a service that listens on `listen`: everywhere means here.
fn address(listen: Option<&str>) -> SocketAddr {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    let mut address = listen.and_then(|text| text.parse().ok()).unwrap_or(here);
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn everywhere_means_here() {
        assert_eq!(address(None).to_string(), "127.0.0.1:8000");
        assert_eq!(address(Some("0.0.0.0:81")).to_string(), "127.0.0.1:81");
        assert_eq!(address(Some("192.0.2.1:81")).to_string(), "192.0.2.1:81");
    }
}
