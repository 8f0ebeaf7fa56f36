//! `files` of a route as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compress::negotiate::Coding;

/// Files that a route serves. A path that begins with a dot, or has a segment that does, is not
/// found, but for `/.well-known/`; nothing outside of `root` is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesSpec {
    /// Directory of the files: `/a/b` is the file `a/b` in it. Links are followed within it, and
    /// another directory in its place is noticed within a second (nginx: `root`).
    pub root: String,
    /// Names of files that stand for a directory, in order of preference (nginx: `index`).
    #[serde(default = "FilesSpec::default_index")]
    pub index: Vec<String>,
    /// Path of a file below `root` that is served, with 200, for each path without a file, for
    /// pages that route in the browser: `/index.html` (nginx: `try_files`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Codings of files that stand ready beside a file, as `app.js.br`, `app.js.gz` and
    /// `app.js.zst`, in order of preference (nginx: `gzip_static`, `brotli_static`).
    #[serde(default)]
    pub precompressed: Vec<Coding>,
    /// `Cache-Control` of responses with 200, 206 and 304 (nginx: `expires`,
    /// `add_header Cache-Control`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
}

impl FilesSpec {
    fn default_index() -> Vec<String> {
        vec!["index.html".to_owned()]
    }
}
