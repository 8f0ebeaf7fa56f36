//! PROXY header towards endpoints (haproxy.org, proxy-protocol.txt): the client address of a
//! connection.
//!
//! Guarantee: it is the first that an endpoint reads, before any TLS. What weir does not know is
//! zero: the address and port that the client connected to, and the port of a client that a trusted
//! proxy named.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::io::AsyncWriteExt;
use tower::{BoxError, ServiceExt};

use super::{
    address::Address,
    connect::{self, BoxedIo, Connector},
    settings::ProxyHeader,
    tls::Secure,
};

/// Signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Opening of connections with a header for each client.
#[derive(Clone)]
pub struct Introduction {
    /// Version of the header.
    pub version: ProxyHeader,
    /// Connector without TLS.
    pub sockets: Connector,
    /// TLS to the endpoints, if it is used.
    pub secure: Option<Secure>,
    /// Time-out of a connect.
    pub timeout: Duration,
}

impl Introduction {
    /// Connector for one client; none for a probe of weir itself.
    #[must_use]
    pub fn connector(&self, client: Option<SocketAddr>) -> Connector {
        let header: Arc<[u8]> = header(self.version, client).into();
        let sockets = self.sockets.clone();
        let introduced = tower::service_fn(move |address: Arc<Address>| {
            let (header, sockets) = (Arc::clone(&header), sockets.clone());
            // Written with the connection and not with the first request: the endpoint reads it
            // before it begins a TLS handshake.
            async move {
                let mut stream = sockets.oneshot(address).await?;
                stream.write_all(&header).await?;
                Ok::<BoxedIo, BoxError>(stream)
            }
        })
        .boxed_clone();
        match &self.secure {
            None => introduced,
            Some(secure) => secure.over(&introduced),
        }
    }

    /// The same for a client, with the time-out.
    #[must_use]
    pub fn of(&self, client: SocketAddr) -> Connector {
        connect::within(self.timeout, self.connector(Some(client)))
    }
}

fn header(version: ProxyHeader, client: Option<SocketAddr>) -> Vec<u8> {
    // A peer on a Unix socket has no address.
    let known = client.filter(|client| !client.ip().is_unspecified());
    match version {
        ProxyHeader::V1 => text(known).into_bytes(),
        ProxyHeader::V2 => binary(known, client.is_some()),
    }
}

fn text(client: Option<SocketAddr>) -> String {
    match client {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some(client) => {
            // The target must have the family of the source, or the line is malformed.
            let (family, target) = match client.ip() {
                IpAddr::V4(_) => ("TCP4", "0.0.0.0"),
                IpAddr::V6(_) => ("TCP6", "::"),
            };
            format!("PROXY {family} {} {target} {} 0\r\n", client.ip(), client.port())
        }
    }
}

fn binary(client: Option<SocketAddr>, is_proxied: bool) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    // `PROXY`, or `LOCAL` for a connection of weir itself.
    header.push(if is_proxied { 0x21 } else { 0x20 });
    // The addresses come first, because the header has their length.
    let mut addresses = Vec::new();
    let family = match client.map(|client| client.ip()) {
        None => 0x00,
        Some(IpAddr::V4(address)) => {
            addresses.extend(address.octets());
            addresses.extend([0; 4]);
            0x11
        }
        Some(IpAddr::V6(address)) => {
            addresses.extend(address.octets());
            addresses.extend([0; 16]);
            0x21
        }
    };
    if let Some(client) = client {
        addresses.extend(client.port().to_be_bytes());
        addresses.extend([0; 2]);
    }
    header.push(family);
    // At most 36 bytes, so that the length fits into one.
    header.extend([0, addresses.len() as u8]);
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use crate::upstream::proxy_header::*;

    fn of(version: ProxyHeader, client: &str) -> Vec<u8> {
        header(version, Some(client.parse().expect("an address")))
    }

    #[test]
    fn proxy_header_v1_is_a_line() {
        let line = |client| String::from_utf8(of(ProxyHeader::V1, client)).expect("text");
        assert_eq!(line("192.0.2.1:4711"), "PROXY TCP4 192.0.2.1 0.0.0.0 4711 0\r\n");
        assert_eq!(line("[2001:db8::1]:0"), "PROXY TCP6 2001:db8::1 :: 0 0\r\n");
        assert_eq!(line("[::]:0"), "PROXY UNKNOWN\r\n");
        assert_eq!(header(ProxyHeader::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn proxy_header_v2_has_the_length_of_its_addresses() {
        let ipv4 = of(ProxyHeader::V2, "192.0.2.1:4711");
        assert_eq!(ipv4[..12], *SIGNATURE);
        let rest = [0x21, 0x11, 0, 12, 192, 0, 2, 1, 0, 0, 0, 0, 0x12, 0x67, 0, 0];
        assert_eq!(ipv4[12..], rest);
        let ipv6 = of(ProxyHeader::V2, "[2001:db8::1]:1");
        assert_eq!((ipv6[12..16].to_vec(), ipv6.len()), (vec![0x21, 0x21, 0, 36], 52));
        assert_eq!(of(ProxyHeader::V2, "[::]:0")[12..], [0x21, 0, 0, 0]);
        assert_eq!(header(ProxyHeader::V2, None)[12..], [0x20, 0, 0, 0]);
    }
}
