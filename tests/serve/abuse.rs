//! HTTP/2 clients that mean harm, over real sockets: what they cost in memory.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    frames::{self, CONTINUATION, END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM},
    http1,
    process::Weir,
    upstream,
};

/// Sends until the connection takes no more; it is known to end.
fn flood(weir: &Weir, piece: impl Fn(u32) -> Vec<u8>) {
    let mut client = TcpStream::connect(weir.address).expect("a connection");
    client.write_all(&frames::hello(&[])).expect("an open connection");
    for number in 0..1_000_000 {
        if client.write_all(&piece(number)).is_err() {
            return;
        }
    }
    panic!("a million pieces were taken");
}

/// A connection with a hundred responses it has no room for.
fn stalled(weir: &Weir) -> TcpStream {
    let mut client = TcpStream::connect(weir.address).expect("a connection");
    client.write_all(&frames::hello(&[(4, 0)])).expect("an open connection");
    for number in 0..100 {
        client.write_all(&frames::get(2 * number + 1)).expect("an open connection");
    }
    // Its hundredth response has begun once this many heads are there: each takes 9 bytes and more.
    client.read_exact(&mut [0; 100 * 9]).expect("answers");
    client
}

#[test]
fn abuse_costs_bounded_memory() {
    let upstream =
        upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: none }}\n"
    ));
    assert_eq!(http1::get(weir.address, "/").status, 200);
    let before = weir.memory("VmRSS");
    for _ in 0..20 {
        flood(&weir, |number| {
            let stream = 2 * number + 1;
            [frames::get(stream), frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
                .concat()
        });
        flood(&weir, |number| match number {
            0 => frames::frame(HEADERS, END_STREAM, 1, &frames::fields(&GET)),
            _ => frames::frame(CONTINUATION, 0, 1, &frames::fields(&[("x", "y")])),
        });
    }
    let flooded = weir.memory("VmRSS").saturating_sub(before);
    let held: Vec<TcpStream> = (0..20).map(|_| stalled(&weir)).collect();
    let grown = weir.memory("VmRSS").saturating_sub(before);
    assert!(flooded < 16 << 20, "{flooded} bytes after 40 floods");
    assert!(
        grown < 64 << 20,
        "{grown} bytes for {} connections with 2000 stalled answers",
        held.len()
    );
    assert_eq!(http1::get(weir.address, "/").status, 200);
}

/// An HTTP/2 connection's piece number so many.
type Piece = fn(u32) -> Vec<u8>;

#[test]
fn abuse_is_told_with_its_reason_and_its_peer() {
    let upstream =
        upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let pings: Piece = |_| frames::frame(frames::PING, 0, 0, &[0; 8]).repeat(100);
    let continuations: Piece = |number| match number {
        0 => frames::frame(HEADERS, END_STREAM, 1, &frames::fields(&GET)),
        _ => frames::frame(CONTINUATION, 0, 1, &frames::fields(&[("x", "y")])),
    };
    let resets: Piece = |number| {
        let stream = 2 * number + 1;
        [frames::get(stream), frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let malformed: Piece = |number| {
        let block = [frames::fields(&GET), frames::fields(&[("x", "\0")])].concat();
        frames::frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &block)
    };
    let undecodable: Piece =
        |number| frames::frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, b"\x80");
    let too_short: Piece = |_| frames::frame(frames::PING, 0, 0, &[0; 2]);
    for (piece, reason) in [
        (pings, "too many frames"),
        (continuations, "HTTP/2 error"),
        (resets, ""),
        (malformed, "too many requests were reset or malformed"),
        (undecodable, "unable to maintain the header compression context"),
        (too_short, "frame with invalid size"),
    ] {
        let weir = Weir::run(&format!(
            "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nworkers: 1\n"
        ));
        flood(&weir, piece);
        let line = weir.says("HTTP/2 connection closed for abuse");
        assert!(line.contains(reason) && line.contains("127.0.0.1:"), "{line}");
    }
}
