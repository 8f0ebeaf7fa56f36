//! The upstream: it does what a request's path asks for, and responds with the request's mark.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::{
    http1::{Framing, Head, read_body},
    mark::Mark,
    upstream::{Wire, upstream},
};

/// When requests of a storm arrived, since somebody took these times away.
pub static STORM: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

/// An ordinary response, one that is worth a coder, and one nobody takes in one piece.
pub const LENGTHS: [(&str, usize); 3] = [("echo", 640), ("text", 64 << 10), ("large", 1 << 20)];

/// How long the body of such a response is.
pub fn length_of(kind: &str) -> usize {
    LENGTHS.iter().find(|(known, _)| *known == kind).unwrap_or(&LENGTHS[0]).1
}

pub fn start() -> SocketAddr {
    upstream(|mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            let received = read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
            let mut words = head.second().split('/').skip(1);
            let (kind, mark) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let mark = mark.parse().map_err(io::Error::other)?;
            if !answer(&mut wire, kind, mark, received)? {
                return Ok(());
            }
        }
        Ok(())
    })
}

fn whole(mark: Mark, length: usize, received: u64) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-mark: {mark}\r\nx-received: {received}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), mark.body(length)].concat()
}

/// Whether the connection goes on.
fn answer(wire: &mut Wire, kind: &str, mark: Mark, received: u64) -> io::Result<bool> {
    let (to, bytes) = (wire.get_mut(), whole(mark, length_of(kind), received));
    match kind {
        "storm" => {
            STORM.lock().expect("no panic").push(Instant::now());
            to.write_all(&bytes)?;
        }
        "garbage" => write!(to, "{mark}\r\n\r\n")?,
        // What nobody asked for, behind what was.
        "twice" => to.write_all(&[bytes, whole(Mark::new(), 64, 0)].concat())?,
        "slow" => {
            for piece in bytes.chunks(bytes.len() / 4) {
                to.write_all(piece)?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        "cut" => {
            to.write_all(&bytes[..bytes.len() / 2])?;
            return Ok(false);
        }
        // No time to linger: the kernel sends a reset.
        "reset" => {
            socket2::SockRef::from(wire.get_ref()).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        _ => to.write_all(&bytes)?,
    }
    Ok(true)
}
