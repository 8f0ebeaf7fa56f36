//! What a client of HTTP/1.1 notices of another one that abuses HTTP/2, or uploads what is refused,
//! and what that costs in memory.
//!
//! `cargo bench --bench hostile` measures the `weir` of the bench profile;
//! `-- --rounds 9 --only "rapid reset"` as it says. weir has core 0 and one worker; two abusers who
//! reconnect whenever their connection ends, the good client and the origin share core 1, the last
//! two ahead of the abusers. The good client asks again as soon as it gets a response, so that what
//! a hypervisor takes now and then is far less than one request in a hundred. A round is: calm,
//! beside, beside, calm. `docs/benchmarks.md` has results.

#![allow(clippy::print_stdout, reason = "the table is the point")]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_test::{
    frames::{
        self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, get,
    },
    process::Weir,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const ABUSERS: usize = 2;
/// How long one measurement takes.
const TIME: Duration = Duration::from_millis(500);
/// How long the machine is left alone before each: a hypervisor takes back what was used without a
/// pause.
const PAUSE: Duration = Duration::from_millis(1000);
/// How many pieces an abuser sends at once.
const AT_ONCE: u32 = 16;

/// An upload of 16 MiB, 16 times as much as a route takes, in pieces.
const UPLOAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 16777216\r\n\r\n";
const UPLOAD_PIECE: usize = 64 * 1024;
const UPLOAD_PIECES: u32 = 256;

/// A way to abuse HTTP/2, or HTTP/1.1.
struct Abuse {
    name: &'static str,
    settings: Vec<(u16, u32)>,
    /// A head of HTTP/1.1 in place of the settings, and how many pieces follow it on a connection.
    upload: Option<(&'static [u8], u32)>,
    /// True if the abuser reads its responses.
    reads: bool,
    /// What is sent, piece after piece.
    piece: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
}

fn abuse(name: &'static str, piece: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Abuse {
    Abuse { name, settings: Vec::new(), upload: None, reads: true, piece: Box::new(piece) }
}

fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&[&GET[..], more].concat()))
}

/// One field in the table, named 4000 times with a byte each.
fn bomb() -> Vec<u8> {
    let mut field = fields(&[("b", &"z".repeat(100))]);
    field[0] = 0x40;
    [fields(&GET), field, vec![0xbe; 4000]].concat()
}

fn abuses() -> Vec<Abuse> {
    let (bomb, many) = (bomb(), vec![("x", "1"); 300]);
    let post = [(":method", "POST"), GET[1], GET[2], GET[3]];
    let stalled = Abuse {
        settings: vec![(4, 0)],
        reads: false,
        ..abuse(
            "window stall",
            |n| if n < 100 { get(2 * n + 1) } else { frame(PING, 1, 0, &[0; 8]) },
        )
    };
    let one_byte = |n: u32| {
        if n < 100 {
            get(2 * n + 1)
        } else {
            frame(WINDOW_UPDATE, 0, 2 * (n % 100) + 1, &1_u32.to_be_bytes())
        }
    };
    vec![
        abuse("rapid reset", |n| {
            [get(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes())].concat()
        }),
        abuse("made you reset", |n| {
            [get(2 * n + 1), frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0; 4])].concat()
        }),
        abuse("continuation flood", |n| match n {
            0 => frame(HEADERS, END_STREAM, 1, &fields(&GET)),
            _ => frame(CONTINUATION, 0, 1, &fields(&[("x", "y")])),
        }),
        abuse("ping flood", |_| frame(PING, 0, 0, &[0; 8])),
        abuse("settings flood", |_| frame(SETTINGS, 0, 0, &[])),
        abuse("priority flood", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        abuse("empty data flood", move |n| match n {
            0 => frame(HEADERS, END_HEADERS, 1, &fields(&post)),
            _ => frame(DATA, 0, 1, &[]),
        }),
        abuse("malformed requests", |n| request(2 * n + 1, &[("connection", "close")])),
        abuse("bytes that no value may have", |n| request(2 * n + 1, &[("x", "\x01")])),
        abuse("fields of no table", |n| {
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &[0x80])
        }),
        abuse("field bomb", move |n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &bomb)),
        abuse("too many fields", move |n| request(2 * n + 1, &many)),
        Abuse { settings: vec![(4, 1)], ..abuse("windows of one byte", one_byte) },
        stalled,
        Abuse {
            upload: Some((UPLOAD, UPLOAD_PIECES)),
            ..abuse("rejected uploads", |_| vec![0; UPLOAD_PIECE])
        },
    ]
}

/// Puts this thread ahead of all that are not.
fn hurry() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
    let id = thread.file_name().and_then(|name| name.to_str()).expect("a number");
    let done =
        Command::new("chrt").args(["-R", "-f", "-p", "20", id]).stdout(Stdio::null()).status();
    assert!(done.expect("`chrt`, of util-linux").success(), "`chrt` needs to be root");
}

fn pin(process: u32, core: &str) {
    let done = Command::new("taskset")
        .args(["-apc", core, &process.to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(done.expect("`taskset`, of util-linux").success(), "two cores are needed");
}

/// Responds with `ok`, on a thread of its own.
fn origin() -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        hurry();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody who waits");
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                tokio::task::spawn_local(async move {
                    let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
                    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                        read.extend_from_slice(&chunk[..count]);
                        while let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")
                        {
                            read.drain(..end + 4);
                            if stream.write_all(ANSWER).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
    });
    address.recv().expect("an origin")
}

/// Time of each request of a client that asks again as soon as it gets a response, in order of
/// that, in milliseconds.
fn good(weir: SocketAddr) -> Vec<f64> {
    let mut stream = TcpStream::connect(weir).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let (start, mut took, mut chunk) = (Instant::now(), Vec::new(), [0; 4096]);
    while start.elapsed() < TIME {
        let (sent, mut answer) = (Instant::now(), Vec::new());
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("an open connection");
        while !answer.ends_with(b"\r\n\r\nok") {
            let count = stream.read(&mut chunk).expect("an open connection");
            assert!(count > 0, "a good client was cut");
            answer.extend_from_slice(&chunk[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        took.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    took
}

/// Abuses until it is over; how many connections that took.
fn abuse_until(over: &AtomicBool, weir: SocketAddr, abuse: &Abuse) -> usize {
    let mut connections = 0;
    while !over.load(Relaxed) {
        let Ok(mut stream) = TcpStream::connect(weir) else { continue };
        connections += 1;
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
        let reader = abuse.reads.then(|| {
            let mut answers = stream.try_clone().expect("a descriptor");
            thread::spawn(
                move || while answers.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {},
            )
        });
        let (mut bytes, pieces) = match abuse.upload {
            Some((head, pieces)) => (head.to_vec(), pieces),
            None => (frames::hello(&abuse.settings), 1 << 29),
        };
        for number in (0..=pieces).step_by(AT_ONCE as usize) {
            if over.load(Relaxed) || stream.write_all(&bytes).is_err() {
                break;
            }
            bytes = (number..number + AT_ONCE).flat_map(&abuse.piece).collect();
        }
        // One that is gone already is not closed.
        let _ = stream.shutdown(Shutdown::Both);
        if let Some(reader) = reader {
            reader.join().expect("no panic");
        }
    }
    connections
}

/// What a good client notices while others abuse, and how many connections these took.
fn beside(weir: SocketAddr, abuse: &Abuse) -> (Vec<f64>, usize) {
    thread::sleep(PAUSE);
    let (over, connections) = (AtomicBool::new(false), AtomicUsize::new(0));
    let took = thread::scope(|scope| {
        for _ in 0..ABUSERS {
            scope.spawn(|| connections.fetch_add(abuse_until(&over, weir, abuse), Relaxed));
        }
        thread::sleep(Duration::from_millis(100));
        let took = hurried(weir);
        over.store(true, Relaxed);
        took
    });
    (took, connections.into_inner())
}

/// What a good client notices while nobody abuses.
fn alone(weir: SocketAddr) -> Vec<f64> {
    thread::sleep(PAUSE);
    hurried(weir)
}

fn hurried(weir: SocketAddr) -> Vec<f64> {
    let good = move || {
        hurry();
        good(weir)
    };
    thread::spawn(good).join().expect("no panic")
}

fn of(took: &[f64], percent: usize) -> f64 {
    took[took.len() * percent / 100]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1))
    };
    let rounds: usize =
        after("--rounds").map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let wanted = |abuse: &Abuse| after("--only").is_none_or(|only| only == abuse.name);

    pin(std::process::id(), "1");
    let origin = origin();
    let config = format!(
        "workers: 1\nroutes: [ {{ path: /, upstream: \"http://{origin}\" }} ]\naccess_log: {{ to: none }}\n"
    );
    let weir = Weir::run(&config);
    pin(u32::try_from(weir.pid().as_raw_nonzero().get()).expect("a process"), "0");
    println!(
        "| abuse | calm p50, p99 [ms] | beside p50, p99 [ms] | p99 beside / calm | requests beside | connections | RSS |"
    );
    println!("|---|---|---|---|---|---|---|");
    hurried(weir.address);
    for abuse in abuses().iter().filter(|abuse| wanted(abuse)) {
        let before = weir.memory("VmRSS");
        let (mut calm, mut hostile, mut ratios, mut connections, mut requests) =
            (Vec::new(), Vec::new(), Vec::new(), 0, 0);
        for _ in 0..rounds {
            let first = alone(weir.address);
            let both = [(); 2].map(|()| beside(weir.address, abuse));
            let last = alone(weir.address);
            for (still, (loud, count)) in [first, last].into_iter().zip(both) {
                ratios.push(of(&loud, 99) / of(&still, 99));
                connections += count;
                requests += loud.len();
                calm.push((of(&still, 50), of(&still, 99)));
                hostile.push((of(&loud, 50), of(&loud, 99)));
            }
        }
        let of_both = |all: &[(f64, f64)]| {
            let (middle, late): (Vec<_>, Vec<_>) = all.iter().copied().unzip();
            format!("{:.2}, {:.2}", median(middle), median(late))
        };
        let (calm, hostile, ratio) = (of_both(&calm), of_both(&hostile), median(ratios));
        let grown = weir.memory("VmRSS").saturating_sub(before) >> 20;
        println!(
            "| {} | {calm} | {hostile} | {ratio:.1} | {requests} | {connections} | +{grown} MiB |",
            abuse.name
        );
    }
}
