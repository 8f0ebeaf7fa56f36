//! `queue`, `timeouts`, `header_limits` and `state` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// Requests that wait for their slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// Requests that may wait over all zones, 0 to 10M; further ones are rejected. Half is
    /// split evenly over the zones and reserved for them, the other half is first come, first
    /// served.
    #[schemars(extend("x-type" = "count"))]
    pub max: Amount,
}

/// Time-outs for clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Time for a whole request head (nginx: `client_header_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub header: String,
    /// Time between two pieces of a request body (nginx: `client_body_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub body: String,
    /// Time between two requests (nginx: `keepalive_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub keepalive: String,
    /// Time between two pieces of a response that the client takes (nginx: `send_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub write: String,
    /// Time for all requests of a connection; the response in progress is still sent (nginx:
    /// `keepalive_time`).
    #[schemars(extend("x-type" = "time"))]
    pub connection: String,
}

/// Limits on a request head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderLimitsSpec {
    /// Bytes of the whole head, 1KiB to 1MiB (nginx: `large_client_header_buffers`).
    #[schemars(extend("x-type" = "size"))]
    pub size: Amount,
    /// Field lines, 1 to 1000; all cookies of an HTTP/2 request are one.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
}

/// State that survives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateSpec {
    /// File for the debts of the zones, so that a limited client is still limited after a
    /// restart; readable by its owner only. Without it debts end with the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub file: Option<String>,
    /// Interval at which the file is written; it is also written at the end of a stop.
    #[schemars(extend("x-type" = "time"))]
    pub interval: String,
}

impl Default for StateSpec {
    fn default() -> Self {
        Self { file: None, interval: "30s".to_owned() }
    }
}

impl Default for QueueSpec {
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

impl Default for HeaderLimitsSpec {
    fn default() -> Self {
        Self { size: Amount("32KiB".to_owned()), count: 100 }
    }
}
