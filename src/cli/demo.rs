//! `weir demo`: a sample upstream and the proxy in front of it, without any other service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    arguments::with_hint,
    outcome::{Outcome, print, report_error, usable},
    run::serve,
};
use crate::{
    config::{
        self, Problems,
        resolve::address::{self, AddressError},
    },
    demo::{self, Sample},
    downstream::listen_address::ListenAddress,
    process::App,
};

const CONFIG: &str = include_str!("../../config/demo.yaml");

/// Further addresses that the page sends from: a browser keeps at most six connections to one.
const MORE_ADDRESSES: u8 = 6;

/// Serve a sample upstream behind two limits, with a page that fires bursts.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Address to listen on, like :8080 or 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = with_hint(listen))]
    listen: Listen,
    /// Serve the sample upstream alone on this address, without a proxy; its /whoami shows the user
    /// that a proxy names
    #[arg(long, value_name = "ADDRESS", conflicts_with = "listen", value_parser = with_hint(listen))]
    sample: Option<Listen>,
}

/// Address to listen on, with its text: `:8080` is an address of each family.
#[derive(Clone, Debug)]
struct Listen {
    text: String,
    address: SocketAddr,
}

fn listen(text: &str) -> Result<Listen, AddressError> {
    address::listener(text).map(|address| Listen { text: text.to_owned(), address })
}

impl Demo {
    /// Serves until a signal stops it.
    #[must_use]
    pub fn run(self) -> Outcome {
        if let Some(sample) = self.sample {
            return serve_sample(sample.address);
        }
        let upstream = match demo::start() {
            Ok(upstream) => upstream,
            Err(error) => return report_error(&error, Outcome::Failed),
        };
        let sets = [
            // Applied as `--set` would be: everything else is config/demo.yaml as it stands.
            format!("listeners.0='{}'", self.listen.text),
            format!("upstreams.sample.endpoints.0=http://{upstream}"),
            "access_log.to=none".to_owned(),
            "log.level=warn".to_owned(),
        ];
        let config = match usable(config::parse("config/demo.yaml", CONFIG, &sets)) {
            Ok(loaded) => loaded.config,
            Err(outcome) => return outcome,
        };
        serve(config, &Problems::default(), None, |app| {
            let address = first_address(app).unwrap_or(self.listen.address);
            listen_beside(app, address);
            // A reader that has closed its pipe does not stop the demo.
            let _ = print(&greeting(reachable(address), &program()));
        })
    }
}

/// Serves the sample upstream alone until a signal stops it.
fn serve_sample(address: SocketAddr) -> Outcome {
    let served = Sample::bind(address).and_then(|sample| {
        let address = reachable(sample.address()?);
        // A reader that has closed its pipe does not stop it.
        let _ = print(&format!("the sample upstream serves on http://{address}\n"));
        sample.serve()
    });
    match served {
        Ok(()) => Outcome::Fine,
        Err(error) => report_error(&error, Outcome::Failed),
    }
}

fn first_address(app: &App) -> Option<SocketAddr> {
    app.addresses().ok()?.iter().find_map(ListenAddress::tcp)
}

/// Listens on 127.0.0.2 and following too, with the port of 127.0.0.1, if this machine has them and
/// they are free.
fn listen_beside(app: &mut App, first: SocketAddr) {
    // Only 127.0.0.1 has neighbours that belong to this machine alone.
    if first.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return;
    }
    for last in 2..2 + MORE_ADDRESSES {
        // Some systems have 127.0.0.1 only. The page then sends from fewer addresses.
        if let Err(error) =
            app.listen_beside_first(SocketAddr::from(([127, 0, 0, last], first.port())))
        {
            tracing::debug!(%error, "the demo page sends from fewer client addresses");
        }
    }
}

/// Address to type: of a listener on every address that of this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listener.port())
}

/// This program as the shell finds it: by name where the first argument is one, else by its path.
fn program() -> String {
    std::env::args().next().filter(|name| !name.is_empty()).unwrap_or_else(|| "weir".to_owned())
}

fn greeting(address: SocketAddr, program: &str) -> String {
    format!(
        "weir demo serves on http://{address}, with a sample upstream behind it. Ctrl-C stops it.

  /strict   1r/s, no burst      one request a second for each client, the next one gets 503
  /         10r/s, burst 20     faster requests wait their turn, those over the burst get 503

Try:
  curl -i http://{address}/strict http://{address}/strict
  curl -Z --no-progress-meter --parallel-immediate --parallel-max 30 -o /dev/null -w '%{{http_code}} after %{{time_total}} s\\n' 'http://{address}/[1-30]'
  {program} bench burst http://{address}/ --send '30 at once' --rate 10r/s --burst 20 --settle

Or see it: http://{address}/demo
"
    )
}
