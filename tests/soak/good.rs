//! Clients that do as they should: every one of their requests gets a response, whatever happens
//! beside them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use crate::{
    ask::{Given, ask, ask_with},
    http1::Client,
};

/// How often a client goes through all it asks for.
const TIMES: usize = 8;
/// It thinks that long before each request.
const THINKS: Duration = Duration::from_millis(8);

/// A client with an address of its own, on one connection.
pub fn client(number: u8, server: SocketAddr) {
    let mut client = Client::from(Ipv4Addr::new(127, 0, 5, number + 1), server);
    for _ in 0..TIMES {
        for kind in ["echo", "slow", "parked", "shaky", "twice", "text"] {
            is_whole(kind, ask(&mut client, kind));
        }
        for coding in ["zstd", "br", "gzip"] {
            let accepts = format!("accept-encoding: {coding}\r\n");
            is_whole(coding, ask_with(&mut client, "GET", "text", &accepts, 0));
        }
        is_whole("upload", ask_with(&mut client, "POST", "echo", "", 100_000));
    }
}

fn is_whole(what: &str, given: Given) {
    assert_eq!(given, Given::Whole, "{what}");
    thread::sleep(THINKS);
}
