//! `listeners` and `client_ip` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use crate::{
    downstream::{
        settings::ClientProtocols,
        tls::settings::{ClientAuth, MinVersion},
    },
    limit::client_ip::Forwarding,
};

/// Address to listen on, alone or with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Listener {
    /// `host:port`.
    Short(String),
    /// Map with settings.
    Long(Box<LongListener>),
}

/// Address to listen on, with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongListener {
    /// Address to listen on, like `0.0.0.0:8080` or `:8080`; `unix:/path` of a socket, or
    /// `fd:NAME` of one that systemd opened (nginx: `listen`).
    pub address: String,
    /// Mode of the file of a unix socket, like `"660"`. By default only the user weir runs as may
    /// connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner of that file, as `user`, `user:group` or `:group`, by name or by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// TLS 1.2 or newer, with HTTP/2 and HTTP/1.1 by ALPN. A request of plain HTTP gets 400
    /// (nginx: `listen ... ssl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Protocols of the clients: `auto` is HTTP/1.1 and HTTP/2, by ALPN with `tls` and by prior
    /// knowledge without. `http1` is HTTP/1.1 alone (nginx: `http2 off`).
    #[serde(default)]
    pub protocol: ClientProtocols,
    /// `https`, or `https:8443` where the port is not 443: every request gets 308 to the same
    /// host and path over `https`, before any limit is checked. Not together with `tls` (nginx:
    /// `return 308 https://...`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// With `redirect`: files by which an ACME client proves that it controls a host. They are
    /// served below `/.well-known/acme-challenge/` in place of the redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01>,
    /// Connections begin with a PROXY header, version 1 or 2, and come from
    /// `client_ip.trusted_proxies`; others are closed (nginx: `listen ... proxy_protocol`).
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Connections that may be open; further ones are closed immediately. With `auto`, half of
    /// the files the process may open, less 100 and less the connections that other listeners
    /// set, is divided among the listeners with `auto`: at least 16 together and at most 10k
    /// each. weir asks for as many files as the hard limit grants (nginx:
    /// `worker_connections`).
    #[serde(default = "auto")]
    #[schemars(extend("x-type" = "count or `auto`"))]
    pub max_connections: Amount,
    /// Limit on the connections of one client, which is an IPv4 address or an IPv6 network of 64
    /// bits. Idle connections count too, and further ones are closed. Trusted proxies have no
    /// such limit; the clients that their PROXY headers name do. For requests in progress see `concurrency`.
    #[serde(default = "per_client")]
    #[schemars(extend("x-type" = "count"))]
    pub max_connections_per_client: Amount,
    /// Requests on one connection; the last response carries `Connection: close` (nginx:
    /// `keepalive_requests`).
    #[serde(default = "per_connection")]
    #[schemars(extend("x-type" = "count"))]
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
    /// Listener of an address alone.
    #[must_use]
    pub fn on(address: String) -> Self {
        Self {
            address,
            mode: None,
            owner: None,
            tls: None,
            protocol: ClientProtocols::default(),
            redirect: None,
            http01: None,
            proxy_protocol: false,
            max_connections: auto(),
            max_connections_per_client: per_client(),
            max_requests: per_connection(),
        }
    }
}

/// Files of an ACME client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http01 {
    /// Directory of the files, each named by its token. Links are not followed.
    #[schemars(extend("x-type" = "path"))]
    pub path: String,
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// At least one. A client gets the first certificate that has the name it asks for, else
    /// the first with a wildcard for it, else the first of all. Of certificates with other kinds
    /// of keys for one name, like ECDSA beside RSA, it gets the kind that it prefers. Changed
    /// files are used without a reload.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// Minimum TLS version. Clients that offer only older ones fail the handshake (nginx:
    /// `ssl_protocols`).
    #[serde(default)]
    pub min_version: MinVersion,
    /// PEM file: clients must show a certificate that one of these authorities signed (nginx:
    /// `ssl_client_certificate`, `ssl_verify_client on`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub client_ca: Option<String>,
    /// With `client_ca`: clients must show a certificate (`required`), may (`optional`), or are
    /// not asked (`none`). One that is shown and not valid fails the handshake (nginx:
    /// `ssl_verify_client`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Other values of `client_auth` by server name. A request for a host with another value than
    /// the name of its connection gets 421.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_auth_names: Vec<ClientAuthName>,
    /// PEM file with lists of revoked client certificates (CRLs), one of each authority in a
    /// chain. A certificate without a list, or with one that is out of date, is not valid; the
    /// file is read again every 5 s (nginx: `ssl_crl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub client_crl: Option<String>,
}

/// Requirement of a client certificate for a server name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuthName {
    /// Name, like `admin.example.com`, or `*.example.com` for one label.
    pub name: String,
    /// Value for this name.
    pub client_auth: ClientAuth,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate, then its chain (nginx: `ssl_certificate`).
    #[schemars(extend("x-type" = "path"))]
    pub cert: String,
    /// PEM file with the key of the certificate (nginx: `ssl_certificate_key`).
    #[schemars(extend("x-type" = "path"))]
    pub key: String,
}

/// Proxies that are trusted about the client address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientIp {
    /// Networks of proxies whose header is trusted; none by default. Behind a CDN list its
    /// networks. `unix:` is every peer on a unix socket (nginx: `set_real_ip_from`).
    #[schemars(extend("x-type" = "list of networks"))]
    pub trusted_proxies: Vec<String>,
    /// Header that trusted proxies write. `x-forwarded-for` and `forwarded` are lists, read from
    /// the right to the first address that is not trusted. Any other name, like
    /// `cf-connecting-ip`, carries one address: with several or without a readable one the
    /// request gets 400 (nginx: `real_ip_header`).
    #[schemars(extend("x-type" = "name of a header"))]
    pub header: String,
    /// A list is read past the addresses of trusted proxies. With `false` its last address is the
    /// client, which is nginx's default (nginx: `real_ip_recursive`).
    pub recursive: bool,
}

impl Default for ClientIp {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            header: Forwarding::default().to_string(),
            recursive: true,
        }
    }
}

/// Admin listener: health and reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of the admin listener, on loopback only, like `127.0.0.1:9900`. `weir reload`
    /// and `weir healthcheck` do not need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
