//! What clients are granted, and what is remembered of them, as written: `queue`, `timeouts`,
//! `header_limits` and `state`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// The requests that wait for their turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// How many may wait over all zones, like `10k`; beyond it requests are rejected.
    pub max: Amount,
}

/// How long clients may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a whole request head (nginx: client_header_timeout).
    pub header: String,
    /// Between two pieces of a request body (nginx: client_body_timeout).
    pub body: String,
    /// Between two requests (nginx: keepalive_timeout).
    pub keepalive: String,
    /// Between two pieces of an answer it takes (nginx: send_timeout).
    pub write: String,
    /// For all requests of a connection; the answer under way is still given (nginx:
    /// keepalive_time).
    pub connection: String,
}

/// How large a request head may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderLimits {
    /// Bytes of the whole head, like `32KiB` (nginx: large_client_header_buffers).
    pub size: Amount,
    /// Number of field lines.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
}

/// What the zones remember across a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Where debts are kept; without it they end with the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How often it is written, like `30s`; it is also written at a stop.
    pub interval: String,
}

impl Default for State {
    fn default() -> Self {
        Self { file: None, interval: "30s".to_owned() }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { max: Amount("10k".to_owned()) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let [header, body, keepalive, write, connection] =
            ["10s", "30s", "75s", "30s", "1h"].map(str::to_owned);
        Self { header, body, keepalive, write, connection }
    }
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self { size: Amount("32KiB".to_owned()), count: 100 }
    }
}
