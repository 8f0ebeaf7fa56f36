//! `zones` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use crate::limit::{Missing, Part};

/// Zone: counts requests by a key at a rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneSpec {
    /// Key to count by, a part of the request or several.
    #[schemars(description = ZoneSpec::described_key())]
    pub key: ZoneKey,
    /// Requests per time that a key may make, like `10r/s`, `2r/m` or `10r/5s` (nginx:
    /// `rate=`).
    #[schemars(extend("x-type" = "rate"))]
    pub rate: String,
    /// Number of keys that are kept, 1 to 100M, about 32 bytes each. A full zone evicts the key
    /// that owes least. It is a number of keys and not of bytes: `10m` of nginx is `160k` here
    /// (nginx: size in `zone=`).
    #[serde(default = "ZoneSpec::default_capacity")]
    #[schemars(extend("x-type" = "count"))]
    pub capacity: Amount,
    /// Bits of an IPv4 address that make one client, 0 to 32.
    #[serde(default = "ZoneSpec::default_ipv4_prefix")]
    #[schemars(range(min = 0, max = 32))]
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make one client, 0 to 128.
    #[serde(default = "ZoneSpec::default_ipv6_prefix")]
    #[schemars(range(min = 0, max = 128))]
    pub ipv6_prefix: u8,
    /// Networks of clients that are not counted: never delayed and never rejected (nginx: `geo`
    /// and an empty key).
    #[serde(default)]
    #[schemars(extend("x-type" = "list of networks"))]
    pub exempt: Vec<String>,
    /// Treatment of requests that lack a part of the key. `exempt` does not count them and is
    /// the default of a single part. `empty` counts the part as empty, does not count requests
    /// that lack all parts, and is the default of a list. `share` puts them all into one
    /// bucket, and `reject` rejects them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
}

impl ZoneSpec {
    /// Documentation of `key`, with every part that can be written.
    fn described_key() -> String {
        let parts: Vec<String> = Part::FORMS.iter().map(|form| format!("`{form}`")).collect();
        let (last, others) =
            parts.split_last().map_or(("", &[][..]), |(last, others)| (last, others));
        format!(
            "Key to count by: {} or {last}. Each combination of a list counts for itself (nginx: \
            first argument of `limit_req_zone`).",
            others.join(", ")
        )
    }

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
    /// Several parts: each combination counts for itself.
    Parts(Vec<String>),
}
