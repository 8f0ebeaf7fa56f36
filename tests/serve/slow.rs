//! A thousand clients that are slow on purpose: each is cut at its time-out, and whoever is not
//! slow is served beside them.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{http1, process::Weir, upstream::upstream};

/// What a slow client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    /// The end of its head: that comes a byte at a time.
    Head,
    /// Its body, of which nothing comes.
    Body,
    /// To take its response, which is large.
    Read,
}

/// How many of each. Those that take nothing are fewer: each has the kernels keep 3 MB for it.
const HOW_MANY: [(Slow, u32); 3] = [(Slow::Head, 450), (Slow::Body, 450), (Slow::Read, 100)];
/// More than the kernels keep of a response nobody takes.
const MUCH: u64 = 16 << 20;
/// What each is given here, in seconds; by default it is 10 and 30.
const TIMEOUT: Duration = Duration::from_secs(2);

struct Client {
    kind: Slow,
    stream: TcpStream,
    begun: Instant,
    cut: Option<Duration>,
}

impl Client {
    fn begin(kind: Slow, number: u32, server: SocketAddr) -> Self {
        let begun = Instant::now();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // A hundred to an address: fewer than each may have.
        let address = u32::from(Ipv4Addr::new(127, 0, 2, 0)) + number / 100;
        socket
            .bind(&SocketAddr::from((Ipv4Addr::from(address), 0)).into())
            .expect("a loopback address");
        socket.set_recv_buffer_size(4096).expect("a socket");
        socket.connect(&server.into()).expect("a server that listens");
        let mut stream = TcpStream::from(socket);
        let said: &[u8] = match kind {
            Slow::Head => b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
            Slow::Body => b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n",
            Slow::Read => b"GET /much HTTP/1.1\r\nhost: a\r\n\r\n",
        };
        stream.write_all(said).expect("an open connection");
        stream.set_nonblocking(true).expect("a socket");
        Self { kind, stream, begun, cut: None }
    }

    /// Goes on being slow, and notes when it was cut. One that does not read cannot know.
    fn look(&mut self) {
        let over = match self.kind {
            Slow::Head => self.stream.write_all(b"y").is_err() || self.is_closed(),
            Slow::Body => self.is_closed(),
            Slow::Read => return,
        };
        if over && self.cut.is_none() {
            self.cut = Some(self.begun.elapsed());
        }
    }

    /// Whether the other side closed; a response that says so is read over.
    fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// How much there is for it to read up to the end.
    fn rest(mut self) -> u64 {
        self.stream.set_nonblocking(false).expect("a socket");
        self.stream.set_read_timeout(Some(http1::PATIENCE)).expect("a socket");
        let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return read,
                Ok(count) => read += count as u64,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return read,
                Err(error) => panic!("after {read} bytes: {error}"),
            }
        }
    }
}

/// Responds with `ok`, or very much.
fn generous() -> SocketAddr {
    upstream(|mut wire| {
        while let Some(head) = http1::Head::read(&mut wire)? {
            http1::read_body(&mut wire, head.framing(http1::Framing::Empty), |_| {})?;
            let length = if head.second() == "/much" { MUCH } else { 2 };
            write!(wire.get_mut(), "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            io::copy(&mut io::repeat(b'x').take(length), wire.get_mut())?;
        }
        Ok(())
    })
}

/// Asks until it is over; how often, and how long the slowest response took.
pub fn ask_well(server: SocketAddr, over: &AtomicBool) -> (u32, Duration) {
    let (mut client, mut asked, mut slowest) = (http1::Client::connect(server), 0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        assert_eq!(client.get("/").expect("an answer").status, 200);
        (asked, slowest) = (asked + 1, slowest.max(begun.elapsed()));
        thread::sleep(Duration::from_millis(5));
    }
    (asked, slowest)
}

#[test]
fn slow_clients_by_the_thousand_are_cut_and_a_good_one_served() {
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{}\" }} ]\naccess_log: {{ to: none }}\n\
         timeouts: {{ header: 2s, body: 2s, write: 2s }}\n",
        generous()
    ));
    assert_eq!(http1::get(weir.address, "/").status, 200);
    let (descriptors, memory, over) =
        (weir.descriptors(), weir.memory("VmRSS"), AtomicBool::new(false));
    thread::scope(|scope| {
        let good = scope.spawn(|| ask_well(weir.address, &over));
        let kinds = HOW_MANY
            .into_iter()
            .flat_map(|(kind, count)| std::iter::repeat_n(kind, count as usize));
        let mut clients: Vec<Client> = kinds
            .zip(0..)
            .map(|(kind, number)| Client::begin(kind, number, weir.address))
            .collect();
        let deadline = Instant::now() + http1::PATIENCE;
        let mut most = 0;
        let owing = |client: &Client| client.kind != Slow::Read && client.cut.is_none();
        // The good client's connection and its endpoint's are all that is left then: a reader that
        // was not cut would get the rest.
        while clients.iter().any(owing) || weir.descriptors() > descriptors + 2 {
            clients.iter_mut().for_each(Client::look);
            most = most.max(weir.memory("VmRSS").saturating_sub(memory));
            assert!(
                Instant::now() < deadline,
                "{} descriptors, {descriptors} before",
                weir.descriptors()
            );
            thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        let (asked, slowest) = good.join().expect("every answer is good");
        println!("{asked} good answers, the slowest after {slowest:?}; {most} bytes more");
        assert!(
            asked > 20 && most < 128 << 20,
            "{asked} answers, {most} bytes for {} slow clients",
            clients.len()
        );
        for client in clients {
            match client.kind {
                Slow::Read => assert!(client.rest() < MUCH),
                kind => assert!(
                    client.cut.is_some_and(|cut| cut >= TIMEOUT),
                    "{kind:?}: {:?}",
                    client.cut
                ),
            }
        }
    });
}
