//! `listeners` and `client_ip` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

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
    /// `host:port`; `:8080` is every address, `0.0.0.0:8080` every IPv4 and `[::]:8080` every IPv6
    /// one (nginx: listen).
    pub address: String,
    /// TLS, and with it HTTP/2 by ALPN (nginx: listen ... ssl).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Answer every request with 308 to the same place over `https`, or `https:8443` where its port
    /// is not 443 (nginx: return 308).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// Connections begin with a PROXY header, version 1 or 2, and come from
    /// `client_ip.trusted_proxies` (nginx: listen ... proxy_protocol).
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Connections that may be open, or `auto`: half of the files the process may open less 100,
    /// divided among the listeners with `auto`, at most 10k each.
    #[serde(default = "auto")]
    pub max_connections: Amount,
    /// Of these, connections of one client; trusted proxies have no such limit (nginx: limit_conn).
    #[serde(default = "per_client")]
    pub max_connections_per_client: Amount,
    /// Requests on one connection (nginx: keepalive_requests).
    #[serde(default = "per_connection")]
    pub max_requests: Amount,
}

fn auto() -> Amount {
    Amount("auto".to_owned())
}

fn per_client() -> Amount {
    Amount("256".to_owned())
}

fn per_connection() -> Amount {
    Amount("10k".to_owned())
}

impl LongListener {
    /// What an address alone stands for.
    #[must_use]
    pub fn on(address: String) -> Self {
        Self {
            address,
            tls: None,
            redirect: None,
            proxy_protocol: false,
            max_connections: auto(),
            max_connections_per_client: per_client(),
            max_requests: per_connection(),
        }
    }
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// At least one; chosen by the name a client asks for, the first where none has it. Files that
    /// change are taken at once.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// The oldest version spoken (nginx: ssl_protocols).
    #[serde(default)]
    pub min_version: MinVersion,
    /// Clients must show a certificate signed by one of this file's (nginx: ssl_client_certificate,
    /// ssl_verify_client on).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The PEM file with the certificate and its chain (nginx: ssl_certificate).
    pub cert: String,
    /// The PEM file with its key (nginx: ssl_certificate_key).
    pub key: String,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum MinVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
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
    /// Where it listens, like `127.0.0.1:9900`: an address of this machine only. Without it there
    /// is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
