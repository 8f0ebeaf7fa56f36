//! Files of an ACME client that prove the control of a host (RFC 8555, section 8.3).
//!
//! Guarantees: a name is a token and no path, the file is a regular one in the directory itself, and
//! no link is followed. A file longer than `MAX_BYTES` is not read. At most `MAX_READS` are read
//! at a time, each within [`READ_TIME`].

use std::{fs::File, io::Read, os::fd::AsFd, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use rustix::io::Errno;

use super::{
    blocking::BlockingReads,
    body::{timed_out, unreadable},
    root::{self, Root, RootError},
};
use crate::http::error::{Error, Kind};

/// Path that the tokens are below.
pub const PREFIX: &str = "/.well-known/acme-challenge/";
/// Limit on the length of a token, as of a name of a file.
const MAX_TOKEN: usize = 255;
/// Limit on the size of a file: a token, a dot, and the digest of a key.
const MAX_BYTES: u64 = 4 * 1024;
/// Limit on the files that are read at the same time.
const MAX_READS: usize = 4;
/// Time-out of a read.
pub const READ_TIME: Duration = Duration::from_secs(10);

/// Directory of the files, each named by its token.
#[derive(Debug)]
pub struct ChallengeDirectory {
    root: Arc<Root>,
    reads: BlockingReads,
}

/// Token of a request path, if it is one for a token: letters, digits, `-` and `_` (RFC 8555,
/// section 8.3).
#[must_use]
pub fn token(path: &str) -> Option<&str> {
    let token = path.strip_prefix(PREFIX)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = (1..=MAX_TOKEN).contains(&token.len());
    (fits && token.bytes().all(is_token)).then_some(token)
}

impl ChallengeDirectory {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        Ok(Self { root: Arc::new(Root::open(path)?), reads: BlockingReads::limited(MAX_READS) })
    }

    /// Reads the file of a token.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn read(&self, token: &str, now: Duration) -> Result<Bytes, Error> {
        let (root, name) = (Arc::clone(&self.root), token.to_owned());
        // The directory is looked up there too, which may wait for a disk.
        let read = self.reads.clone().run(move || read(root.directory(now), name.as_bytes()));
        // A timer of its own, as such a request is rare, and the file of a token is read whole.
        match tokio::time::timeout(READ_TIME, read).await {
            Ok(read) => read.map_err(unreadable)?,
            Err(_) => Err(timed_out()),
        }
    }
}

fn read(directory: impl AsFd, name: &[u8]) -> Result<Bytes, Error> {
    let missing = || Error::new(Kind::FileNotFound, "there is no file for the ACME challenge");
    let file = match root::open_no_link(directory, name) {
        Ok(file) => File::from(file),
        // A link has no name of its own here.
        Err(Errno::NOENT | Errno::LOOP) => return Err(missing()),
        Err(Errno::ACCESS) => {
            let detail = "the file for the ACME challenge may not be read";
            return Err(Error::new(Kind::FileForbidden, detail));
        }
        Err(error) => return Err(unreadable(error)),
    };
    // A FIFO or a device is opened without waiting, and not read.
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(missing());
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use crate::files::challenge::*;

    #[test]
    fn challenge_token_is_a_name_and_no_path() {
        assert_eq!(token("/.well-known/acme-challenge/aZ0-_"), Some("aZ0-_"));
        for rest in ["", "a/b", "..", "a.b", "%61", "a?b", "a\0", "a%2fb", "a\u{e9}"] {
            assert_eq!(token(&format!("{PREFIX}{rest}")), None, "{rest}");
        }
        assert_eq!(token(&format!("{PREFIX}{}", "x".repeat(256))), None);
        assert_eq!(token("/.well-known/acme-challengeX/a"), None);
        assert_eq!(token("/x/.well-known/acme-challenge/a"), None);
    }
}
