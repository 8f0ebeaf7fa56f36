//! Users with passwords of one route.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use http::HeaderValue;

use super::refusal::Refusal;
use crate::{
    access::{password_check::PasswordCheck, users::Users},
    http::{
        basic_credentials::{BasicCredentials, NoCredentials},
        error::{Error, Kind},
        header_list::HeaderList,
    },
};

/// Settings of a route with users.
#[derive(Clone, Debug)]
pub struct BasicAuthSettings {
    /// Value of `WWW-Authenticate`.
    pub challenge: HeaderValue,
    /// File of the users.
    pub file: PathBuf,
    /// Users of the file.
    pub users: Arc<Users>,
}

impl PartialEq for BasicAuthSettings {
    fn eq(&self, other: &Self) -> bool {
        (&self.challenge, &self.file, &self.users) == (&other.challenge, &other.file, &other.users)
    }
}

/// Users of a route, with the verifier of this worker.
pub struct BasicAuth {
    settings: BasicAuthSettings,
    check: Rc<PasswordCheck>,
}

impl BasicAuth {
    /// Users of a route.
    #[must_use]
    pub fn new(settings: &BasicAuthSettings, check: &Rc<PasswordCheck>) -> Self {
        Self { settings: settings.clone(), check: Rc::clone(check) }
    }

    /// Returns true if both let the same users in.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        self.settings.users == other.settings.users
    }

    /// Returns the user of a request.
    ///
    /// # Errors
    /// [`Refusal::Challenged`] without valid credentials, an error when they cannot be verified.
    pub async fn user(&self, headers: &HeaderList) -> Result<Box<str>, Refusal> {
        let challenged = || Refusal::Challenged(self.settings.challenge.clone());
        let credentials = BasicCredentials::of(headers).map_err(|none| match none {
            NoCredentials::Missing => challenged(),
            // The upstream may read the other one.
            NoCredentials::Repeated => {
                Error::new(Kind::HttpRequestError, "more than one `Authorization`").into()
            }
        })?;
        let (user, password) = (credentials.user(), credentials.password());
        let verified = self.check.verify(&self.settings.users, user, password).await;
        let is_verified = verified.map_err(|error| {
            Error::caused(Kind::Overloaded, "the password cannot be verified now", error)
        })?;
        if is_verified { Ok(user.into()) } else { Err(challenged()) }
    }
}
