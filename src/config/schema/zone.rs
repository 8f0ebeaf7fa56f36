//! `zones` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// What is counted, and how fast it may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// What to count by: client_ip, header:NAME, cookie:NAME, query:NAME, host, path, method,
    /// route, global, or a list.
    pub key: ZoneKey,
    /// Requests per time, like `10r/s`, `2r/m` or `10r/5s`.
    pub rate: String,
    /// How many keys are kept, like `1M`.
    #[serde(default = "Zone::default_capacity")]
    pub capacity: Amount,
    /// How many bits of an IPv4 address make one client.
    #[serde(default = "Zone::default_ipv4_prefix")]
    #[schemars(range(min = 0, max = 32))]
    pub ipv4_prefix: u8,
    /// How many bits of an IPv6 address make one client.
    #[serde(default = "Zone::default_ipv6_prefix")]
    #[schemars(range(min = 0, max = 128))]
    pub ipv6_prefix: u8,
    /// Networks that are not counted.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// What to do with a request that lacks a part of the key: of a list `empty` unless told, of
    /// one part `exempt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingPart>,
}

impl Zone {
    fn default_capacity() -> Amount {
        Amount("1M".to_owned())
    }

    fn default_ipv4_prefix() -> u8 {
        32
    }

    fn default_ipv6_prefix() -> u8 {
        64
    }
}

/// One part of a request, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ZoneKey {
    /// One part.
    Part(String),
    /// Each combination counts for itself.
    Parts(Vec<String>),
}

/// What a missing part of a key means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingPart {
    /// Such requests are not counted.
    Exempt,
    /// It counts as empty; only requests that lack all parts are not counted.
    Empty,
    /// They share one bucket.
    Share,
    /// They are rejected.
    Reject,
}
