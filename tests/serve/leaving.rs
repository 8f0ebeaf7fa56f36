//! Parked uploads whose clients leave, over real sockets: the kernel tells an end that nobody has
//! read up to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName, version::TLS13};
use serde_json::Value;
use socket2::SockRef;

use crate::{
    certificates::Authority,
    http1::{PATIENCE, get},
    process::Weir,
    upstream::{Log, noting},
};

/// What a client leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Closing,
    Resetting,
    HalfClosing,
}

/// A weir that lets one request a minute through and parks the next, with this listener; and what
/// its upstream saw.
fn parking(listener: &str) -> (Weir, Log) {
    let (upstream, seen) = noting();
    let weir = Weir::run_with(
        &format!(
            "listeners: [ {listener} ]\n\
             client_ip: {{ trusted_proxies: [ 127.0.0.1 ] }}\n\
             zones: {{ z: {{ key: global, rate: 1r/m }} }}\n\
             routes:\n- {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: z, burst: 1, max_wait: 2m }} ] }}\n\
             - {{ path: /probe, upstream: \"http://{upstream}\", limits: [ {{ zone: z, burst: 5, max_wait: 0s }} ] }}\n"
        ),
        Stdio::piped(),
    );
    (weir, seen)
}

fn upload(length: usize) -> Vec<u8> {
    let mut request =
        format!("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + length, b'x');
    request
}

fn leave(socket: &TcpStream, how: Leaves) {
    match how {
        Leaves::Closing => {}
        Leaves::Resetting => {
            SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
        Leaves::HalfClosing => socket.shutdown(Shutdown::Write).expect("a socket"),
    }
}

/// Waits until the upload stands in the line: a probe, which never waits, is told when it would
/// pass, and that is a minute later.
fn wait_until_it_is_parked(address: SocketAddr) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let probe = get(address, "/probe");
        assert_eq!(probe.status, 503);
        let seconds: u64 =
            probe.head.field("retry-after").expect("a time").parse().expect("seconds");
        if seconds > 60 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the upload is not parked");
    }
}

/// The next access line of an upload.
fn line_of_the_upload(weir: &mut Weir) -> Value {
    let lines = BufReader::new(weir.stdout.take().expect("a pipe")).lines();
    let parsed =
        lines.map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
    parsed.into_iter().find(|line| line["path"] == "/upload").expect("a line of the upload")
}

/// The upload was ended long before its place in a minute, and never reached the upstream.
fn assert_left(weir: &mut Weir, seen: &Log, what: &str) {
    let line = line_of_the_upload(weir);
    assert_eq!(
        (&line["status"], &line["error"]["kind"]),
        (&499.into(), &"client_gone".into()),
        "{what}: {line}"
    );
    let uploads = seen
        .lock()
        .expect("no panic")
        .iter()
        .filter(|seen| seen.head.first.starts_with("POST"))
        .count();
    assert_eq!(uploads, 0, "{what}");
}

#[test]
fn parked_upload_leaves_however_much_is_unread() {
    for length in [100, 8_000, 100_000] {
        for how in [Leaves::Closing, Leaves::Resetting, Leaves::HalfClosing] {
            let (mut weir, seen) = parking("\"127.0.0.1:0\"");
            assert_eq!(get(weir.address, "/first").status, 200);
            let mut client = TcpStream::connect(weir.address).expect("a connection");
            client.write_all(&upload(length)).expect("room in the socket");
            wait_until_it_is_parked(weir.address);
            leave(&client, how);
            let kept = (how == Leaves::HalfClosing).then(|| client.try_clone().expect("a socket"));
            drop(client);
            assert_left(&mut weir, &seen, &format!("{how:?} behind {length} bytes"));
            drop(kept);
        }
    }
}

#[test]
fn parked_upload_leaves_behind_a_proxy_header() {
    let (mut weir, seen) = parking("{ address: \"127.0.0.1:0\", proxy_protocol: true }");
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n";
    let connect = |request: &[u8]| {
        let mut client = TcpStream::connect(weir.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        client.write_all(&[header, request].concat()).expect("room in the socket");
        client
    };
    let mut answered = connect(b"GET /first HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    let mut said = String::new();
    answered.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop(connect(&upload(100_000)));
    assert_left(&mut weir, &seen, "behind a PROXY header");
}

fn tls_to(authority: &Authority, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let client = authority.client(&["http/1.1"], &[&TLS13], None);
    let name = ServerName::try_from("a.test").expect("a name");
    let session = ClientConnection::new(Arc::new(client), name).expect("a client");
    StreamOwned::new(session, TcpStream::connect(address).expect("a connection"))
}

#[test]
fn parked_upload_leaves_over_tls() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let (cert, key) = (authority.path("a.pem"), authority.path("a.key"));
    let tls = format!(
        "tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }}",
        cert.display(),
        key.display()
    );
    let (mut weir, seen) = parking(&format!("{{ address: \"127.0.0.1:0\", {tls} }}"));
    let mut first = tls_to(&authority, weir.address);
    first
        .write_all(b"GET /first HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .expect("a handshake");
    let mut said = String::new();
    first.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let mut client = tls_to(&authority, weir.address);
    client.write_all(&upload(100_000)).expect("room in the socket");
    client.flush().expect("room in the socket");
    drop(client);
    assert_left(&mut weir, &seen, "over TLS");
}

/// Whoever is behind is woken, on whichever worker it waits: told 18 s, it is forwarded after 3 s,
/// when five before it have left.
#[test]
fn line_moves_up_over_all_workers_and_the_last_is_woken() {
    let (upstream, _) = noting();
    let mut weir = Weir::run_with(
        &format!(
            "workers: 2\nzones: {{ z: {{ key: global, rate: 20r/m }} }}\n\
             routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: z, burst: 20 }} ] }} ]\n"
        ),
        Stdio::piped(),
    );
    assert_eq!(get(weir.address, "/first").status, 200);
    let ask = |path: &str| {
        let mut client = TcpStream::connect(weir.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        client
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .expect("room in the socket");
        client
    };
    let impatient: Vec<_> = (0..5).map(|_| ask("/impatient")).collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut patient = ask("/upload");
    std::thread::sleep(Duration::from_millis(200));
    drop(impatient);
    let mut status = [0; 12];
    patient.read_exact(&mut status).expect("a response");
    assert_eq!(&status, b"HTTP/1.1 200");
    let line = line_of_the_upload(&mut weir);
    assert!(line["dur_ms"].as_f64().is_some_and(|waited| waited < 15_000.0), "{line}");
    assert!(line["limit"]["wait_ms"].as_u64().is_some_and(|wait| wait <= 3_000), "{line}");
}
