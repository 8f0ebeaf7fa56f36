//! Signals: what is under way is finished, nothing new begins, and a second one means now.

use std::{
    fs,
    io::{self, BufRead, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use socket2::{SockRef, TcpKeepalive};

use crate::{
    frames,
    http1::{Answer, Client, Head, PATIENCE},
    process::Weir,
    upstream::upstream,
};

/// An upstream that tells of each request and responds when it is allowed to.
struct Slow {
    address: SocketAddr,
    asked: Receiver<String>,
    allow: Sender<()>,
}

fn slow() -> Slow {
    let (tell, asked) = channel();
    let (allow, allowed) = channel();
    let allowed = Mutex::new(allowed);
    let address = upstream(move |mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            tell.send(head.second().to_owned()).map_err(io::Error::other)?;
            allowed.lock().expect("no panic").recv().map_err(io::Error::other)?;
            wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    Slow { address, asked, allow }
}

impl Slow {
    fn is_asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }
}

/// With so long to drain that no test waits for it: what ends, ends before its time is up.
fn patient(upstream: SocketAddr) -> String {
    format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n")
}

fn ask(weir: &Weir, path: &str) -> Client {
    let mut client = Client::connect(weir.address);
    client
        .send(format!("GET {path} HTTP/1.1\r\nhost: weir.test\r\n\r\n").as_bytes())
        .expect("an open connection");
    client
}

fn answer(client: &mut Client) -> Answer {
    client.answer("GET").expect("an answer")
}

/// Whoever still gets in between is let go without a response, or reset by the kernel when it came
/// as the listener closed. Where it came at that very moment, the kernel forgets it and does not
/// say so before it is asked: so it is asked.
pub fn refuses_soon(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            Ok(stream) => {
                let asking = TcpKeepalive::new()
                    .with_time(Duration::from_secs(1))
                    .with_interval(Duration::from_secs(1));
                SockRef::from(&stream).set_tcp_keepalive(&asking).expect("a socket");
                assert!(Client::over(stream).head("GET").is_err());
            }
        }
        assert!(Instant::now() < deadline, "{address} still listens");
    }
}

fn drains_on(signal: Signal) {
    let upstream = slow();
    let mut weir = Weir::run(&patient(upstream.address));
    let mut idle = Client::connect(weir.address);
    let mut under_way = ask(&weir, "/slow");
    upstream.is_asked();
    weir.signal(signal);
    weir.says("draining: finishing requests in progress");
    assert!(idle.is_closed(), "a connection without a request ends");
    drop(idle);
    refuses_soon(weir.address);
    upstream.allow.send(()).expect("an upstream");
    let last = answer(&mut under_way);
    assert_eq!(
        (last.status, last.head.field("connection"), &*last.body),
        (200, Some("close"), &b"ok"[..])
    );
    drop(under_way);
    assert_eq!(weir.ended().code(), Some(0));
}

#[test]
fn term_drains() {
    drains_on(Signal::TERM);
}

#[test]
fn int_drains() {
    drains_on(Signal::INT);
}

#[test]
fn quit_drains() {
    drains_on(Signal::QUIT);
}

#[test]
fn shutdown_second_signal_stops_immediately() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::QUIT)] {
        let upstream = slow();
        let mut weir = Weir::run(&patient(upstream.address));
        let mut under_way = ask(&weir, "/slow");
        upstream.is_asked();
        weir.signal(first);
        weir.says("draining: finishing requests in progress");
        weir.signal(second);
        assert_eq!(weir.ended().code(), Some(130));
        assert!(under_way.answer("GET").is_err());
    }
}

/// A client that was told `connection: close` and stays is waited for, but only for a second.
#[test]
fn shutdown_does_not_wait_for_client_to_close() {
    let (upstream, _) = crate::upstream::noting();
    let mut weir = Weir::run(&patient(upstream));
    let mut stays = ask(&weir, "/");
    assert_eq!(answer(&mut stays).status, 200);
    weir.signal(Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
}

#[test]
fn shutdown_when_idle_is_immediate() {
    let mut weir = Weir::run(&patient(SocketAddr::from(([127, 0, 0, 1], 9))));
    weir.signal(Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
}

#[test]
fn parked_requests_whose_turn_comes_in_time_are_served_and_the_others_rejected_at_once() {
    let (upstream, _) = crate::upstream::noting();
    let mut weir = Weir::run(&format!(
        "zones: {{ all: {{ key: global, rate: 20r/m }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 9 }} ] }} ]\n\
         drain: 7500ms\nworkers: 1\n"
    ));
    // The first one passes; its response is proof that the others come later. The next turn is
    // after three seconds: all are there by then.
    assert_eq!(answer(&mut ask(&weir, "/")).status, 200);
    let mut parked: Vec<Client> = (0..6).map(|_| ask(&weir, "/")).collect();
    // Rejected on arrival, behind them all: they are parked now.
    let mut full: Vec<Client> = (0..4).map(|_| ask(&weir, "/")).collect();
    assert_eq!(answer(&mut full[3]).status, 503);
    weir.signal(Signal::TERM);
    let waiting = parked.drain(..).chain(full.drain(..3));
    let asking: Vec<_> = waiting
        .map(|mut client| thread::spawn(move || (answer(&mut client), Instant::now())))
        .collect();
    let answers: Vec<(Answer, Instant)> =
        asking.into_iter().map(|one| one.join().expect("no panic")).collect();
    let served: Vec<_> = answers.iter().filter(|(answer, _)| answer.status == 200).collect();
    assert!((2..=3).contains(&served.len()), "{answers:?}");
    assert!(served.iter().all(|(answer, _)| answer.head.field("connection") == Some("close")));
    let last = served.iter().map(|(_, at)| *at).max();
    for (answer, at) in answers.iter().filter(|(answer, _)| answer.status != 200) {
        assert_eq!((answer.status, answer.head.field("retry-after").is_some()), (503, true));
        assert!(Some(*at) < last, "{answers:?}");
    }
    assert_eq!(weir.ended().code(), Some(0));
}

/// What the access log says of each request that was cut: its path, its status and whose fault it
/// was.
fn cut(lines: &str) -> Vec<(String, u64, String)> {
    let told =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let told = told.filter(|line| line["error"]["kind"] == "destination_unavailable");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let told = told.map(|line| {
        (text(&line["path"]), line["status"].as_u64().unwrap_or(0), text(&line["error"]["side"]))
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

/// One request without a response, one within it, one parked, one over HTTP/2 and a head that is
/// not whole are under way as the process ends.
fn lines_of_a_stop(drain: &str, signals: usize) -> (Option<i32>, Vec<(String, u64, String)>) {
    let (tell, asked) = channel();
    let upstream = upstream(move |mut wire| {
        let head = Head::read(&mut wire)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.second() == "/begun" {
            wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbe")?;
        }
        tell.send(()).map_err(io::Error::other)?;
        Head::read(&mut wire).map(|_| ())
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let mut weir = Weir::run(&format!(
        "zones: {{ all: {{ key: global, rate: 1r/m }} }}\nroutes:\n- {{ path: /, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /parked, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 1, max_wait: 1h }} ] }}\n\
         access_log: {{ to: {} }}\ndrain: {drain}\nworkers: 2\n",
        log.display()
    ));
    let begun: Vec<Client> = ["/silent", "/begun", "/parked"].map(|path| ask(&weir, path)).into();
    let mut over_http2 = Client::connect(weir.address);
    let fields = frames::fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/stream"),
    ]);
    let get = frames::frame(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &fields);
    over_http2.send(&[frames::hello(&[]), get].concat()).expect("an open connection");
    for _ in 0..4 {
        asked.recv_timeout(PATIENCE).expect("a request");
    }
    let mut head = Client::connect(weir.address);
    // Both are one read: with the first response it is certain that the beginning of the second
    // head was read.
    head.send(
        b"OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\nGET /head HTTP/1.1\r\nhost: a",
    )
    .expect("an open connection");
    assert_eq!(answer(&mut head).status, 200);
    let parked = (signals > 1).then(|| one_of_two_is_parked(&weir));
    for _ in 0..signals {
        weir.signal(Signal::TERM);
        weir.says("draining: finishing requests in progress");
    }
    let code = weir.ended().code();
    drop((begun, parked, head));
    (code, cut(&fs::read_to_string(log).expect("a log")))
}

/// There is one place to wait in: as soon as one of two is rejected, the other one is parked.
fn one_of_two_is_parked(weir: &Weir) -> [Client; 2] {
    let mut both = [ask(weir, "/parked"), ask(weir, "/parked")];
    let deadline = Instant::now() + PATIENCE;
    let short = Some(Duration::from_millis(20));
    both.iter()
        .for_each(|client| client.stream.get_ref().set_read_timeout(short).expect("a socket"));
    while !both
        .iter_mut()
        .any(|client| client.stream.fill_buf().is_ok_and(|said| said.starts_with(b"HTTP/1.1 503")))
    {
        assert!(Instant::now() < deadline, "none is rejected");
    }
    both
}

fn told(path: &str, status: u64) -> (String, u64, String) {
    (path.to_owned(), status, "proxy".to_owned())
}

#[test]
fn requests_cut_at_the_end_of_a_drain_leave_a_line_each() {
    let (code, lines) = lines_of_a_stop("300ms", 1);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        [
            told("/begun", 200),
            told("/head", 503),
            told("/parked", 503),
            told("/silent", 503),
            told("/stream", 503)
        ]
    );
}

#[test]
fn requests_cut_by_a_second_signal_leave_a_line_each() {
    let (code, lines) = lines_of_a_stop("1h", 2);
    assert_eq!(code, Some(130));
    let parked = told("/parked", 503);
    assert_eq!(
        lines,
        [
            told("/begun", 200),
            told("/head", 503),
            parked.clone(),
            parked,
            told("/silent", 503),
            told("/stream", 503)
        ]
    );
}
