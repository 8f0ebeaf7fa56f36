//! Peer of a connection: its address and transport.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use http::HeaderValue;

use crate::{
    downstream::{
        tls::{TlsInfo, client_auth::ClientCertificate},
        upload::RequestBody,
    },
    files::challenge::ChallengeDirectory,
    http::{
        fields::address_value,
        target::{LastHost, LatestHost},
    },
    upstream::pool::Private,
};

/// Peer of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address; an IPv4-mapped address as IPv4.
    pub address: IpAddr,
    /// Port of the address.
    pub port: u16,
    /// Address as a field value.
    pub value: HeaderValue,
    /// Host of its last request.
    pub last_host: LastHost,
    /// Transport of the connection.
    pub transport: Transport,
    /// Endpoint connection that this client may have authenticated.
    pub private: Rc<Private<RequestBody>>,
}

/// Transport of a connection.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain {
        /// Port of the `https` redirect for every request, if any.
        redirect: Option<u16>,
        /// Files for ACME challenges, which are not redirected, if any.
        challenges: Option<Arc<ChallengeDirectory>>,
    },
    /// Plain TCP to a listener of TLS: every request is refused.
    PlainToTls,
    /// TLS.
    Tls(Box<TlsInfo>),
}

impl Transport {
    /// Scheme of its requests.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Plain { .. } | Self::PlainToTls => "http",
            Self::Tls(_) => "https",
        }
    }
}

impl Transport {
    /// Verified certificate of the client, if it showed one.
    #[must_use]
    pub fn client(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Tls(secured) => secured.client.as_deref(),
            Self::Plain { .. } | Self::PlainToTls => None,
        }
    }
}

impl Peer {
    /// Creates a peer with this address, of a worker that has seen this host last.
    #[must_use]
    pub fn new(peer: SocketAddr, transport: Transport, latest: &LatestHost) -> Self {
        let address = peer.ip().to_canonical();
        Self {
            address,
            port: peer.port(),
            value: address_value(address),
            last_host: LastHost::new(latest),
            transport,
            private: Rc::default(),
        }
    }
}
