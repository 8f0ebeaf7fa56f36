//! Action of a route: what happens to a request that its limits let through.
//!
//! Guarantee: a redirect names no host that only the client's path chose
//! (`redirect_never_leads_to_a_host_of_the_path` in tests/edge/actions.rs).

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;

use super::{
    header_edits::{EditContext, Edits, Template},
    reply,
};
use crate::http::{error::Error, known_name::KnownName, message::Response};

/// Action of a route; `U` is an upstream or its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<U> {
    /// The request is forwarded.
    Forward(U),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// weir responds itself.
    Respond(Respond),
    /// The connection is closed without a response.
    Close,
}

/// Redirect of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Value of `Location`.
    pub to: Template,
}

/// Response of weir's own on a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// Status, 200 to 599.
    pub status: StatusCode,
    /// Body, empty where the status allows none.
    pub body: Bytes,
    /// Fields that describe the body, and those of the configuration.
    pub headers: Edits,
}

impl<U> Action<U> {
    /// Upstream of the action, if it forwards.
    pub fn upstream(&self) -> Option<&U> {
        match self {
            Self::Forward(upstream) => Some(upstream),
            Self::Redirect(_) | Self::Respond(_) | Self::Close => None,
        }
    }

    /// Returns true if it keeps requests from every upstream: it closes, or responds with an error.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self {
            Self::Close => true,
            Self::Respond(respond) => respond.status.as_u16() >= 400,
            Self::Forward(_) | Self::Redirect(_) => false,
        }
    }

    /// Returns the same action with the upstream that `find` returns.
    pub fn map<V>(&self, find: impl FnOnce(&U) -> V) -> Action<V> {
        match self {
            Self::Forward(upstream) => Action::Forward(find(upstream)),
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Self::Respond(respond) => Action::Respond(respond.clone()),
            Self::Close => Action::Close,
        }
    }
}

impl Redirect {
    /// Response to a request.
    ///
    /// # Errors
    /// When the rendered location is not a field value.
    pub fn response(&self, facts: &EditContext<'_>) -> Result<Response<Full<Bytes>>, Error> {
        let mut response = reply::empty(self.status);
        response.head.headers.set(KnownName::Location, &self.to.render(facts)?);
        Ok(response)
    }
}

impl Respond {
    /// Response to a request.
    ///
    /// # Errors
    /// When a rendered field is not a field value.
    pub fn response(&self, facts: &EditContext<'_>) -> Result<Response<Full<Bytes>>, Error> {
        let mut response = reply::empty(self.status);
        response.body = Full::new(self.body.clone());
        self.headers.apply(&mut response.head.headers, facts)?;
        Ok(response)
    }
}
