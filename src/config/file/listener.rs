//! `listeners` and `client_ip` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Listener {
    /// `host:port`.
    Short(String),
    /// With settings.
    Long(LongListener),
}

/// An address to listen on, with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongListener {
    /// `host:port`; `:8080` is every IPv4 address.
    pub address: String,
}

/// Who is believed about the client's address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientIp {
    /// Networks of proxies whose header is believed (nginx: set_real_ip_from). Empty: nobody.
    pub trusted_proxies: Vec<String>,
    /// The header they write (nginx: real_ip_header).
    pub header: ForwardingHeader,
}

/// A header that carries client addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// A list of addresses.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// The operator's listener: health, and orders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens, like `127.0.0.1:9900`: an address of this machine only. Without it there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
