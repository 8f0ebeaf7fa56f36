//! Request in the context of its connection.

use std::{net::IpAddr, rc::Rc, time::Duration};

use super::peer::{Peer, Transport};
use crate::{
    downstream::{
        request_channel::RequestChannel,
        upload::{RequestBody, UploadState},
    },
    runtime::{coarse_timer::Deadline, io::Switched},
    upstream::pool::Caller,
};

/// Request in the context of its connection.
pub struct RequestContext<'a> {
    /// Channel to the connection.
    pub line: &'a RequestChannel,
    /// Peer of the connection.
    pub peer: &'a Peer,
    /// Time at which it began.
    pub began: Duration,
    /// State of its body.
    pub upload: Rc<UploadState>,
    /// Body, until it is forwarded.
    pub body: Option<RequestBody>,
    /// Endpoint side of an accepted tunnel.
    pub far: Option<(Switched, Deadline)>,
}

impl RequestContext<'_> {
    /// Identity that an upstream sees, for a client with this address.
    #[must_use]
    pub fn caller(&self, client: IpAddr) -> Caller<'_, RequestBody> {
        // The port of a client behind a proxy is not known.
        let port = if client == self.peer.address { self.peer.port } else { 0 };
        let private = self.line.conn.is_some().then_some(&self.peer.private);
        let is_secure = matches!(self.peer.transport, Transport::Tls(_));
        Caller { address: client, port, is_secure, sticky: None, private }
    }
}
