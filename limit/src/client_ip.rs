//! Client address of a request: the socket peer, or the address a trusted proxy reports.
//!
//! Guarantee: a forwarding field is used only when the peer is in `trusted_proxies`. It is then
//! walked from the right to the first address that is not trusted, so an address the client wrote
//! into the field itself is never used.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, header};
use ipnet::IpNet;

use crate::Headers;

/// Longest chain of proxies: a field that names more hops is not read further.
const MOST_HOPS: usize = 32;

/// Header that carries client addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Forwarding {
    /// `X-Forwarded-For`: a list of addresses.
    #[default]
    XForwardedFor,
    // Its `for` parameters.
    /// `Forwarded`: RFC 7239.
    Forwarded,
}

/// Trusted proxies and the forwarding field they set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Networks of trusted proxies. Empty: no peer is trusted.
    pub proxies: Vec<IpNet>,
    /// Field that these proxies set.
    pub header: Forwarding,
}

impl Trust {
    /// Returns true if the address is that of a trusted proxy.
    #[must_use]
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        // Networks are written for IPv4. A dual-stack socket reports such a peer as
        // `::ffff:10.0.0.2`.
        let peer = peer.to_canonical();
        self.proxies.iter().any(|net| net.contains(&peer))
    }

    /// Returns the client address of a request that came from `peer`.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    /// use weir_limit::client_ip::{Forwarding, Trust};
    ///
    /// let trust = Trust { proxies: vec!["10.0.0.0/8".parse()?], header: Forwarding::default() };
    /// let mut headers = HeaderMap::new();
    /// // The client wrote the first address itself; the proxy added the second.
    /// headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1, 198.51.100.7"));
    /// assert_eq!(trust.client("10.0.0.2".parse()?, &headers).to_string(), "198.51.100.7");
    /// // A stranger is not believed.
    /// assert_eq!(trust.client("203.0.113.9".parse()?, &headers).to_string(), "203.0.113.9");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &dyn Headers) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.is_trusted(client) {
            return client;
        }
        let mut hops = 0;
        let name = match self.header {
            Forwarding::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Forwarding::Forwarded => header::FORWARDED,
        };
        let mut lines = Vec::new();
        headers.each(&name, &mut |line| lines.push(line));
        // Lines of one name are one list (RFC 9110, section 5.3). The nearest proxy appends, so the
        // walk is from the end.
        for line in lines.iter().rev() {
            // An empty list element does not count (RFC 9110, section 5.6.1.2).
            for hop in line.rsplit(|byte| *byte == b',').filter(|hop| !hop.trim_ascii().is_empty())
            {
                // Bytes that are not UTF-8 are not an address.
                let hop = str::from_utf8(hop).unwrap_or("");
                let address = match self.header {
                    Forwarding::XForwardedFor => address(hop),
                    Forwarding::Forwarded => forwarded_for(hop),
                };
                // A hop that cannot be read is not known to be trusted, so a client may have
                // written all before it.
                let Some(address) = address else { return client };
                client = address;
                hops += 1;
                if hops == MOST_HOPS || !self.is_trusted(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// Parses an address as proxies write it: bare, in brackets, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed =
        bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// Returns the `for` parameter of one element of a `Forwarded` field.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    // Quoted strings are not parsed: no address has a comma or a semicolon, and a piece of any
    // other text is not an address.
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
        .map(|(_, value)| value.trim());
    let node = nodes.next()?;
    address(node.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn client(trusted: &str, header: Forwarding, peer: &str, lines: &[&str]) -> String {
        let proxies = trusted.split_whitespace().map(|net| net.parse().expect("a net")).collect();
        let name = if header == Forwarding::Forwarded { "forwarded" } else { "x-forwarded-for" };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().expect("a value"));
        }
        Trust { proxies, header }.client(peer.parse().expect("a peer"), &headers).to_string()
    }

    #[test]
    fn client_ip_trusts_no_proxy_by_default() {
        assert_eq!(client("", Forwarding::XForwardedFor, "192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        assert_eq!(
            client("10.0.0.0/8", Forwarding::XForwardedFor, "192.0.2.1", &["1.2.3.4"]),
            "192.0.2.1"
        );
    }

    #[test]
    fn client_ip_is_first_untrusted_hop_from_the_right() {
        let x = Forwarding::XForwardedFor;
        let of = |lines: &[&str]| client("10.0.0.0/8 ::1/128", x, "10.0.0.9", lines);
        assert_eq!(of(&["1.1.1.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(of(&["1.1.1.1, 192.0.2.7, 10.1.1.1"]), "192.0.2.7");
        assert_eq!(of(&["1.1.1.1", "192.0.2.7, 10.1.1.1"]), "192.0.2.7");
        assert_eq!(of(&["192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(of(&["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(of(&["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(of(&["10.2.2.2"]), "10.2.2.2");
        assert_eq!(of(&[]), "10.0.0.9");
        assert_eq!(of(&["192.0.2.7, nonsense, 10.3.3.3"]), "10.3.3.3");
    }

    #[test]
    fn empty_elements_are_skipped() {
        let x = |lines: &[&str]| client("10.0.0.0/8", Forwarding::XForwardedFor, "10.0.0.9", lines);
        for lines in [
            &["198.51.100.6,"][..],
            &["198.51.100.6, ,\t,"],
            &["198.51.100.6,,10.1.1.1,"],
            &["198.51.100.6", ""],
            &["198.51.100.6", ",", " "],
        ] {
            assert_eq!(x(lines), "198.51.100.6", "{lines:?}");
        }
        let forwarded = |line| client("10.0.0.0/8", Forwarding::Forwarded, "10.0.0.9", &[line]);
        assert_eq!(forwarded("for=198.51.100.6, "), "198.51.100.6");
        assert_eq!(forwarded("for=198.51.100.6,,for=10.1.1.1,"), "198.51.100.6");
        assert_eq!(
            forwarded("for=198.51.100.6, proto=https"),
            "10.0.0.9",
            "an element without an address is no empty one"
        );
    }

    #[test]
    fn garbage_is_no_address_and_ends_the_walk() {
        let of = |line: &str| client("10.0.0.0/8", Forwarding::XForwardedFor, "10.0.0.9", &[line]);
        for garbage in [
            "",
            ",",
            "unknown",
            "192.0.2",
            "192.0.2.256",
            "0x7f.1",
            "1.1.1.1:99999",
            "[::1",
            "::1]:1",
            "fe80::1%eth0",
            "1.1.1.1 2.2.2.2",
            "010.0.0.1",
            "caf\u{e9}",
        ] {
            assert_eq!(of(garbage), "10.0.0.9", "{garbage:?}");
            assert_eq!(of(&format!("{garbage}, 10.1.1.1")), "10.1.1.1", "{garbage:?}");
        }
    }

    #[test]
    fn v4_in_v6_is_v4_for_trust_and_for_the_client() {
        let x = Forwarding::XForwardedFor;
        assert_eq!(
            client("10.0.0.0/8", x, "::ffff:10.0.0.9", &["::ffff:192.0.2.7, ::ffff:10.0.0.8"]),
            "192.0.2.7"
        );
        assert_eq!(client("::/0", x, "192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
    }

    #[test]
    fn no_more_than_so_many_hops_are_walked() {
        let lines = ["10.0.0.1, ".repeat(100_000) + "10.0.0.2"];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(client("10.0.0.0/8", Forwarding::XForwardedFor, "10.0.0.9", &lines), "10.0.0.1");
        let far = format!("6.6.6.6, {}", vec!["10.0.0.1"; MOST_HOPS].join(", "));
        assert_eq!(
            client("10.0.0.0/8", Forwarding::XForwardedFor, "10.0.0.9", &[&far]),
            "10.0.0.1"
        );
    }

    #[test]
    fn forwarded_is_read_by_its_for_parameter() {
        let of = |line| client("10.0.0.0/8", Forwarding::Forwarded, "10.0.0.9", &[line]);
        assert_eq!(of("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(of("for=1.1.1.1, For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(of("for=_hidden"), "10.0.0.9");
    }
}
