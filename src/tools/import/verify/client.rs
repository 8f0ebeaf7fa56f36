//! Client of a verification: one request on one connection, sent byte for byte.
//!
//! It is not the client of the proxy, so that a fault of that one is not on both sides.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::probes::VerifyProbe;

/// Time-out of a connection, and between two pieces of a response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Limit on a response, in bytes.
const MAX_RESPONSE: u64 = 4 * 1024 * 1024;

/// Response to a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeResponse {
    /// Status; none if the connection was closed without a response.
    pub status: Option<u16>,
    /// Fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Body, without its chunks.
    pub body: Vec<u8>,
}

impl ProbeResponse {
    /// First value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Opens a connection, from an address of its own if one is given.
///
/// # Errors
/// When it cannot be opened.
pub fn connect(server: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.connect_timeout(&server.into(), TIMEOUT)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Bytes of a probe.
#[must_use]
pub fn bytes(probe: &VerifyProbe) -> Vec<u8> {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: weir-verify\r\nAccept: */*\r\nConnection: close\r\n",
        probe.method, probe.target, probe.host
    );
    for (name, value) in &probe.fields {
        text += &format!("{name}: {value}\r\n");
    }
    if !matches!(&*probe.method, "GET" | "HEAD" | "OPTIONS") {
        text += "Content-Length: 0\r\n";
    }
    (text + "\r\n").into_bytes()
}

/// Sends a probe and reads the response to its end.
///
/// # Errors
/// When the connection cannot be opened.
pub fn ask(
    server: SocketAddr,
    source: Option<Ipv4Addr>,
    probe: &VerifyProbe,
) -> io::Result<ProbeResponse> {
    let mut stream = connect(server, source)?;
    let mut received = Vec::new();
    // A server that closes early has perhaps responded: what came is judged.
    let _sent = stream.write_all(&bytes(probe));
    let _ended = stream.take(MAX_RESPONSE).read_to_end(&mut received);
    Ok(response(&received))
}

/// Parses what came until the end of the connection.
#[must_use]
pub fn response(received: &[u8]) -> ProbeResponse {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else { return ProbeResponse::default() };
    let head = String::from_utf8_lossy(&received[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &received[end + 4..];
    let is_chunked =
        fields.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { unchunked(rest) } else { rest.to_vec() };
    ProbeResponse { status, fields, body }
}

/// Data of the chunks, as far as they came.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]);
        let size =
            line.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let data = &rest[end + 2..];
        match size {
            Some(size) if size > 0 && size <= data.len() => {
                body.extend_from_slice(&data[..size]);
                rest = data.get(size + 2..).unwrap_or_default();
            }
            _ => break,
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use crate::tools::import::verify::client::*;

    #[test]
    fn response_is_read_with_its_chunks() {
        let got = response(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2\r\nhi\r\n1;a=b\r\n!\r\n0\r\n\r\n",
        );
        assert_eq!((got.status, got.field("x"), &*got.body), (Some(200), Some("y"), &b"hi!"[..]));
        assert_eq!(response(b""), ProbeResponse::default());
    }
}
