//! Mails to be sent: one JSON file each in a directory a mailer empties. A token stands in no log
//! and in no other place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Most mails that are prepared at the same time; further ones are not.
const AT_ONCE: usize = 4;

/// Directory that mails are put into.
#[derive(Debug)]
pub struct Mail {
    directory: Option<PathBuf>,
    places: Arc<Semaphore>,
}

impl Mail {
    /// Into this directory, or nowhere.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Returns whether mails are made at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.directory.is_some()
    }

    /// Takes a place to prepare a mail, if one is free now.
    #[must_use]
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Puts a mail; it appears whole or not at all, and only for the mailer.
    ///
    /// # Errors
    /// The directory's.
    pub async fn put(&self, to: &str, letter: &Message) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mail = match letter {
            Message::PasswordReset { token } => {
                serde_json::json!({ "to": to, "purpose": "password_reset", "token": token })
            }
            Message::EmailChanged => serde_json::json!({ "to": to, "purpose": "email_changed" }),
        };
        let name = Uuid::now_v7();
        // A mailer takes `*.json`, and sees the file only when it is complete.
        let hidden = directory.join(format!(".{name}"));
        let seen = directory.join(format!("{name}.json"));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden).await?;
        file.write_all(mail.to_string().as_bytes()).await?;
        // tokio writes in the background: without this the rename could come first.
        file.flush().await?;
        tokio::fs::rename(hidden, seen).await
    }
}

/// Content of a mail.
#[derive(Debug)]
pub enum Message {
    /// A token to set a new password.
    PasswordReset {
        /// The token.
        token: String,
    },
    /// The account has another address from now on; goes to the one it had.
    EmailChanged,
}
