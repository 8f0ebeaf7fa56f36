//! Upstreams that close idle connections whenever they please.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    http1::{Client, Head},
    process::Weir,
    upstream::upstream,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn two_thousand_gets_survive_an_upstream_that_closes_at_odd_moments() {
    let connections = AtomicU32::new(0);
    let closing = upstream(move |mut wire| {
        // 1 to 7 responses, never announced as the last.
        let answers = 1 + connections.fetch_add(1, Ordering::Relaxed) * 5 % 7;
        for _ in 0..answers {
            Head::read(&mut wire)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            wire.get_mut().write_all(OK)?;
        }
        Ok(())
    });
    let weir = Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://{closing}\" }} ]"));
    let mut client = Client::connect(weir.address);
    let failed: Vec<_> = (0..2000)
        .map(|_| client.get("/").expect("an answer"))
        .filter(|a| a.status != 200)
        .collect();
    assert_eq!(failed, []);
}

/// The worst moment: the request is read, and then the connection closes without a byte.
#[test]
fn retry_get_lost_on_reused_connection_is_sent_again() {
    let closing = upstream(move |mut wire| {
        Head::read(&mut wire)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        wire.get_mut().write_all(OK)?;
        Head::read(&mut wire)?;
        Ok(())
    });
    let weir = Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://{closing}\" }} ]"));
    let mut client = Client::connect(weir.address);
    let statuses: Vec<u16> = (0..200).map(|_| client.get("/").expect("an answer").status).collect();
    assert_eq!(statuses, [200; 200]);
}
