//! PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): the client address of a
//! connection from a proxy.
//!
//! Guarantee: a header is parsed whole or not at all, and no byte behind it is lost.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::AsyncReadExt;

use super::resumed::resumed;
use crate::runtime::io::Io;

/// First bytes of version 1.
const TEXT: &[u8] = b"PROXY ";
/// Longest header of version 1.
const TEXT_MOST: usize = 107;
/// Signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of version 2 before the addresses.
const FIXED: usize = 16;
/// Longest rest of version 2: addresses and TLVs.
const BINARY_MOST: usize = 4 * 1024;

/// Origin of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxiedPeer {
    /// The proxy itself (`LOCAL` command), for example a health check.
    Proxy,
    /// A client of the proxy.
    Behind(SocketAddr),
}

/// Error of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// The header violates the specification.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The header is longer than the limit.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The header does not describe a TCP connection.
    #[error("the PROXY header does not describe a TCP connection")]
    NotTcp,
}

/// Parses a header at the start of `bytes` and returns its length; none while it is incomplete.
///
/// # Errors
/// When there is no valid header.
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxiedPeer, usize)>, HeaderError> {
    // Bytes that are shorter than the start of a form may still become it: they are not an error
    // yet.
    let begins_with = |start: &[u8]| start.starts_with(bytes) || bytes.starts_with(start);
    if begins_with(TEXT) {
        return text(bytes);
    }
    if begins_with(SIGNATURE) {
        return binary(bytes);
    }
    Err(HeaderError::Missing)
}

fn text(bytes: &[u8]) -> Result<Option<(ProxiedPeer, usize)>, HeaderError> {
    // A peer without a line end must not make this search or the buffer grow.
    let Some(end) = bytes.iter().take(TEXT_MOST).position(|byte| *byte == b'\n') else {
        return if bytes.len() < TEXT_MOST { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    let line =
        bytes[TEXT.len()..end].strip_suffix(b"\r").and_then(|line| str::from_utf8(line).ok());
    let source = line.and_then(source).ok_or(HeaderError::Malformed)?;
    Ok(Some((source, end + 1)))
}

/// Parses the rest of the line after `PROXY `: a protocol, both addresses and both ports.
fn source(line: &str) -> Option<ProxiedPeer> {
    // The specification requires that the rest of such a line is ignored. The connection then has
    // the address of the proxy.
    if line.split(' ').next() == Some("UNKNOWN") {
        return Some(ProxiedPeer::Proxy);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, source, target, port, target_port] = words[..] else { return None };
    let (source, target): (IpAddr, IpAddr) = (source.parse().ok()?, target.parse().ok()?);
    let fits = match protocol {
        "TCP4" => source.is_ipv4() && target.is_ipv4(),
        "TCP6" => source.is_ipv6() && target.is_ipv6(),
        _ => false,
    };
    // Checked although it is not used: a malformed header must not pass.
    number(target_port)?;
    fits.then_some(ProxiedPeer::Behind(SocketAddr::new(source, number(port)?)))
}

fn number(port: &str) -> Option<u16> {
    // Excludes `+80` and `080`, which `parse` accepts.
    port.parse().ok().filter(|number: &u16| number.to_string() == port)
}

fn binary(bytes: &[u8]) -> Result<Option<(ProxiedPeer, usize)>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, protocol, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // The length field allows 64 KiB. It is checked before the rest is waited for.
    if length > BINARY_MOST {
        return Err(HeaderError::TooLong);
    }
    // Everything up to the length belongs to the header, TLVs included.
    let Some(told) = rest.get(..length) else { return Ok(None) };
    let source = match (command, protocol) {
        // `LOCAL`: the addresses are skipped, whatever their family.
        (0x20, _) => ProxiedPeer::Proxy,
        (0x21, 0x11) => ProxiedPeer::Behind(behind::<4, 12, Ipv4Addr>(told)?),
        (0x21, 0x21) => ProxiedPeer::Behind(behind::<16, 36, Ipv6Addr>(told)?),
        // Unspecified, or a Unix socket: there is no client address to take over.
        (0x21, 0x00 | 0x31) => ProxiedPeer::Proxy,
        (0x21, 0x12 | 0x22 | 0x32) => return Err(HeaderError::NotTcp),
        _ => return Err(HeaderError::Malformed),
    };
    Ok(Some((source, FIXED + length)))
}

/// Parses two addresses and two ports: the first of each is that of the source.
fn behind<const ADDRESS: usize, const ALL: usize, A>(told: &[u8]) -> Result<SocketAddr, HeaderError>
where
    A: From<[u8; ADDRESS]> + Into<IpAddr>,
{
    // The block may be longer than the addresses: TLVs follow, and none is used.
    let all = told.first_chunk::<ALL>().ok_or(HeaderError::Malformed)?;
    let address = all.first_chunk::<ADDRESS>().ok_or(HeaderError::Malformed)?;
    let port = u16::from_be_bytes([all[ADDRESS * 2], all[ADDRESS * 2 + 1]]);
    Ok(SocketAddr::new(A::from(*address).into(), port))
}

/// Reads the header from a connection.
///
/// # Errors
/// When there is none, or the connection ends before it is complete.
pub async fn read(mut io: Box<dyn Io>) -> io::Result<(ProxiedPeer, Box<dyn Io>)> {
    let mut ahead = Vec::with_capacity(256);
    loop {
        if let Some((source, length)) = parse(&ahead).map_err(io::Error::other)? {
            ahead.drain(..length);
            return Ok((source, resumed(ahead, io)));
        }
        if io.read_buf(&mut ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::downstream::proxy_protocol::*;

    /// Parses a header with bytes behind it, and at every length short of it.
    fn read(header: &[u8]) -> Result<ProxiedPeer, HeaderError> {
        let whole = parse(&[header, b"GET /"].concat())?;
        let (source, length) = whole.expect("a whole header");
        assert_eq!(length, header.len());
        assert!((0..length).all(|short| parse(&header[..short]) == Ok(None)), "{header:?}");
        Ok(source)
    }

    fn behind(address: &str) -> Result<ProxiedPeer, HeaderError> {
        Ok(ProxiedPeer::Behind(address.parse().expect("an address")))
    }

    fn binary(command: u8, protocol: u8, told: &[u8]) -> Vec<u8> {
        let length = u16::try_from(told.len()).expect("a short header").to_be_bytes();
        [SIGNATURE, &[command, protocol], &length, told].concat()
    }

    #[test]
    fn version_1() {
        assert_eq!(
            read(b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n"),
            behind("192.0.2.1:4711")
        );
        assert_eq!(read(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n"), behind("[2001:db8::1]:4711"));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(ProxiedPeer::Proxy));
        assert_eq!(read(b"PROXY UNKNOWN anything at all\r\n"), Ok(ProxiedPeer::Proxy));
        for wrong in [
            "TCP4 192.0.2.1 198.51.100.1 4711 80\n",
            "TCP4 192.0.2.1 198.51.100.1 4711\r\n",
            "TCP4 192.0.2.1  198.51.100.1 4711 80\r\n",
            "TCP4 192.0.2.1 198.51.100.1 04711 80\r\n",
            "TCP4 192.0.2.1 198.51.100.1 +4711 80\r\n",
            "TCP4 192.0.2.1 198.51.100.1 4711 65536\r\n",
            "TCP4 ::1 ::1 4711 80\r\n",
            "TCP6 192.0.2.1 198.51.100.1 4711 80\r\n",
            "TCP4 192.0.2.1 198.51.100.1 4711 80 \r\n",
            "UDP4 192.0.2.1 198.51.100.1 4711 80\r\n",
            "tcp4 192.0.2.1 198.51.100.1 4711 80\r\n",
            "\r\n",
        ] {
            assert_eq!(
                parse(format!("PROXY {wrong}").as_bytes()),
                Err(HeaderError::Malformed),
                "{wrong:?}"
            );
        }
        assert_eq!(parse(&[TEXT, &[b'x'; 200]].concat()), Err(HeaderError::TooLong));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(HeaderError::Missing));
    }

    #[test]
    fn version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        assert_eq!(read(&binary(0x21, 0x11, &four)), behind("192.0.2.1:4711"));
        assert_eq!(
            read(&binary(0x21, 0x11, &[&four[..], b"\x04\0\x01x"].concat())),
            behind("192.0.2.1:4711")
        );
        let mut six = [0; 36];
        (six[15], six[31], six[32], six[33]) = (1, 2, 0x12, 0x67);
        assert_eq!(read(&binary(0x21, 0x21, &six)), behind("[::1]:4711"));
        assert_eq!(read(&binary(0x20, 0x00, b"")), Ok(ProxiedPeer::Proxy));
        assert_eq!(read(&binary(0x21, 0x31, &[0; 216])), Ok(ProxiedPeer::Proxy));
        assert_eq!(read(&binary(0x21, 0x12, &four)), Err(HeaderError::NotTcp));
        for wrong in [
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x21, 0x13, &four),
            binary(0x21, 0x11, &four[1..]),
        ] {
            assert_eq!(parse(&wrong), Err(HeaderError::Malformed));
        }
        assert_eq!(parse(&binary(0x21, 0x11, &[0; 5000])), Err(HeaderError::TooLong));
    }
}
