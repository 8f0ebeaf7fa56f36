//! Clients that connect and send nothing: the kernel keeps them for a second, and none is reset for
//! that reason.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use weir::downstream::listener::SILENT;

use crate::{
    http1::{Client, PATIENCE},
    process::Weir,
    upstream::noting,
};

const CLIENTS: usize = 100;
const HEADER: Duration = Duration::from_millis(200);

fn listening(listeners: &str) -> String {
    let (upstream, _) = noting();
    format!(
        "listeners: [ {listeners} ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n\
         client_ip: {{ trusted_proxies: [ 127.0.0.0/8 ] }}\ntimeouts: {{ header: 200ms }}\n\
         workers: 2\ndrain: 1h\n"
    )
}

/// Time after which a client that sends nothing is closed.
fn patience_with_silence(listener: &str) -> Duration {
    let weir = Weir::run(&listening(listener));
    let start = Instant::now();
    assert!(Client::connect(weir.address).is_closed());
    start.elapsed()
}

/// The deadline of a head begins when the client is accepted.
#[test]
fn silent_client_is_closed_a_second_later() {
    let closed = patience_with_silence("'127.0.0.1:0'");
    assert!(closed > HEADER + Duration::from_millis(700), "{closed:?}");
    // Heads are looked at every half a second.
    let looked_at = Duration::from_millis(1_000);
    let busy = Duration::from_millis(200);
    assert!(closed < HEADER + SILENT + looked_at + busy, "{closed:?}");
}

#[test]
fn silent_proxy_that_sends_a_proxy_header_is_accepted_immediately() {
    let closed = patience_with_silence("{ address: '127.0.0.1:0', proxy_protocol: true }");
    assert!(closed < HEADER + Duration::from_millis(700), "{closed:?}");
}

/// A client beyond the cap is closed when it is accepted.
#[test]
fn cap_on_connections_holds_for_silent_clients_a_second_later() {
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: '127.0.0.1:0', max_connections: 2 }} ]\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nworkers: 1\n"
    ));
    let start = Instant::now();
    let clients: Vec<TcpStream> = (0..3)
        .map(|_| {
            let client = TcpStream::connect(weir.address).expect("a listener");
            client.set_nonblocking(true).expect("a socket");
            client
        })
        .collect();
    let closed = || {
        let is_closed = |mut client: &TcpStream| match client.read(&mut [0]) {
            Ok(0) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => panic!("a response without a request"),
        };
        clients.iter().filter(|client| is_closed(client)).count()
    };
    while closed() == 0 {
        assert!(start.elapsed() < SILENT + PATIENCE, "nobody is closed");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    assert_eq!(closed(), 1);
}

fn silent(address: SocketAddr) -> Vec<Client> {
    (0..CLIENTS).map(|_| Client::connect(address)).collect()
}

/// Statuses of requests that are sent only now.
fn statuses(clients: Vec<Client>) -> Vec<Result<u16, String>> {
    let ask = |mut client: Client| {
        let answer = client.get("/").map_err(|error| error.to_string())?;
        Ok(answer.status)
    };
    clients.into_iter().map(ask).collect()
}

#[test]
fn clients_that_are_silent_at_a_stop_are_served() {
    let mut weir = Weir::run(&listening("'127.0.0.1:0'"));
    let clients = silent(weir.address);
    weir.signal(Signal::TERM);
    weir.says("draining: finishing requests in progress");
    assert_eq!(statuses(clients), vec![Ok(200); CLIENTS]);
    assert_eq!(weir.ended().code(), Some(0));
}

/// Without such clients a stop does not wait for any.
#[test]
fn stop_without_silent_clients_takes_no_second() {
    let mut weir = Weir::run(&listening("'127.0.0.1:0'"));
    let mut client = Client::connect(weir.address);
    assert_eq!(client.get("/").expect("a response").status, 200);
    let start = Instant::now();
    weir.signal(Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
    assert!(start.elapsed() < SILENT, "{:?}", start.elapsed());
}

#[test]
fn clients_that_are_silent_when_their_listener_is_removed_are_served() {
    let weir = Weir::run(&listening("'127.0.0.1:0'"));
    let clients = silent(weir.address);
    weir.rewrite(&listening("'127.0.0.2:0'"));
    weir.signal(Signal::HUP);
    weir.says("reloaded");
    assert_eq!(statuses(clients), vec![Ok(200); CLIENTS]);
}

#[test]
fn clients_that_are_silent_at_a_handover_are_served() {
    let weir = Weir::run(&listening("'127.0.0.1:0'"));
    let clients = silent(weir.address);
    weir.signal(Signal::USR2);
    weir.says("took over");
    assert_eq!(statuses(clients), vec![Ok(200); CLIENTS]);
}
