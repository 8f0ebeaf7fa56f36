//! Upstreams that are down or deaf, and requests nobody serves.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{http::get, weir::Weir};

fn before(upstream: SocketAddr) -> Weir {
    Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]"))
}

#[test]
fn an_upstream_that_is_down_is_told_within_a_second() {
    // Bound and never listening: nobody else gets the port, and every connection is refused.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let down = socket.local_addr().expect("an address").as_socket().expect("an address");
    let weir = before(down);
    let begun = Instant::now();
    let answer = get(weir.address, "/");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(answer.status, 502);
    let told = answer.head.field("proxy-status").expect("a reason");
    assert!(told.starts_with("weir; error=connection_refused;"), "{told}");
}

/// A listener whose queue is full: the kernel drops further attempts without a word.
fn deaf() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("a listener");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    (address, listener, waiting)
}

#[test]
fn an_upstream_that_takes_no_connection_is_given_up_after_two_seconds() {
    let (address, _listener, _waiting) = deaf();
    let weir = before(address);
    let begun = Instant::now();
    let answer = get(weir.address, "/");
    let took = begun.elapsed();
    assert_eq!(answer.status, 504);
    assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2500), "{took:?}");
    let told = answer.head.field("proxy-status").expect("a reason");
    assert!(told.starts_with("weir; error=connection_timeout;"), "{told}");
}
