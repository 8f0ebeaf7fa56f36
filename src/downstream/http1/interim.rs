//! Interim responses of an endpoint on their way to an HTTP/1.1 client (RFC 9110, section 15.2).
//!
//! Guarantee: they come before the response and never instead of it, and none goes to a client of
//! HTTP/1.0, which does not know them (`tests/edge/interim.rs`).

use std::cell::{Cell, RefCell};

use http::Response;

use crate::{http::framing::response_head::write_interim, runtime::io::Interim};

/// Interim responses that were not written yet. The limit on what an endpoint may send before its
/// response bounds them too.
#[derive(Debug, Default)]
pub struct InterimQueue {
    is_open: Cell<bool>,
    out: RefCell<Vec<u8>>,
}

impl InterimQueue {
    /// Starts a request. `takes_interim` is true if its client knows interim responses.
    pub fn begin(&self, takes_interim: bool) {
        self.is_open.set(takes_interim);
    }

    /// Moves the interim responses that came behind `out`; returns true if there are any.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        // The memory is not kept: an idle connection has none.
        let interim = self.out.take();
        out.extend_from_slice(&interim);
        !interim.is_empty()
    }

    /// Takes no more, as the response begins.
    pub fn end(&self) {
        self.is_open.set(false);
    }
}

impl Interim for InterimQueue {
    fn send_interim(&self, interim: Response<()>) {
        // The connection does the work of the request itself, and writes this right after.
        if self.is_open.get() {
            write_interim(&mut self.out.borrow_mut(), &interim);
        }
    }
}
