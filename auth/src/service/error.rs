//! Reasons why the service does not do what it is asked for. What they mean to a client of HTTP, or
//! to an operator at a terminal, is decided there.

use std::error::Error;

use crate::password::PasswordError;
use crate::store::StoreError;

/// Reason why a request to the service fails. The text says nothing that a stranger may not know; a
/// cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A wrong password, an unknown person or a disabled one: no caller can distinguish them.
    #[error("the user name or the password is wrong")]
    WrongCredentials,
    /// A token that is not ours, has expired, or belongs to a session or a person that is over or
    /// disabled.
    #[error("the token is not valid, or not any more")]
    InvalidToken,
    /// An unknown client or a wrong secret.
    #[error("the client or its secret is wrong")]
    WrongClient,
    /// A token to set a new password that was used, has expired or was never made.
    #[error("the token is not valid, or not any more")]
    InvalidResetToken,
    /// A password that is not acceptable for this person.
    #[error("the password {0}")]
    Password(PasswordError),
    /// Too many failed attempts under this account.
    #[error("too many failed attempts; wait {retry_after_s} s")]
    TooManyFailures {
        /// Whole seconds until the next attempt is allowed.
        retry_after_s: u64,
    },
    /// A queue is full, or took too long.
    #[error("the service is at its limit; try again")]
    Busy {
        /// Whole seconds after which another try makes sense.
        retry_after_s: u64,
    },
    /// The person does not hold this scope.
    #[error("this needs the scope `{0}`")]
    MissingScope(String),
    /// Administrators cannot lock themselves out.
    #[error("administrators cannot disable themselves")]
    OwnAccount,
    /// No user has this name or address.
    #[error("there is no user `{0}`")]
    NoSuchUser(String),
    /// No role has this name.
    #[error("there is no role `{role}`; there are {}", known.join(", "))]
    NoSuchRole {
        /// The name.
        role: String,
        /// The roles there are.
        known: Vec<String>,
    },
    /// No client has this id, or it is disabled.
    #[error("there is no client `{0}`")]
    NoSuchClient(String),
    /// A client of this id exists.
    #[error("there is a client `{0}` already")]
    ClientExists(String),
    /// The database's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own fault.
    #[error("{task} failed")]
    Internal {
        /// The work that failed.
        task: &'static str,
        /// Its error.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ServiceError {
    /// Makes an error of ours of the cause why `task` failed.
    pub(super) fn internal<E: Error + Send + Sync + 'static>(
        task: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Internal { task, source: source.into() }
    }
}
