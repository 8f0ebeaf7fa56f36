//! `upstreams` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `http://host:port` or `host:port`, taken in turn.
    pub endpoints: Vec<String>,
    /// How long a request waits when no server takes a connection, as while a container is replaced; `0s` for not at all.
    #[serde(default = "no_hold")]
    pub hold: String,
    /// Trying again.
    #[serde(default)]
    pub retries: Retries,
    /// How long the servers may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections.
    #[serde(default)]
    pub keepalive: Keepalive,
}

/// Trying again what is safe to try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// How often a request is tried at most, the first try included (nginx: proxy_next_upstream_tries).
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
}

/// How long an upstream's servers may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// To open a connection (nginx: proxy_connect_timeout).
    pub connect: String,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: String,
    /// Between two pieces of the answer (nginx: proxy_read_timeout).
    pub idle: String,
}

/// Idle connections to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// How many each worker keeps (nginx: keepalive).
    #[schemars(range(min = 0, max = 65536))]
    pub max_idle: u32,
    /// How long one is kept (nginx: keepalive_timeout in upstream); shorter than the server keeps it.
    pub idle: String,
}

fn no_hold() -> String {
    "0s".to_owned()
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2 }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: "2s".to_owned(), first_byte: "30s".to_owned(), idle: "60s".to_owned() }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { max_idle: 64, idle: "1500ms".to_owned() }
    }
}
