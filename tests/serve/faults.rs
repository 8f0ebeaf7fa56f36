//! Upstreams that are down or deaf, and requests nobody serves.

use std::{
    io::BufRead,
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    http1::{Client, get},
    process::Weir,
    upstream::upstream,
};

fn before(upstream: SocketAddr) -> Weir {
    Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]"))
}

#[test]
fn upstream_down_is_502_immediately() {
    // Bound and never listening: nobody else gets the port, and every connection is refused.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let down = socket.local_addr().expect("an address").as_socket().expect("an address");
    let weir = before(down);
    // One that waited for the time to connect would say 504.
    let answer = get(weir.address, "/");
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
fn timeout_connect_gives_up_after_two_seconds() {
    let (address, _listener, _waiting) = deaf();
    let weir = before(address);
    let begun = Instant::now();
    let answer = get(weir.address, "/");
    // The kernel gives up after two minutes, and the client here before.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(answer.status, 504);
    let told = answer.head.field("proxy-status").expect("a reason");
    assert!(told.starts_with("weir; error=connection_timeout;"), "{told}");
}

#[test]
fn upload_reset_is_logged_and_next_request_served() {
    let resetting = upstream(|mut wire| {
        if wire.fill_buf()?.starts_with(b"POST") {
            // No time to linger: the kernel sends a reset.
            return socket2::SockRef::from(wire.get_ref()).set_linger(Some(Duration::ZERO));
        }
        std::io::Write::write_all(wire.get_mut(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let weir = before(resetting);
    let mut client = Client::connect(weir.address);
    client
        .send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        .expect("a connection");
    // weir may have closed before the whole body is sent.
    let _ = client.send(&[b'x'; 100_000]);
    let answer = client.answer("POST").expect("an answer");
    assert_eq!(answer.status, 502);
    let told = answer.head.field("proxy-status").expect("a reason");
    assert!(told.starts_with("weir; error=connection_terminated;"), "{told}");
    assert_eq!(get(weir.address, "/").status, 200);
}

#[test]
fn dns_uses_the_system_resolver() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let _upstream = crate::upstream::upstream_on(listener, |mut wire| {
        wire.fill_buf()?;
        std::io::Write::write_all(wire.get_mut(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let weir =
        Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://localhost:{port}\" }} ]"));
    let statuses = [(); 10].map(|()| get(weir.address, "/").status);
    assert_eq!(statuses, [200; 10]);
}
