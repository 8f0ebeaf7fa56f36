//! `concurrency` as written: zones at the top of the file, rules on routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{condition::ConditionSpec, zone::ZoneKey};
use crate::limit::Missing;

/// Zone of concurrency: counts the requests in progress by a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencySpec {
    /// Key to count by, as in `zones` (nginx: first argument of `limit_conn_zone`).
    pub key: ZoneKey,
    /// Bits of an IPv4 address that make one client, 0 to 32.
    #[serde(default = "ConcurrencySpec::default_ipv4_prefix")]
    #[schemars(range(min = 0, max = 32))]
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make one client, 0 to 128.
    #[serde(default = "ConcurrencySpec::default_ipv6_prefix")]
    #[schemars(range(min = 0, max = 128))]
    pub ipv6_prefix: u8,
    /// Networks of clients that are not counted (nginx: `geo` and an empty key).
    #[serde(default)]
    #[schemars(extend("x-type" = "list of networks"))]
    pub exempt: Vec<String>,
    /// Treatment of requests that lack a part of the key, as in `zones`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
}

impl ConcurrencySpec {
    fn default_ipv4_prefix() -> u8 {
        32
    }

    fn default_ipv6_prefix() -> u8 {
        64
    }
}

/// Rule: a zone of concurrency applied on a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrentSpec {
    /// Name of the zone, at the top of the file under `concurrency`.
    pub zone: String,
    /// Requests of a key that may be in progress, counted over all routes that use the zone, 1 to
    /// 4294967295 (nginx: `limit_conn`).
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub max: u32,
    /// Requests of a key that may wait until one in progress ends, 0 to 10000; further ones are
    /// rejected. A waiting request counts within `queue.max` of the file.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub queue: u32,
    /// Longest wait; then the request is rejected.
    #[serde(default = "ConcurrentSpec::default_max_wait")]
    #[schemars(extend("x-type" = "time"))]
    pub max_wait: String,
    /// Status of these rejects, 400 to 599, if it is not that of the route; 444 closes the
    /// connection without a response (nginx: `limit_conn_status`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
    /// The rule is evaluated and logged, never enforced (nginx: `limit_conn_dry_run`).
    #[serde(default)]
    pub dry_run: bool,
    /// The rule applies only to requests for which this holds, as in `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<ConditionSpec>,
    /// The rule does not apply to requests for which this holds, as in `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<ConditionSpec>,
}

impl ConcurrentSpec {
    fn default_max_wait() -> String {
        "5s".to_owned()
    }
}
