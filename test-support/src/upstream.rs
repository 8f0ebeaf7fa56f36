//! An upstream the test plays itself: a thread for each connection, gone with the process.

use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use crate::http1::{Framing, Head, read_body};

/// One connection from weir.
pub type Wire = BufReader<TcpStream>;

/// What reached the upstream, and when.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub head: Head,
}

/// What reached the upstream so far.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// Serves each connection with `serve` until that fails, which only ends the connection.
pub fn upstream(serve: impl Fn(Wire) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    upstream_on(TcpListener::bind("127.0.0.1:0").expect("a port"), serve)
}

/// The same on a listener of the test's own.
pub fn upstream_on(
    listener: TcpListener,
    serve: impl Fn(Wire) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let address = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (Arc::clone(&serve), stream.expect("a connection"));
            stream.set_nodelay(true).expect("a socket");
            thread::spawn(move || serve(BufReader::with_capacity(64 * 1024, stream)));
        }
    });
    address
}

/// Serves requests one after the other: the body is read away, then `answer` tells the bytes to
/// send.
pub fn answering(answer: impl Fn(&Head) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    upstream(move |mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
            wire.get_mut().write_all(&answer(&head))?;
        }
        Ok(())
    })
}

/// Responds with `ok` to everything and notes when it came.
pub fn noting() -> (SocketAddr, Log) {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let address = answering(move |head| {
        let seen = Seen { at: Instant::now(), head: head.clone() };
        noted.lock().expect("no panic").push(seen);
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
    });
    (address, log)
}
