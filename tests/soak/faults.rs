//! Everybody who does not do as they should.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    ask::{Given, ask},
    frames::{self, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, RST_STREAM},
    http1::{Client, PATIENCE},
    mark::Mark,
    peer::{self, length_of},
};

/// What goes wrong with a server, in which round.
pub type Fault = fn(SocketAddr, u32);

pub const ALL: [Fault; 6] = [
    endpoints_fail,
    clients_leave,
    clients_give_up_and_ask_again,
    streams_are_reset,
    heads_are_slow,
    floods_are_rejected,
];

/// Every one of them is told, or cut where its response had begun.
fn endpoints_fail(server: SocketAddr, _round: u32) {
    for _ in 0..8 {
        for (kind, given) in
            [("garbage", Given::Told(502)), ("reset", Given::Told(502)), ("cut", Given::Part)]
        {
            assert_eq!(ask(&mut Client::connect(server), kind), given, "{kind}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Parked, within their upload, within their download; some close, and some reset.
fn clients_leave(server: SocketAddr, _round: u32) {
    for number in 0..24 {
        let mut client = Client::from(Ipv4Addr::new(127, 0, 6, 1), server);
        let (method, kind, length) =
            [("GET", "parked", 0), ("POST", "echo", 100_000), ("GET", "large", 0)][number % 3];
        let mark = Mark::new();
        let head = format!(
            "{method} {} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n",
            mark.path(kind)
        );
        client
            .send(&[head.into_bytes(), mark.body(length / 2)].concat())
            .expect("an open connection");
        if kind == "large" {
            let mut beginning = [0; 15];
            client.stream.read_exact(&mut beginning).expect("an answer");
            assert_eq!(&beginning, b"HTTP/1.1 200 OK");
        }
        thread::sleep(Duration::from_millis(number as u64 / 3 * 3));
        let linger = (number % 2 == 0).then_some(Duration::ZERO);
        socket2::SockRef::from(client.stream.get_ref()).set_linger(linger).expect("a socket");
    }
}

/// Measures by how much the machine keeps a thread waiting that is ready to run.
struct Sleeper {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
}

impl Sleeper {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (step, mut longest) = (Duration::from_millis(1), Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(step);
                longest = longest.max(begin.elapsed().saturating_sub(step));
            }
            longest
        });
        Self { stop, thread }
    }

    fn longest_pause(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// A storm of impatient clients of one address: each asks, gives up after 60 ms and asks again.
/// What is forwarded keeps the rate, one each 50 ms, whatever leaves; a request may arrive later
/// than it was released by as much as the machine is busy, which a sleeper measures.
fn clients_give_up_and_ask_again(server: SocketAddr, _round: u32) {
    const LATE: Duration = Duration::from_millis(250);
    peer::STORM.lock().expect("no panic").clear();
    let sleeper = Sleeper::start();
    thread::scope(|scope| {
        for number in 0..24_u64 {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(number * 7));
                for _ in 0..12 {
                    let mut client = Client::from(Ipv4Addr::new(127, 0, 8, 1), server);
                    client
                        .stream
                        .get_ref()
                        .set_read_timeout(Some(Duration::from_millis(60)))
                        .expect("a socket");
                    let head =
                        format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", Mark::new().path("storm"));
                    client.send(head.as_bytes()).expect("an open connection");
                    // A response, or none in time: it asks again either way.
                    let _ = client.stream.read(&mut [0; 512]);
                }
            });
        }
    });
    let late = LATE + sleeper.longest_pause();
    let times = std::mem::take(&mut *peer::STORM.lock().expect("no panic"));
    for (first, begin) in times.iter().enumerate() {
        for (count, end) in (1..).zip(&times[first..]) {
            let window = end.duration_since(*begin) + late;
            assert!(
                count <= 1 + window.as_millis() / 50,
                "{count} requests of a storm in {window:?}"
            );
        }
    }
}

/// Eight streams at a time, of which every second one is reset before its response is there; the
/// others get theirs in full.
fn streams_are_reset(server: SocketAddr, _round: u32) {
    for _ in 0..8 {
        let mut client = TcpStream::connect(server).expect("a server that listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        client.write_all(&frames::hello(&[])).expect("an open connection");
        let streams: Vec<(u32, Mark)> =
            (0..8).map(|number| (2 * number + 1, Mark::new())).collect();
        let (kept, broken): (Vec<_>, Vec<_>) =
            streams.iter().partition(|(stream, _)| stream % 4 == 1);
        for (stream, mark) in &streams {
            client.write_all(&request(*stream, *mark, "slow")).expect("an open connection");
        }
        for (stream, _) in broken {
            let reset = frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            client.write_all(&reset).expect("an open connection");
        }
        let mut bodies: Vec<Vec<u8>> = vec![Vec::new(); 16];
        let mut answered = 0;
        while answered < kept.len() {
            let frame = read(&mut client).expect("an answer");
            if frame.kind == DATA {
                bodies[frame.stream as usize].extend_from_slice(&frame.payload);
                answered += usize::from(frame.flags & END_STREAM != 0 && frame.stream % 4 == 1);
            }
        }
        for (stream, mark) in streams {
            let body = &bodies[stream as usize];
            assert!(mark.owns(body), "a body that is another's: {}", String::from_utf8_lossy(body));
            assert!(stream % 4 == 3 || body.len() == length_of("slow"), "{} bytes", body.len());
        }
    }
}

fn request(stream: u32, mark: Mark, kind: &str) -> Vec<u8> {
    let path = mark.path(kind);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", &path)];
    frames::frame(HEADERS, END_STREAM | END_HEADERS, stream, &frames::fields(&fields))
}

fn read(client: &mut TcpStream) -> io::Result<Frame> {
    let mut head = [0; 9];
    client.read_exact(&mut head)?;
    let mut frame = frames::begun(head);
    client.read_exact(&mut frame.payload)?;
    Ok(frame)
}

/// A byte now and then, until the connection is cut.
fn heads_are_slow(server: SocketAddr, _round: u32) {
    let mut clients: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(server).expect("a server that listens")).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").expect("an open connection");
        client.set_nonblocking(true).expect("a socket");
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while !clients.is_empty() {
        assert!(std::time::Instant::now() < deadline, "{} are not cut", clients.len());
        thread::sleep(Duration::from_millis(50));
        clients.retain_mut(|client| {
            let open = matches!(client.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock);
            open && client.write_all(b"y").is_ok()
        });
    }
}

/// Three clients nobody has seen before: each has one request, and of the others it is told.
fn floods_are_rejected(server: SocketAddr, round: u32) {
    for number in 0..3 {
        let from = u32::from(Ipv4Addr::new(127, 16, 0, 1)) + 3 * round + number;
        let mut client = Client::from(Ipv4Addr::from(from), server);
        assert_eq!(ask(&mut client, "flood"), Given::Whole);
        for _ in 0..40 {
            assert_eq!(ask(&mut client, "flood"), Given::Told(503));
        }
    }
}
