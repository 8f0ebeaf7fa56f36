//! Files of users and passwords.
//!
//! Guarantee: they are read again while they are served, and new content that is wrong changes
//! nothing. No message has the text of a line, which may be a password.

use std::path::{Path, PathBuf};

use super::small_file::{self, SmallFileError};
use crate::access::{
    password_hash::HashError,
    users::{LineFault, Users, UsersError},
};

/// Reason why a file of users cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] SmallFileError),
    /// One of its lines is wrong.
    #[error("`{}`, {source}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Fault of the line.
        source: UsersError,
    },
}

impl PasswordsError {
    /// Remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let Self::Line { source, .. } = self else {
            return "use a file of at most 1 MiB with a line `user:hash` for each user; a relative \
                path starts at the configuration's folder";
        };
        match &source.fault {
            LineFault::Hash(_, HashError::TooCostly) => {
                "use bcrypt of cost 12, or argon2 with 19 MiB and 2 passes"
            }
            LineFault::Hash(..) => "`htpasswd -B FILE USER` writes a hash of bcrypt",
            LineFault::Form => "write a line `user:hash` for each user; `#` begins a comment",
            LineFault::Twice(_) => "keep one of the lines",
            LineFault::TooMany => "let a service authenticate so many users",
        }
    }
}

/// Reads a file of users.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub fn read(path: &Path) -> Result<Users, PasswordsError> {
    let text = small_file::read_text(path)?;
    Users::parse(&text).map_err(|source| PasswordsError::Line { path: path.to_owned(), source })
}
