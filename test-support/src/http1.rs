//! HTTP/1.1 for tests, by hand and to the byte: one reader serves clients and upstreams alike.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// No test waits longer for one read or write.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The first line and the fields of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(u64),
    Chunked,
    Close,
}

impl Head {
    /// The next head; none at the end of the connection.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(first) = line(from)? else { return Ok(None) };
        let mut fields = Vec::new();
        loop {
            let field = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if field.is_empty() {
                return Ok(Some(Self { first, fields }));
            }
            let (name, value) = field.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// The second word of the first line: a request's target, a response's status.
    pub fn second(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or("")
    }

    /// How the body is framed; `otherwise` when nothing is said.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self.field("transfer-encoding") == Some("chunked") {
            return Framing::Chunked;
        }
        self.field("content-length")
            .map_or(otherwise, |length| Framing::Length(length.parse().expect("a length")))
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    if from.read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    let text = text.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// Reads a body piece by piece and returns its length.
pub fn read_body(
    from: &mut impl BufRead,
    framing: Framing,
    mut piece: impl FnMut(&[u8]),
) -> io::Result<u64> {
    match framing {
        Framing::Empty => Ok(0),
        Framing::Length(length) => copy(from, length, &mut piece),
        Framing::Close => copy_to_end(from, &mut piece),
        Framing::Chunked => {
            let mut total = 0;
            loop {
                let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let size = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
                total += copy(from, size, &mut piece)?;
                if line(from)?.as_deref() != Some("") {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if size == 0 {
                    return Ok(total);
                }
            }
        }
    }
}

fn copy(from: &mut impl BufRead, length: u64, piece: &mut impl FnMut(&[u8])) -> io::Result<u64> {
    match copy_to_end(&mut from.take(length), piece)? {
        read if read == length => Ok(length),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn copy_to_end(from: &mut impl BufRead, piece: &mut impl FnMut(&[u8])) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Ok(total);
        }
        piece(bytes);
        let count = bytes.len();
        total += count as u64;
        from.consume(count);
    }
}

/// One connection to a server.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).expect("a server that listens"))
    }

    /// From a loopback address of its own.
    pub fn from(source: Ipv4Addr, server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("a loopback address");
        socket.connect(&server.into()).expect("a server that listens");
        Self::over(socket.into())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream: BufReader::with_capacity(64 * 1024, stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The head of the next response, and how its body is framed.
    pub fn head(&mut self, method: &str) -> io::Result<(u16, Head, Framing)> {
        loop {
            let head = Head::read(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status: u16 = head.second().parse().map_err(io::Error::other)?;
            if status >= 200 {
                let bare = method == "HEAD" || status == 204 || status == 304;
                let framing = if bare { Framing::Empty } else { head.framing(Framing::Close) };
                return Ok((status, head, framing));
            }
        }
    }

    pub fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let (status, head, framing) = self.head(method)?;
        let mut body = Vec::new();
        read_body(&mut self.stream, framing, |piece| body.extend_from_slice(piece))?;
        Ok(Answer { status, head, body })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: weir.test\r\n\r\n").as_bytes())?;
        self.answer("GET")
    }

    /// Whether the server has closed, once it does or says something.
    pub fn is_closed(&mut self) -> bool {
        self.stream.fill_buf().is_ok_and(<[u8]>::is_empty)
    }
}

/// One GET on a connection of its own.
pub fn get(server: SocketAddr, path: &str) -> Answer {
    Client::connect(server).get(path).expect("an answer")
}
