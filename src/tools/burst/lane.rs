//! Lane: the connections of one client to the server, and the reading of a response on one of them.
//!
//! Guarantee: never more than `room` connections are open at a time; the head of a response has at
//! most [`MAX_HEAD`] bytes.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
};

use super::trace::{Cause, End};

/// Limit on the head of a response.
pub const MAX_HEAD: usize = 64 * 1024;

/// Largest body read to keep its connection; a connection with a larger one is closed.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Connections of one client.
#[derive(Debug)]
pub struct Lane {
    server: SocketAddr,
    /// Address to send from; none for any.
    source: Option<IpAddr>,
    room: Arc<Semaphore>,
    idle: RefCell<Vec<LaneConn>>,
    returned: Notify,
}

/// Open connection with its permit.
#[derive(Debug)]
pub struct LaneConn {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// Response: time of its first byte, outcome, and the connection if it can be reused.
#[derive(Debug)]
pub struct LaneResponse {
    /// Time of the first byte.
    pub at: Instant,
    /// Outcome.
    pub end: End,
    /// Connection, if it can be reused.
    pub connection: Option<LaneConn>,
}

impl Lane {
    /// Creates a lane without connections.
    #[must_use]
    pub fn new(server: SocketAddr, source: Option<IpAddr>, room: usize) -> Self {
        let room = Arc::new(Semaphore::new(room));
        Self { server, source, room, idle: RefCell::default(), returned: Notify::new() }
    }

    /// Opens a connection as soon as there is room and keeps it for a later request.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn prepare(&self) -> io::Result<()> {
        // The permit lives as long as the connection, so the bound holds however it ends.
        let place = self.place().await?;
        let connection = self.open(place).await?;
        self.put(connection);
        Ok(())
    }

    /// Keeps a connection for a later request.
    pub fn put(&self, connection: LaneConn) {
        self.idle.borrow_mut().push(connection);
        self.returned.notify_one();
    }

    /// Returns a prepared connection that is still open.
    #[must_use]
    pub fn ready(&self) -> Option<LaneConn> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            // A request on a connection that the server has closed meanwhile would be lost.
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Waits for a connection: a prepared one, a returned one, or a new one if there is room.
    ///
    /// # Errors
    /// When a new one cannot be opened.
    pub async fn take(&self) -> io::Result<LaneConn> {
        loop {
            if let Some(connection) = self.ready() {
                return Ok(connection);
            }
            tokio::select! {
                place = self.place() => return self.open(place?).await,
                () = self.returned.notified() => {}
            }
        }
    }

    async fn place(&self) -> io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)
    }

    async fn open(&self, place: OwnedSemaphorePermit) -> io::Result<LaneConn> {
        let socket =
            if self.server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        // With Nagle's algorithm the kernel could hold a request back after it was timed.
        socket.set_nodelay(true)?;
        Ok(LaneConn { stream: socket.connect(self.server).await?, _place: place })
    }
}

impl LaneConn {
    /// Returns true if the connection is open and no unexpected data has arrived.
    fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes as much as the kernel takes immediately and returns how much.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Writes the rest of the request and reads the response.
    pub async fn finish(mut self, left: &[u8], answers_are_bare: bool) -> LaneResponse {
        let head = match self.stream.write_all(left).await {
            Ok(()) => self.head().await,
            Err(error) => Err(error.into()),
        };
        match head {
            Err(cause) => {
                LaneResponse { at: Instant::now(), end: End::Failed(cause), connection: None }
            }
            Ok(head) => {
                let rest = if answers_are_bare { Some(0) } else { head.body_left() };
                // Read to its end, or the next response on this connection would begin with the
                // rest of this body.
                let connection = self.drain(rest.filter(|_| !head.closes)).await;
                LaneResponse { at: head.at, end: End::Answer(head.status), connection }
            }
        }
    }

    /// Reads heads until one that is not interim (RFC 9110, section 15.2).
    async fn head(&mut self) -> Result<Head, Cause> {
        let mut read = Vec::with_capacity(1_024);
        let mut at = Instant::now();
        loop {
            match Head::parse(&read, at)? {
                // 101 is interim by its number, but no further head follows it.
                Some(head) if head.status >= 200 || head.status == 101 => return Ok(head),
                // An interim head is removed, and what was read behind it stays.
                Some(head) => drop(read.drain(..head.length)),
                None if read.len() >= MAX_HEAD => return Err(Cause::Malformed),
                None => {
                    let begins = read.is_empty();
                    if self.stream.read_buf(&mut read).await? == 0 {
                        return Err(Cause::Closed);
                    }
                    at = if begins { Instant::now() } else { at };
                }
            }
        }
    }

    /// Reads the rest of a body of known length; the connection can be reused then.
    async fn drain(mut self, left: Option<u64>) -> Option<Self> {
        let left = left.filter(|left| *left <= MAX_BODY)?;
        let copied =
            tokio::io::copy(&mut (&mut self.stream).take(left), &mut tokio::io::sink()).await;
        (copied.ok()? == left).then_some(self)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Relevant parts of the head of a response.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    at: Instant,
    status: u16,
    length: usize,
    /// Announced length of the body.
    body: Option<u64>,
    /// Bytes of the body that were read with the head.
    body_read: usize,
    closes: bool,
}

impl Head {
    /// Parses the head at the beginning of `read`, once it is complete.
    fn parse(read: &[u8], at: Instant) -> Result<Option<Self>, Cause> {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        // A value may have bytes above 127 in any coding (obs-text; RFC 9110, section 5.5). The
        // fields that are read here are ASCII.
        let text = String::from_utf8_lossy(&read[..end]);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status).ok_or(Cause::Malformed)?;
        let mut head = Self {
            at,
            status,
            length: end + 4,
            body: None,
            body_read: read.len() - end - 4,
            closes: false,
        };
        // They have no body whatever they announce (RFC 9112, section 6.3).
        if matches!(status, 204 | 304) {
            head.body = Some(0);
        }
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" if head.body.is_none() => head.body = value.trim().parse().ok(),
                // Chunks are not read, so the end of such a body is not known.
                "transfer-encoding" => head.closes = true,
                "connection" => head.closes |= value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(Some(head))
    }

    fn body_left(&self) -> Option<u64> {
        // More bytes than announced: what follows is not a response that was asked for.
        self.body?.checked_sub(self.body_read as u64)
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let code = rest.split(' ').nth(1)?;
    code.parse().ok().filter(|code| code_is_http(*code))
}

fn code_is_http(code: u16) -> bool {
    (100..1_000).contains(&code)
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::lane::*;

    fn parse(text: &str) -> Result<Option<(u16, Option<u64>, bool)>, Cause> {
        let head = Head::parse(text.as_bytes(), Instant::now())?;
        Ok(head.map(|head| (head.status, head.body_left(), head.closes)))
    }

    #[test]
    fn lane_head_has_status_and_rest_of_body() {
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
            Ok(Some((200, Some(3), false)))
        );
        assert_eq!(
            parse("HTTP/1.1 503 \r\nConnection: close\r\n\r\n"),
            Ok(Some((503, None, true)))
        );
        assert_eq!(
            parse("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n"),
            Ok(Some((304, Some(0), false)))
        );
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Ok(Some((200, None, true)))
        );
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Le"), Ok(None));
    }

    #[test]
    fn lane_head_may_have_bytes_above_ascii_in_a_value() {
        let head = b"HTTP/1.1 200 OK\r\nx-name: caf\xe9\r\ncontent-length: 2\r\n\r\n";
        let head = Head::parse(head, Instant::now()).expect("a head").expect("all of it");
        assert_eq!((head.status, head.body), (200, Some(2)));
    }

    #[test]
    fn malformed_input_is_400() {
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), Err(Cause::Malformed));
        assert_eq!(parse("HTTP/1.1 20 OK\r\n\r\n"), Err(Cause::Malformed));
        assert_eq!(parse("HTTP/1.1 abc\r\n\r\n"), Err(Cause::Malformed));
    }
}
