//! `weir proxy`: one listener, one upstream, one limit, no file.

use std::fmt::Write;

use super::{outcome::Outcome, run::serve_loaded};
use crate::config;

/// Serve one upstream without a configuration file.
#[derive(Clone, Debug, clap::Args)]
pub struct ProxyCommand {
    /// Address to listen on, like :8080 or 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// URL to forward to, like <http://auth:8000>
    #[arg(long, value_name = "URL")]
    to: String,
    /// Requests each client may make, like 10r/s
    #[arg(long)]
    rate: Option<String>,
    /// Requests by which a client may be ahead of its rate
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rate")]
    burst: u32,
    /// Requests of the burst that are not held back
    #[arg(long, value_name = "N", requires = "rate")]
    delay: Option<u32>,
    /// Forward the whole burst without delay
    #[arg(long, requires = "rate", conflicts_with = "delay")]
    nodelay: bool,
}

impl ProxyCommand {
    /// Serves; exits 3 when the arguments do not form a valid configuration.
    #[must_use]
    pub fn run(self) -> Outcome {
        serve_loaded(config::parse("the command line", &self.as_file(), &[]), None)
    }

    /// Renders the equivalent configuration file.
    fn as_file(&self) -> String {
        // A JSON string is YAML too: an argument cannot leave its place in the file.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut file = format!("listeners: [ {} ]\n", quoted(&self.from));
        let mut limits = String::new();
        if let Some(rate) = &self.rate {
            // Writing to a string cannot fail.
            let _ = writeln!(
                file,
                "zones: {{ per_client: {{ key: client_ip, rate: {} }} }}",
                quoted(rate)
            );
            let _ = write!(limits, "{{ zone: per_client, burst: {}", self.burst);
            if let Some(delay) = self.delay {
                let _ = write!(limits, ", delay: {delay}");
            }
            limits.push_str(if self.nodelay { ", nodelay: true }" } else { " }" });
        }
        let _ = writeln!(
            file,
            "routes: [ {{ path: /, upstream: {}, limits: [ {limits} ] }} ]",
            quoted(&self.to)
        );
        file
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cli::proxy::*,
        limit::{Millis, RuleSettings},
    };

    #[test]
    fn proxy_command_arguments_form_configuration() {
        let proxy = ProxyCommand {
            from: ":8080".into(),
            to: "http://auth:8000".into(),
            rate: Some("10r/s".into()),
            burst: 20,
            delay: Some(8),
            nodelay: false,
        };
        let config = config::parse("test", &proxy.as_file(), &[]).expect("a configuration").config;
        let max_wait = Some(Millis(30_000));
        assert_eq!(
            config.routes[0].limits[0].settings,
            RuleSettings { max_wait, ..RuleSettings::burst(20).delay(8) }
        );
        assert_eq!(config.listeners[0].address.tcp().map(|address| address.port()), Some(8080));
        assert_eq!(config.upstreams[0].endpoints[0].to_string(), "auth:8000");
    }
}
