//! Client address of a request and its scheme: the peer's, or what a trusted peer says.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The client's address. `X-Forwarded-For` counts only when the peer is trusted, and is read from the right: the first
/// address that is not a trusted proxy's is the client's, so nothing a client writes to its left is believed.
#[must_use]
pub fn client<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let peer = peer.to_canonical();
    let mut client = peer;
    // An empty element is none (RFC 9110, section 5.6.1).
    let mut hops = forwarded.flat_map(|line| line.split(',')).rev().map(str::trim).filter(|hop| !hop.is_empty());
    while is_trusted(client) {
        match hops.next().map(address) {
            Some(Some(address)) => client = address.to_canonical(),
            Some(None) | None => break,
        }
    }
    client
}

/// The address of a hop, which some proxies write with its port or in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Returns whether the client came over plain HTTP: only a trusted peer can say so, with `X-Forwarded-Proto: http`.
#[must_use]
pub fn is_plain_http(peer: IpAddr, proto: Option<&str>, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer)) && proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("http"))
}

#[cfg(test)]
mod tests {
    use super::{client, is_plain_http};

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        client(peer.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn client_is_an_untrusted_peer_whatever_it_says() {
        assert_eq!(seen("192.0.2.7", &["198.51.100.1"], &["10.0.0.0/8"]), "192.0.2.7");
        assert_eq!(seen("192.0.2.7", &["198.51.100.1"], &[]), "192.0.2.7");
    }

    #[test]
    fn client_behind_trusted_hops_is_the_first_other_from_the_right() {
        assert_eq!(seen("10.0.0.2", &["203.0.113.9, 198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.2", &["198.51.100.1, 10.9.9.9"], &["10.0.0.0/8"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.2", &["203.0.113.9", "198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
        assert_eq!(seen("::ffff:10.0.0.2", &["198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
    }

    #[test]
    fn hops_with_ports_and_empty_elements_are_read() {
        for hops in ["198.51.100.9:4711", "198.51.100.9, ", "198.51.100.9,,", " 198.51.100.9 ,10.0.0.3:80"] {
            assert_eq!(seen("10.0.0.2", &[hops], &["10.0.0.0/8"]), "198.51.100.9", "{hops}");
        }
        for hops in ["[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"] {
            assert_eq!(seen("10.0.0.2", &[hops], &["10.0.0.0/8"]), "2001:db8::1", "{hops}");
        }
    }

    #[test]
    fn plain_http_is_said_by_trusted_peers_only() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let plain = |peer: &str, proto| is_plain_http(peer.parse().unwrap(), proto, &trusted);
        assert!(plain("10.0.0.2", Some("http")) && plain("::ffff:10.0.0.2", Some(" HTTP")));
        assert!(!plain("10.0.0.2", Some("https")) && !plain("10.0.0.2", Some("https, http")) && !plain("10.0.0.2", None));
        assert!(!plain("192.0.2.7", Some("http")));
    }

    #[test]
    fn nonsense_ends_the_search() {
        assert_eq!(seen("10.0.0.2", &["198.51.100.1, unknown"], &["10.0.0.0/8"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.2", &[], &["10.0.0.0/8"]), "10.0.0.2");
    }
}
