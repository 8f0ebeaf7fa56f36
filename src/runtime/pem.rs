//! PEM files: certificates, lists of revoked ones, and private keys (RFC 7468).
//!
//! Guarantee: an error names the path, what was expected and what was found instead; no message
//! shows the content. A byte order mark before the text is ignored.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::hint::Hinted;

/// Limit on the size of a file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Error of a PEM file.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("`{}` cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is not text.
    #[error("`{}` is {form}, not PEM", path.display())]
    Form {
        /// Path of the file.
        path: PathBuf,
        /// Detected format.
        form: &'static str,
        /// Command that converts it.
        remedy: &'static str,
    },
    /// The key is encrypted with a password.
    #[error("the key in `{}` is encrypted, which is not supported", .0.display())]
    Encrypted(PathBuf),
    /// A PEM section cannot be decoded.
    #[error("`{}` is not in PEM form", .0.display())]
    Malformed(PathBuf, #[source] pem::Error),
    /// There is no section of the expected kind.
    #[error("`{}` contains no {what}{}", path.display(), instead(found))]
    Nothing {
        /// Path of the file.
        path: PathBuf,
        /// Expected content.
        what: &'static str,
        /// First words of the expected section.
        section: &'static str,
        /// First section found.
        found: Option<String>,
    },
}

impl Hinted for PemError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable(..) => {
                "it must exist and be readable by the user weir runs as".to_owned()
            }
            Self::Form { remedy, .. } => (*remedy).to_owned(),
            Self::Encrypted(_) => "`openssl pkey -in FILE -out FILE.key` writes it without a \
                 password; let only the user weir runs as read that"
                .to_owned(),
            Self::Malformed(..) => {
                "it has text between `-----BEGIN ...-----` and `-----END ...-----`".to_owned()
            }
            Self::Nothing { section, .. } => {
                format!("use a PEM file with a section `-----BEGIN {section}-----`")
            }
        })
    }
}

fn instead(found: &Option<String>) -> String {
    found.as_ref().map_or_else(String::new, |found| format!(", but `{found}`"))
}

/// Kind of section to look for.
#[derive(Clone, Copy)]
struct Wanted {
    what: &'static str,
    section: &'static str,
    /// Command that converts a binary file.
    convert: &'static str,
}

const CERTIFICATE: Wanted = Wanted {
    what: "certificate",
    section: "CERTIFICATE",
    convert: "convert it, as with `openssl x509 -inform der -in FILE -out FILE.pem`",
};
const REVOCATION_LIST: Wanted = Wanted {
    what: "list of revoked certificates",
    section: "X509 CRL",
    convert: "convert it, as with `openssl crl -inform der -in FILE -out FILE.pem`",
};
const PRIVATE_KEY: Wanted = Wanted {
    what: "private key",
    section: "PRIVATE KEY",
    convert: "convert it, as with `openssl pkey -inform der -in FILE -out FILE.pem`",
};

/// Returns all certificates of a file, in order.
///
/// # Errors
/// When there is none, or one that cannot be decoded.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = text(path, CERTIFICATE)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(nothing(path, &text, CERTIFICATE)),
        Ok(found) => Ok(found),
        Err(cause) => Err(PemError::Malformed(path.to_owned(), cause)),
    }
}

/// Returns all lists of revoked certificates of a file, in order.
///
/// # Errors
/// When there is none, or one that cannot be decoded.
pub fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let text = text(path, REVOCATION_LIST)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(nothing(path, &text, REVOCATION_LIST)),
        Ok(found) => Ok(found),
        Err(cause) => Err(PemError::Malformed(path.to_owned(), cause)),
    }
}

/// Returns the first private key of a file.
///
/// # Errors
/// When there is none, or it cannot be decoded.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = text(path, PRIVATE_KEY)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        // PKCS #8 (RFC 5958) has its own section for encrypted keys, older formats a header (RFC
        // 1421). Asked only after a failure: such a key may stand behind one that can be used.
        Err(_)
            if has(&text, "-----BEGIN ENCRYPTED PRIVATE KEY-----")
                || has(&text, "Proc-Type: 4,ENCRYPTED") =>
        {
            Err(PemError::Encrypted(path.to_owned()))
        }
        Err(pem::Error::NoItemsFound) => Err(nothing(path, &text, PRIVATE_KEY)),
        Err(cause) => Err(PemError::Malformed(path.to_owned(), cause)),
    }
}

/// Reads the text of a file without a byte order mark, which would hide the first section.
fn text(path: &Path, wanted: Wanted) -> Result<Vec<u8>, PemError> {
    const SEQUENCE: u8 = 0x30;
    let mut content = read(path)?;
    // The bytes name the format, because `not in PEM form` does not say what to do.
    let other = |form, remedy| Err(PemError::Form { path: path.to_owned(), form, remedy });
    match content.as_slice() {
        [0xEF, 0xBB, 0xBF, ..] => drop(content.drain(..3)),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return other("text in UTF-16", "save it as plain text, in ASCII or UTF-8");
        }
        // `0` is the same byte, and a text before the first section is allowed.
        [SEQUENCE, ..] if !has(&content, "-----BEGIN ") => {
            return other("binary (DER or PKCS #12)", wanted.convert);
        }
        _ => {}
    }
    Ok(content)
}

fn nothing(path: &Path, text: &[u8], Wanted { what, section, .. }: Wanted) -> PemError {
    const BEGIN: &str = "-----BEGIN ";
    let begun = String::from_utf8_lossy(text);
    let label = begun
        .find(BEGIN)
        .map(|at| &begun[at + BEGIN.len()..])
        .and_then(|rest| rest.split("-----").next());
    // Only text that looks like a label is shown: a message must not show the content of a
    // key file.
    let is_label = |label: &&str| {
        label.len() <= 64 && label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ')
    };
    PemError::Nothing {
        path: path.to_owned(),
        what,
        section,
        found: label.filter(is_label).map(str::to_owned),
    }
}

fn has(text: &[u8], piece: &str) -> bool {
    memchr::memmem::find(text, piece.as_bytes()).is_some()
}

/// Fingerprint of the content of several files, or of the errors reading them: equal while nothing
/// changes.
#[must_use]
pub fn fingerprint<'a>(paths: impl IntoIterator<Item = &'a Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        // The text of an error is hashed too, so a file that becomes unreadable is a change.
        read(path).map_err(|error| error.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Reads a file of up to a megabyte.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let mut content = Vec::new();
    // A path may lead to a device without an end.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content));
    read.map_err(|cause| PemError::Unreadable(path.to_owned(), cause))?;
    Ok(content)
}
