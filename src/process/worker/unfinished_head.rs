//! Request whose head is incomplete, for the access log.

use std::{cell::Cell, net::IpAddr, time::Duration};

use http::Version;

use super::Worker;
use crate::{
    downstream::client_conn::ClientConn,
    http::{error::Error, framing::head::LineSoFar},
    log::record::Record,
};

/// Request of a connection whose head is incomplete. If it is dropped with the process, it still
/// writes its log line.
pub struct UnfinishedHead<'a> {
    worker: &'a Worker,
    conn: &'a ClientConn,
    peer: IpAddr,
    proto: Version,
    /// True once its line is written.
    is_logged: Cell<bool>,
}

impl<'a> UnfinishedHead<'a> {
    /// Watches the head of the next request on a connection.
    pub fn new(worker: &'a Worker, conn: &'a ClientConn, peer: IpAddr, proto: Version) -> Self {
        Self { worker, conn, peer, proto, is_logged: Cell::new(false) }
    }

    /// Writes the log line of a request whose head failed, and which got this many bytes of a body.
    pub fn fail(&self, error: &Error, bytes_out: u64) {
        self.is_logged.set(true);
        let mut record = self.record();
        record.entry.bytes_out = bytes_out;
        record.fails(error);
    }

    /// Record of as much of it as is known.
    fn record(&self) -> Box<Record> {
        // There is no request yet, so nothing else has decided on a configuration.
        let serving = self.worker.serving();
        let owed = self.conn.head_since().map_or(Duration::ZERO, |since| since.elapsed());
        // The request began with its first byte, not with this record.
        let began = serving.proxy.clock.now().saturating_sub(owed);
        let mut record =
            Record::begin(&self.worker.journal, self.peer, serving.proxy.ids.next(), began);
        record.entry.proto = self.proto;
        if let Some(line) = LineSoFar::read(&self.conn.head()) {
            record.set_request_so_far(&line);
        }
        record
    }
}

impl Drop for UnfinishedHead<'_> {
    fn drop(&mut self) {
        // A connection on which nothing came is no request, and leaves no line.
        let is_begun = self.conn.has_begun() && self.conn.head_since().is_some();
        if is_begun && !self.is_logged.get() && self.worker.journal.is_cutting() {
            drop(self.record());
        }
    }
}
