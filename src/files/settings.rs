//! Settings of a route that serves files.

use std::path::PathBuf;

use http::HeaderValue;

use crate::compress::negotiate::Coding;

/// Settings of the files of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSettings {
    /// Directory below which all of them are.
    pub root: PathBuf,
    /// Names that stand for a directory, the preferred one first.
    pub index: Vec<String>,
    /// File for paths of which there is none, as a path below the root.
    pub fallback: Option<String>,
    /// Codings of which files may stand beside a file, as `app.js.br`.
    pub precompressed: Vec<Coding>,
    /// `Cache-Control` of the responses.
    pub cache_control: Option<HeaderValue>,
}
