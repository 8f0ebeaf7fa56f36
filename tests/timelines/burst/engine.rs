//! A small server on the decision engine: it responds with 200 at the slot or 503 at once.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weir::limit::{Decision, Millis, Rule, zone::Intent};

struct Server {
    rule: Rule,
    begun: Instant,
}

/// A server that keeps this limit, on a thread of its own for as long as the tests run.
pub fn serve(limit: &str) -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("an address");
    let rule = super::limit(limit).rule().expect("a rule");
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = Server { rule, begun: Instant::now() };
        tokio::task::LocalSet::new().block_on(&runtime, accept(socket, Rc::new(server)));
    });
    address
}

async fn accept(socket: std::net::TcpListener, server: Rc<Server>) {
    let socket = TcpListener::from_std(socket).expect("a socket of the runtime");
    while let Ok((stream, peer)) = socket.accept().await {
        tokio::task::spawn_local(Rc::clone(&server).serve(stream, peer.ip()));
    }
}

impl Server {
    async fn serve(self: Rc<Self>, mut stream: TcpStream, client: IpAddr) {
        let mut read = Vec::new();
        while stream.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
            if read.ends_with(b"\r\n\r\n") {
                read.clear();
                let answer = self.answer(client).await;
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn answer(&self, client: IpAddr) -> &'static [u8] {
        let arrived = self.begun.elapsed();
        let fingerprint = match client {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(_) => 0,
        };
        let verdict = self.rule.decide(fingerprint, Millis::cut(arrived), Intent::Charge);
        if verdict.decision == Decision::Reject {
            return REJECT;
        }
        let release = Duration::from(Millis::not_before(arrived).plus(verdict.wait));
        if verdict.decision == Decision::Delay {
            tokio::time::sleep_until((self.begun + release).into()).await;
        }
        FORWARD
    }
}

const FORWARD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const REJECT: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
