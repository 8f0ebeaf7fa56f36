//! Channel on which a request came: a connection, or a stream of one.

use std::{future::pending, rc::Rc};

use super::{client_conn::ClientConn, client_state::ClientState, http2::response::Reply};

/// Channel of a request: a connection, or a stream of one.
#[derive(Clone)]
pub struct RequestChannel {
    /// State of the client there.
    pub state: Rc<ClientState>,
    /// Connection, if the request does not share it.
    pub conn: Option<Rc<ClientConn>>,
    /// Sender of the response on a stream.
    pub reply: Option<Rc<Reply>>,
}

impl RequestChannel {
    /// Channel of a connection.
    #[must_use]
    pub fn connection(conn: &Rc<ClientConn>) -> Self {
        Self { state: Rc::clone(conn.state()), conn: Some(Rc::clone(conn)), reply: None }
    }

    /// Channel of a stream.
    #[must_use]
    pub fn stream(state: &Rc<ClientState>, reply: Option<&Rc<Reply>>) -> Self {
        Self { state: Rc::clone(state), conn: None, reply: reply.cloned() }
    }

    /// Completes when the client has left. On a stream that is reset it never completes, as
    /// everything about the request is dropped.
    pub async fn departed(&self) {
        match &self.conn {
            Some(conn) => conn.departed().await,
            None => pending().await,
        }
    }
}
