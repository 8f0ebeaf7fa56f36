//! Large bodies cross in pieces: memory does not grow with them, and whoever is slow slows the
//! other side.

use std::{
    fs,
    io::{self, BufRead, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    decode::decode,
    http1::{Client, Framing, Head, PATIENCE, read_body},
    process::Weir,
    upstream::{Wire, upstream, upstream_on},
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What memory may grow by.
const FEW: u64 = 8 * MIB;
/// A prime, so that no buffer's size divides it and a piece in the wrong place shows.
const PERIOD: usize = 65_521;

/// The bytes of every body here: a pattern that repeats each [`PERIOD`].
struct Pattern {
    twice: Vec<u8>,
    at: usize,
}

impl Pattern {
    fn new() -> Self {
        let byte = |index: usize| u8::try_from((index % PERIOD) * 31 % 251).expect("below 251");
        Self { twice: (0..2 * PERIOD).map(byte).collect(), at: 0 }
    }

    fn write(&mut self, to: &mut impl Write, length: u64, framing: Framing) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(PERIOD).min(PERIOD);
            let piece = &self.twice[self.at..self.at + count];
            if framing == Framing::Chunked {
                write!(to, "{count:x}\r\n")?;
            }
            to.write_all(piece)?;
            if framing == Framing::Chunked {
                to.write_all(b"\r\n")?;
            }
            self.at = (self.at + count) % PERIOD;
            left -= count as u64;
        }
        if framing == Framing::Chunked { to.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }

    /// Holds the next piece of a body against the pattern.
    fn check(&mut self, piece: &[u8]) {
        for part in piece.chunks(PERIOD) {
            assert!(self.twice[self.at..].starts_with(part), "a byte is not what was sent");
            self.at = (self.at + part.len()) % PERIOD;
        }
    }

    fn read(&mut self, from: &mut impl BufRead, framing: Framing) -> io::Result<u64> {
        read_body(from, framing, |piece| self.check(piece))
    }
}

fn field_of(framing: Framing) -> String {
    match framing {
        Framing::Length(length) => format!("content-length: {length}"),
        _ => "transfer-encoding: chunked".to_owned(),
    }
}

fn before(upstream: SocketAddr) -> Weir {
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\", request: {{ max_body: none }} }} ]\nworkers: 1\naccess_log: {{ to: none }}\n"
    ));
    // The first exchange pays for what every exchange needs.
    exchange(&weir, "/warm", (MIB, Framing::Length(MIB)), (MIB, Framing::Length(MIB)));
    weir
}

/// An upstream that checks what it gets and sends what the target asks for: `/LENGTH/length` or
/// `/LENGTH/chunked`.
fn mirror() -> SocketAddr {
    upstream(|mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            let received = Pattern::new().read(&mut wire, head.framing(Framing::Empty))?;
            let mut words = head.second().rsplit('/');
            let framing = words.next().expect("a framing").to_owned();
            let length: u64 = words.next().and_then(|length| length.parse().ok()).unwrap_or(0);
            let framing =
                if framing == "chunked" { Framing::Chunked } else { Framing::Length(length) };
            let to = wire.get_mut();
            write!(
                to,
                "HTTP/1.1 200 OK\r\nx-received: {received}\r\n{}\r\n\r\n",
                field_of(framing)
            )?;
            Pattern::new().write(to, length, framing)?;
        }
        Ok(())
    })
}

/// Sends a body and takes one, each checked to the last byte.
fn exchange(weir: &Weir, name: &str, up: (u64, Framing), down: (u64, Framing)) {
    let word = if down.1 == Framing::Chunked { "chunked" } else { "length" };
    let mut client = Client::connect(weir.address);
    let head = format!(
        "POST {name}/{}/{word} HTTP/1.1\r\nhost: weir.test\r\n{}\r\n\r\n",
        down.0,
        field_of(up.1)
    );
    client.send(head.as_bytes()).expect("an open connection");
    Pattern::new().write(client.stream.get_mut(), up.0, up.1).expect("an open connection");
    let (status, head, framing) = client.head("POST").expect("an answer");
    assert_eq!((status, head.field("x-received")), (200, Some(&*up.0.to_string())));
    assert_eq!(framing, down.1);
    assert_eq!(Pattern::new().read(&mut client.stream, framing).expect("a whole body"), down.0);
}

fn streams(up: (u64, Framing), down: (u64, Framing)) {
    let weir = before(mirror());
    let resident = weir.memory("VmRSS");
    exchange(&weir, "/large", up, down);
    let peak = weir.memory("VmHWM");
    assert!(peak < resident + FEW, "{resident} bytes before, {peak} at the peak");
}

#[test]
fn http2_gibibyte_down_and_64_mebibytes_up() {
    streams((64 * MIB, Framing::Length(64 * MIB)), (GIB, Framing::Chunked));
}

#[test]
fn http2_gibibyte_up_and_64_mebibytes_down() {
    streams((GIB, Framing::Chunked), (64 * MIB, Framing::Length(64 * MIB)));
}

#[test]
fn framing_other_codings() {
    streams((64 * MIB, Framing::Length(64 * MIB)), (64 * MIB, Framing::Length(64 * MIB)));
    streams((64 * MIB, Framing::Chunked), (64 * MIB, Framing::Chunked));
}

/// Takes a body of this length in a coding, checked to the last byte.
fn coded(weir: &Weir, coding: &str, length: u64) {
    let mut client = Client::connect(weir.address);
    let request =
        format!("GET /{length} HTTP/1.1\r\nhost: weir.test\r\naccept-encoding: {coding}\r\n\r\n");
    client.send(request.as_bytes()).expect("an open connection");
    let (_, head, framing) = client.head("GET").expect("an answer");
    assert_eq!((head.field("content-encoding"), framing), (Some(coding), Framing::Chunked));
    let mut body = Vec::new();
    read_body(&mut client.stream, framing, |piece| body.extend_from_slice(piece))
        .expect("a whole body");
    let body = decode(coding, &body).expect("a whole body");
    assert_eq!(body.len() as u64, length);
    Pattern::new().check(&body);
}

#[test]
fn gzip_brotli_zstd_large_body_passes_in_pieces() {
    let text = upstream(|mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            let length = head.second().trim_start_matches('/').parse().map_err(io::Error::other)?;
            let framing = Framing::Length(length);
            let to = wire.get_mut();
            write!(
                to,
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{}\r\n\r\n",
                field_of(framing)
            )?;
            Pattern::new().write(to, length, framing)?;
        }
        Ok(())
    });
    let route = format!(
        "path: /, upstream: \"http://{text}\", response: {{ compress: [ zstd, br, gzip ] }}"
    );
    let weir =
        Weir::run(&format!("routes: [ {{ {route} }} ]\nworkers: 1\naccess_log: {{ to: none }}\n"));
    // The first exchange of each pays for what every exchange needs.
    ["zstd", "br", "gzip"].iter().for_each(|coding| coded(&weir, coding, MIB));
    let before = weir.memory("VmHWM");
    ["zstd", "br", "gzip"].iter().for_each(|coding| coded(&weir, coding, 64 * MIB));
    let peak = weir.memory("VmHWM");
    assert!(peak < before + FEW, "{before} bytes before, {peak} at the peak");
}

/// Writes until the other side takes no more for a while, and returns how much it took.
fn write_until_stalled(stream: &mut TcpStream, most: u64) -> io::Result<u64> {
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    let (piece, mut written) = ([b'x'; 16 * 1024], 0);
    while written < most {
        match stream.write(&piece) {
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(written)
}

/// A socket with small buffers of its own, so that little is under way beside what weir and its
/// sockets keep.
fn narrow_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("a socket");
    socket.set_send_buffer_size(64 * 1024).expect("a socket");
    socket
}

fn narrow_client(server: SocketAddr) -> Client {
    let socket = narrow_socket();
    socket.connect(&server.into()).expect("a server that listens");
    Client::over(socket.into())
}

fn narrow_upstream(serve: impl Fn(Wire) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let socket = narrow_socket();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(16).expect("a listener");
    upstream_on(socket.into(), serve)
}

/// What the kernel holds of these connections, at either end: on the way to a port, or come and not
/// read.
fn queued(ports: [u16; 2]) -> u64 {
    const LISTENING: &str = "0A";
    let hex = |digits: &str| u64::from_str_radix(digits, 16).expect("a number");
    let port = |address: &str| address.split_once(':').map_or(0, |(_, port)| hex(port));
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = |row: &Vec<&str>| {
        row[3] != LISTENING
            && ports.iter().any(|one| [port(row[1]), port(row[2])].contains(&u64::from(*one)))
    };
    rows.filter(ours)
        .filter_map(|row| row[4].split_once(':').map(|(sent, come)| hex(sent) + hex(come)))
        .sum()
}

const ENDLESS: u64 = 256 * MIB;

#[test]
fn response_backpressure_reaches_the_upstream() {
    let (tell, stalled) = channel();
    let upstream = narrow_upstream(move |mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            if head.second().starts_with("/warm") {
                read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
                write!(
                    wire.get_mut(),
                    "HTTP/1.1 200 OK\r\nx-received: {MIB}\r\ncontent-length: {MIB}\r\n\r\n"
                )?;
                Pattern::new().write(wire.get_mut(), MIB, Framing::Length(MIB))?;
                continue;
            }
            write!(wire.get_mut(), "HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n")?;
            let taken = write_until_stalled(wire.get_mut(), ENDLESS)?;
            tell.send(taken).map_err(io::Error::other)?;
            io::copy(&mut io::Read::take(io::repeat(b'x'), ENDLESS - taken), wire.get_mut())?;
        }
        Ok(())
    });
    let weir = before(upstream);
    let resident = weir.memory("VmRSS");
    let mut client = narrow_client(weir.address);
    client.send(b"GET / HTTP/1.1\r\nhost: weir.test\r\n\r\n").expect("an open connection");
    let taken = stalled.recv_timeout(PATIENCE).expect("an upstream that stalls");
    let kept = taken.saturating_sub(queued([upstream.port(), weir.address.port()]));
    assert!(kept < MIB, "of {taken} bytes the upstream sent and nobody read, {kept} are weir's");
    assert!(weir.memory("VmHWM") < resident + FEW);
    let (_, _, framing) = client.head("GET").expect("an answer");
    assert_eq!(read_body(&mut client.stream, framing, |_| {}).expect("the rest"), ENDLESS);
    assert!(weir.memory("VmHWM") < resident + FEW);
}

/// Reads nothing of a body until it may.
fn reluctant(may: Receiver<()>) -> SocketAddr {
    let may = std::sync::Mutex::new(may);
    narrow_upstream(move |mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            if !head.second().starts_with("/warm") {
                may.lock().expect("no panic").recv().map_err(io::Error::other)?;
            }
            let received = read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
            write!(
                wire.get_mut(),
                "HTTP/1.1 200 OK\r\nx-received: {received}\r\ncontent-length: {MIB}\r\n\r\n"
            )?;
            Pattern::new().write(wire.get_mut(), MIB, Framing::Length(MIB))?;
        }
        Ok(())
    })
}

#[test]
fn upload_backpressure_reaches_the_client() {
    let (allow, may): (Sender<()>, _) = channel();
    let upstream = reluctant(may);
    let weir = before(upstream);
    let resident = weir.memory("VmRSS");
    let mut client = narrow_client(weir.address);
    let head = format!("POST / HTTP/1.1\r\nhost: weir.test\r\ncontent-length: {ENDLESS}\r\n\r\n");
    client.send(head.as_bytes()).expect("an open connection");
    let taken = write_until_stalled(client.stream.get_mut(), ENDLESS).expect("an open connection");
    let kept = taken.saturating_sub(queued([upstream.port(), weir.address.port()]));
    assert!(kept < MIB, "of {taken} bytes the client sent and nobody read, {kept} are weir's");
    assert!(weir.memory("VmHWM") < resident + FEW);
    allow.send(()).expect("an upstream");
    let mut rest = client.stream.get_ref().try_clone().expect("a socket");
    let sending = thread::spawn(move || {
        io::copy(&mut io::Read::take(io::repeat(b'x'), ENDLESS - taken), &mut rest)
    });
    let answer = client.answer("POST").expect("an answer");
    sending.join().expect("no panic").expect("an open connection");
    assert_eq!(
        (answer.status, answer.head.field("x-received")),
        (200, Some(&*ENDLESS.to_string()))
    );
    assert!(weir.memory("VmHWM") < resident + FEW);
}
