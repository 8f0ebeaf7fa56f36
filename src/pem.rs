//! PEM files: certificates and the private key to one (RFC 7468).
//!
//! Guarantee: what is wrong with a file is told with its path and with what was looked for; no message shows its content.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// The largest file read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("`{}` cannot be read: {}, hint: it must be there and readable by the user weir runs as", .0.display(), .1.kind())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It has a PEM section that cannot be decoded.
    #[error("`{}` is not in PEM form, hint: text between `-----BEGIN ...-----` and `-----END ...-----`", .0.display())]
    Malformed(PathBuf, #[source] pem::Error),
    /// It has no section of the kind that was looked for.
    #[error("`{}` has no {what} in it, hint: a PEM file with a section `-----BEGIN {section}-----`", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What its section begins with.
        section: &'static str,
    },
}

/// All certificates of a file, in order.
///
/// # Errors
/// When there is none, or one that cannot be decoded.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(nothing(path, "certificate", "CERTIFICATE")),
        Ok(found) => Ok(found),
        Err(cause) => Err(PemError::Malformed(path.to_owned(), cause)),
    }
}

/// The first private key of a file.
///
/// # Errors
/// When there is none, or it cannot be decoded.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(&read(path)?) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(nothing(path, "private key", "PRIVATE KEY")),
        Err(cause) => Err(PemError::Malformed(path.to_owned(), cause)),
    }
}

fn nothing(path: &Path, what: &'static str, section: &'static str) -> PemError {
    PemError::Nothing { path: path.to_owned(), what, section }
}

/// One number for the content of several files, or for the reasons they cannot be read: equal while nothing of it changes.
#[must_use]
pub fn fingerprint<'a>(paths: impl IntoIterator<Item = &'a Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        read(path).map_err(|error| error.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

/// A file's content, up to a megabyte.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content));
    read.map_err(|cause| PemError::Unreadable(path.to_owned(), cause))?;
    Ok(content)
}
