//! Client address of a request: the socket peer, or the address a trusted proxy reports.
//!
//! Guarantee: a forwarding field is used only when the peer is in `trusted_proxies`. A list is then
//! walked from the right to the first address that is not trusted, so an address the client wrote
//! into the field itself is never used. A field of one address is an error unless it is exactly
//! that: a client that added a line or an element of its own gains nothing.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{HeaderName, header};
use ipnet::IpNet;

use crate::Headers;

/// Longest chain of proxies: a field that names more hops is not read further.
const MOST_HOPS: usize = 32;

/// Header that carries the client address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// `X-Forwarded-For`: a list of addresses.
    #[default]
    XForwardedFor,
    // Its `for` parameters.
    /// `Forwarded`: RFC 7239.
    Forwarded,
    /// Field of another name, which contains one address: `CF-Connecting-IP`, `X-Real-IP`.
    Single(HeaderName),
}

impl FromStr for Forwarding {
    type Err = http::header::InvalidHeaderName;

    /// Parses the name of a field, in any case.
    ///
    /// ```
    /// use weir_limit::client_ip::Forwarding;
    ///
    /// let list: Forwarding = "X-Forwarded-For".parse()?;
    /// assert_eq!(list, Forwarding::XForwardedFor);
    /// let single: Forwarding = "CF-Connecting-IP".parse()?;
    /// assert_eq!(single.to_string(), "cf-connecting-ip");
    /// # Ok::<(), http::header::InvalidHeaderName>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: HeaderName = text.parse()?;
        Ok(match name {
            header::FORWARDED => Self::Forwarded,
            name if name == X_FORWARDED_FOR => Self::XForwardedFor,
            name => Self::Single(name),
        })
    }
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Forwarding {
    /// Returns the name of the field.
    #[must_use]
    pub fn name(&self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => header::FORWARDED,
            Self::Single(name) => name.clone(),
        }
    }
}

/// A field that carries one client address has several values, or one that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field with the client address is not one address")]
pub struct NotOneAddress;

/// Trusted proxies and the forwarding field they set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Networks of trusted proxies. Empty: no peer is trusted.
    pub proxies: Vec<IpNet>,
    /// Field that these proxies set.
    pub header: Forwarding,
    /// A list is walked on past addresses of trusted proxies. If not, its last address is the
    /// client.
    pub recursive: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self { proxies: Vec::new(), header: Forwarding::default(), recursive: true }
    }
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
    /// use weir_limit::client_ip::Trust;
    ///
    /// let trust = Trust { proxies: vec!["10.0.0.0/8".parse()?], ..Trust::default() };
    /// let mut headers = HeaderMap::new();
    /// // The client wrote the first address itself; the proxy added the second.
    /// headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1, 198.51.100.7"));
    /// assert_eq!(trust.client("10.0.0.2".parse()?, &headers)?.to_string(), "198.51.100.7");
    /// // A stranger is not believed.
    /// assert_eq!(trust.client("203.0.113.9".parse()?, &headers)?.to_string(), "203.0.113.9");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NotOneAddress`] for a field of one address that is there and is anything else. A client
    /// may have written a part of it, and the address of the proxy would be another client's
    /// bucket.
    pub fn client(&self, peer: IpAddr, headers: &dyn Headers) -> Result<IpAddr, NotOneAddress> {
        let peer = peer.to_canonical();
        if !self.is_trusted(peer) {
            return Ok(peer);
        }
        match &self.header {
            Forwarding::XForwardedFor => Ok(self.walk(peer, &X_FORWARDED_FOR, headers, address)),
            Forwarding::Forwarded => {
                Ok(self.walk(peer, &header::FORWARDED, headers, forwarded_for))
            }
            Forwarding::Single(name) => Ok(single(name, headers)?.unwrap_or(peer)),
        }
    }

    /// Walks the list of a field from the right.
    fn walk(
        &self,
        peer: IpAddr,
        name: &HeaderName,
        headers: &dyn Headers,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> IpAddr {
        let (mut client, mut hops) = (peer, 0);
        let most = if self.recursive { MOST_HOPS } else { 1 };
        let mut lines = Vec::new();
        headers.each(name, &mut |line| lines.push(line));
        // Lines of one name are one list (RFC 9110, section 5.3). The nearest proxy appends, so the
        // walk is from the end.
        for line in lines.iter().rev() {
            // An empty list element does not count (RFC 9110, section 5.6.1.2).
            for hop in line.rsplit(|byte| *byte == b',').filter(|hop| !hop.trim_ascii().is_empty())
            {
                // Bytes that are not UTF-8 are not an address. A hop that cannot be read is not
                // known to be trusted, so a client may have written all before it.
                let Some(address) = str::from_utf8(hop).ok().and_then(&read) else { return client };
                client = address;
                hops += 1;
                if hops == most || !self.is_trusted(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// Returns the address of a field that has no other value; none where the field is absent.
fn single(name: &HeaderName, headers: &dyn Headers) -> Result<Option<IpAddr>, NotOneAddress> {
    let (mut lines, mut value) = (0, &b""[..]);
    headers.each(name, &mut |line| {
        lines += 1;
        value = line;
    });
    match lines {
        0 => Ok(None),
        1 => str::from_utf8(value).ok().and_then(address).map(Some).ok_or(NotOneAddress),
        _ => Err(NotOneAddress),
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

    fn trust(trusted: &str, header: Forwarding) -> Trust {
        let proxies = trusted.split_whitespace().map(|net| net.parse().expect("a net")).collect();
        Trust { proxies, header, recursive: true }
    }

    fn of(trust: &Trust, peer: &str, lines: &[&str]) -> Result<String, NotOneAddress> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(trust.header.name(), line.parse().expect("a value"));
        }
        let client = trust.client(peer.parse().expect("a peer"), &headers)?;
        Ok(client.to_string())
    }

    fn client(trusted: &str, header: Forwarding, peer: &str, lines: &[&str]) -> String {
        of(&trust(trusted, header), peer, lines).expect("a list is never wrong")
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
        const X: Forwarding = Forwarding::XForwardedFor;
        let of = |lines: &[&str]| client("10.0.0.0/8 ::1/128", X, "10.0.0.9", lines);
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
        const X: Forwarding = Forwarding::XForwardedFor;
        assert_eq!(
            client("10.0.0.0/8", X, "::ffff:10.0.0.9", &["::ffff:192.0.2.7, ::ffff:10.0.0.8"]),
            "192.0.2.7"
        );
        assert_eq!(client("::/0", X, "192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
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

    #[test]
    fn list_that_is_not_walked_ends_with_the_client() {
        let x = Forwarding::XForwardedFor;
        let last = Trust { recursive: false, ..trust("10.0.0.0/8", x) };
        let of = |lines: &[&str]| of(&last, "10.0.0.9", lines).expect("a list is never wrong");
        assert_eq!(of(&["192.0.2.7, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(of(&["192.0.2.7", "10.1.1.1,"]), "10.1.1.1");
        assert_eq!(of(&["192.0.2.7, nonsense"]), "10.0.0.9");
        assert_eq!(of(&[]), "10.0.0.9");
    }

    #[test]
    fn field_of_one_address_is_exactly_that() {
        let trust = trust("10.0.0.0/8", "X-Client".parse().expect("a name"));
        let of = |lines: &[&str]| of(&trust, "10.0.0.9", lines);
        for (line, address) in [
            ("192.0.2.7", "192.0.2.7"),
            (" ::ffff:192.0.2.7 ", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            // Of a proxy too: there is nothing to walk on to.
            ("10.2.2.2", "10.2.2.2"),
        ] {
            assert_eq!(of(&[line]).as_deref(), Ok(address), "{line}");
        }
        assert_eq!(of(&[]).as_deref(), Ok("10.0.0.9"), "the proxy's own request");
        for lines in [
            &["1.1.1.1, 192.0.2.7"][..],
            &["192.0.2.7,"],
            &["192.0.2.7", "192.0.2.7"],
            &["", "192.0.2.7"],
            &[""],
            &["unknown"],
            &["192.0.2.7 "; 2],
            &["192.0.2.7:99999"],
            &["for=192.0.2.7"],
            &["192.0.2.7;1.1.1.1"],
        ] {
            assert_eq!(of(lines), Err(NotOneAddress), "{lines:?}");
        }
        assert_eq!(super::tests::of(&trust, "192.0.2.1", &["1.1.1.1"]).as_deref(), Ok("192.0.2.1"));
    }
}
