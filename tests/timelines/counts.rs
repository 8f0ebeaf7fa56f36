//! What noise cannot touch: the system calls of the real binary per keep-alive request, counted by
//! strace.
//!
//! strace writes every call down. Requests for `/first` and `/last` go before and after those that
//! count and are found in what was read, so neither the start nor the end is part of it. Wake-ups
//! of weir's coarse timers are not counted: how many there are depends on how fast the machine is,
//! not on the requests. They are the waits that had a time-out and ended by it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

const REQUESTS: usize = 2_000;
const WARM_UP: usize = 100;
/// Per run, not per request: a table that grows, memory given back, a task that was woken by
/// another thread.
const SLACK: usize = REQUESTS / 50;

/// An upstream that responds to everything with the same bytes and keeps its connections.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || while answer(&mut stream).is_some() {});
        }
    });
    address
}

fn answer(stream: &mut TcpStream) -> Option<()> {
    read_head(stream)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").ok()
}

/// Reads to the end of a message's head, and says what it was with whatever came behind it.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => text.extend_from_slice(&piece[..count]),
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// weir under strace, and the address it listens on.
fn traced(folder: &Path, limit: &str, rate: &str) -> (Child, SocketAddr) {
    let config = format!(
        "listeners: [ {{ address: '127.0.0.1:0', max_connections: 1000, max_connections_per_client: 1000 }} ]\nworkers: 1\naccess_log: {{ to: none }}\nreject: {{ body: none }}\n\
         zones: {{ per_client: {{ key: client_ip, rate: {rate} }} }}\n\
         upstreams: {{ one: {{ endpoints: [ '{}' ], keepalive: {{ idle: 1h }} }} }}\n\
         routes: [ {{ path: /, upstream: one, limits: [ {{ zone: per_client, {limit} }} ] }} ]\n",
        upstream()
    );
    let file = folder.join("weir.yaml");
    fs::write(&file, config).expect("a writable folder");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-s", "16", "-o"]).arg(folder.join("calls"));
    strace.arg(env!("CARGO_BIN_EXE_weir")).arg("run").arg("-c").arg(&file).stderr(Stdio::piped());
    let mut child =
        strace.spawn().expect("strace is installed: it is in Debian's package `strace`");
    let said = BufReader::new(child.stderr.take().expect("its standard error"));
    let mut lines = said.lines().map(|line| line.expect("text"));
    let listening =
        lines.find(|line| line.contains("listening")).expect("weir starts; strace may trace");
    thread::spawn(move || lines.for_each(drop));
    let port: String = listening
        .split("127.0.0.1:")
        .nth(1)
        .expect("the address")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (child, SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))))
}

fn get(stream: &mut TcpStream, path: &str, status: &str) {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"), status);
}

fn post(stream: &mut TcpStream, path: &str, status: &str) {
    ask(
        stream,
        &format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello"),
        status,
    );
}

fn ask(stream: &mut TcpStream, request: &str, status: &str) {
    stream.write_all(request.as_bytes()).expect("weir reads");
    let mut answer = read_head(stream).expect("an answer");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    while status == "200" && !answer.ends_with("ok\n") {
        let mut rest = [0; 3];
        let count = stream.read(&mut rest).expect("the body");
        answer.push_str(&String::from_utf8_lossy(&rest[..count]));
    }
}

/// The calls weir made for `REQUESTS` requests on one connection, each with a response of `status`.
fn calls(
    limit: &str,
    rate: &str,
    (ask, status): (fn(&mut TcpStream, &str, &str), &str),
) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut strace, address) = traced(folder.path(), limit, rate);
    let mut client = TcpStream::connect(address).expect("weir listens");
    client.set_nodelay(true).expect("a socket");
    get(&mut client, "/", "200");
    (0..WARM_UP).for_each(|_| ask(&mut client, "/", status));
    get(&mut client, "/first", status);
    (0..REQUESTS).for_each(|_| ask(&mut client, "/", status));
    get(&mut client, "/last", status);
    drop(client);
    let weir = fs::read_to_string(folder.path().join("calls")).expect("what strace wrote");
    let process = weir.split_whitespace().next().expect("its first call").to_owned();
    let told = Command::new("kill").arg(process).status().expect("`kill` runs");
    assert!(told.success());
    assert!(strace.wait().expect("strace ends").success());
    between_marks(&fs::read_to_string(folder.path().join("calls")).expect("what strace wrote"))
}

/// The names of the calls between the marks, without wake-ups of timers.
fn between_marks(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .skip_while(|line| !line.contains("\"GET /first"))
        .take_while(|line| !line.contains("\"GET /last"));
    let begun = lines.filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim_start());
    let counted = begun.filter(|call| {
        !call.starts_with("<...") && !call.starts_with(['-', '+']) && !is_timer(call)
    });
    counted.map(|call| call.split('(').next().unwrap_or(call).to_owned()).collect()
}

/// A wait that had a time-out and ended by it; one that only looks (`, 0) = 0`) is part of the
/// work.
fn is_timer(call: &str) -> bool {
    call.starts_with("epoll_wait(") && call.ends_with(" = 0") && !call.contains(", 0) ")
}

fn assert_at_most(calls: &[String], each: usize) {
    let mut names = calls.to_vec();
    names.sort();
    let by_name =
        names.chunk_by(|one, other| one == other).map(|same| (same[0].as_str(), same.len()));
    let by_name: Vec<_> = by_name.collect();
    assert!(
        calls.len() <= REQUESTS * each + SLACK,
        "{} calls for {REQUESTS} requests: {by_name:?}",
        calls.len()
    );
    assert!(
        calls.len() >= REQUESTS * 3 - SLACK,
        "{} calls: not all were seen: {by_name:?}",
        calls.len()
    );
}

#[test]
fn syscalls_of_keepalive_get_at_most_seven() {
    assert_at_most(&calls("burst: 100000, nodelay: true", "1000000r/s", (get, "200")), 7);
}

/// The body goes to the endpoint with its head, and the response to the client in one piece too.
#[test]
fn syscalls_of_post_are_those_of_get_and_two_writes() {
    let calls = calls("burst: 100000, nodelay: true", "1000000r/s", (post, "200"));
    assert_at_most(&calls, 7);
    let writes = calls
        .iter()
        .filter(|name| ["write", "writev", "sendto", "sendmsg"].contains(&name.as_str()))
        .count();
    assert!(writes <= REQUESTS * 2 + SLACK, "{writes} writes for {REQUESTS} requests");
}

#[test]
fn syscalls_of_reject_at_most_three() {
    assert_at_most(&calls("burst: 0", "1r/d", (get, "503")), 3);
}

/// weir with 80 descriptors and 300 clients at once, of which it would take all: it lives, makes no
/// more calls than there are connections, and serves again once they are gone.
#[test]
fn no_descriptor_left_costs_a_few_calls_a_connection_and_nothing_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut strace, address) = traced(folder.path(), "burst: 100000, nodelay: true", "1000000r/s");
    let trace = || fs::read_to_string(folder.path().join("calls")).expect("what strace wrote");
    let weir = trace().split_whitespace().next().expect("its first call").to_owned();
    let limited = Command::new("prlimit")
        .args(["--pid", &weir, "--nofile=80"])
        .status()
        .expect("`prlimit` of util-linux runs");
    assert!(limited.success());
    let mut first = TcpStream::connect(address).expect("weir listens");
    get(&mut first, "/", "200");
    let mut clients: Vec<_> =
        (0..300).map(|_| TcpStream::connect(address).expect("weir listens")).collect();
    // The last one to connect is told by the close; whoever was accepted gets a response.
    let closed = clients.last_mut().map(|client| client.read(&mut [0; 1]).map_or(0, |count| count));
    assert_eq!(closed, Some(0));
    get(&mut first, "/", "200");
    for mut client in clients {
        // Those that were refused are closed already.
        let _refused = client.shutdown(std::net::Shutdown::Write);
        let _reset = client.read_to_end(&mut Vec::new());
    }
    let mut again = TcpStream::connect(address).expect("weir listens");
    get(&mut again, "/last", "200");
    let told = Command::new("kill").arg(&weir).status().expect("`kill` runs");
    assert!(told.success() && strace.wait().expect("strace ends").success());
    let (all, refused) = (trace(), "EMFILE");
    let accepts = all.lines().filter(|line| line.contains("accept4(")).count();
    assert!(all.contains(refused), "descriptors never ran out");
    assert!(accepts <= 302 * 4, "{accepts} calls to accept for 302 connections");
}

#[test]
fn timers_and_what_goes_on_are_not_counted() {
    let trace = "7 read(3, \"GET /\", 9) = 5\n7 recvfrom(3, \"GET /first HTTP/\", 9) = 9\n8 futex(1 <unfinished ...>\n7 epoll_wait(5, \
                 [], 1024, 213) = 0\n7 epoll_wait(5, [], 1024, 0) = 0\n8 <... futex resumed>) = 0\n7 --- SIGTERM {} ---\n7 recvfrom(3, \
                 \"GET /last HTTP/1\", 9) = 9\n";
    assert_eq!(between_marks(trace), ["recvfrom", "futex", "epoll_wait"]);
}
