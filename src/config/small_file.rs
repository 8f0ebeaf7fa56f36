//! Small files that a configuration names: networks, users, bodies of responses.
//!
//! Guarantee: reading ends. What is no regular file is not opened, since a FIFO would block
//! (`body_file_that_is_a_pipe_is_an_error` in tests/config/files.rs), and no file is read beyond its
//! limit.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Limit on the size of a file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reason why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SmallFileError {
    /// The file cannot be read, or is too large.
    #[error("`{}` cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// The path is a FIFO or a directory.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
}

impl SmallFileError {
    /// File that cannot be used.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable(path, _) | Self::NotAFile(path) => path,
        }
    }
}

/// Reads a file of at most 1 MiB.
///
/// # Errors
/// When it cannot be read, is not a regular file or too large.
pub fn read(path: &Path) -> Result<Vec<u8>, SmallFileError> {
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(SmallFileError::NotAFile(path.to_owned()));
    }
    let read = || {
        let mut content = Vec::new();
        // One byte more than allowed shows that the file is too large.
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
        match content.len() as u64 > MAX_BYTES {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(content),
        }
    };
    read().map_err(|cause| SmallFileError::Unreadable(path.to_owned(), cause))
}

/// Reads a text of at most 1 MiB.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, SmallFileError> {
    String::from_utf8(read(path)?).map_err(|error| {
        let cause = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
        SmallFileError::Unreadable(path.to_owned(), cause)
    })
}
