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
use crate::{
    files::settings::FilesSettings,
    http::{error::Error, known_name::KnownName, message::Response},
};

/// Action of a route; `U` is an upstream or its index, `F` the files or their settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<U, F = FilesSettings> {
    /// The request is forwarded.
    Forward(U),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// weir responds itself.
    Respond(Respond),
    /// weir responds with a file.
    Files(F),
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

impl<U, F> Action<U, F> {
    /// Upstream of the action, if it forwards.
    pub fn upstream(&self) -> Option<&U> {
        match self {
            Self::Forward(upstream) => Some(upstream),
            Self::Redirect(_) | Self::Respond(_) | Self::Files(_) | Self::Close => None,
        }
    }

    /// Returns true if it keeps requests from every upstream: it closes, or responds with an error.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self {
            Self::Close => true,
            Self::Respond(respond) => respond.status.as_u16() >= 400,
            Self::Forward(_) | Self::Redirect(_) | Self::Files(_) => false,
        }
    }

    /// Returns the same action with the upstream that `find` returns, or the files that `open` opens.
    ///
    /// # Errors
    /// That of `open`.
    pub fn try_map<V, G, E>(
        &self,
        find: impl FnOnce(&U) -> V,
        open: impl FnOnce(&F) -> Result<G, E>,
    ) -> Result<Action<V, G>, E> {
        Ok(match self {
            Self::Forward(upstream) => Action::Forward(find(upstream)),
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Self::Respond(respond) => Action::Respond(respond.clone()),
            Self::Files(files) => Action::Files(open(files)?),
            Self::Close => Action::Close,
        })
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
