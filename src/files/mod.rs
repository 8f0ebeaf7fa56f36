//! Files of a route: from the path of a request to a response with a file.
//!
//! Guarantees: nothing outside of the root is opened ([`root`]), no file with a dot is served
//! ([`name`]), and what is no regular file is not read. No worker waits for a disk ([`blocking`]),
//! and no response waits for one longer than [`READ_TIMEOUT`]. `tests/edge/files.rs` holds them.

use std::{fs::File, ops::Range, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use self::{
    blocking::BlockingReads,
    body::{FileBody, FilePart, timed_out, unreadable},
    conditions::{Conditions, Selection},
    lookup::{FileError, Found, Search, find},
    root::{Root, RootError},
    settings::FilesSettings,
};
use crate::{
    compress::negotiate::{Coding, choose},
    http::{
        error::{Error, Kind},
        header_list::HeaderList,
        known_name::KnownName,
    },
    runtime::{clock::Clock, coarse_timer::CoarseTimer},
};

pub mod blocking;
pub mod body;
pub mod challenge;
pub mod conditions;
pub mod lookup;
pub mod name;
pub mod root;
pub mod settings;

/// Longest wait for a disk.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Files of a route, as a worker serves them.
pub struct FileServer {
    shared: Arc<Shared>,
    reads: BlockingReads,
    alarm: Rc<CoarseTimer>,
}

/// State that the reading threads use.
#[derive(Debug)]
struct Shared {
    settings: FilesSettings,
    root: Root,
}

/// Request for a file.
#[derive(Clone, Debug)]
pub struct FileRequest {
    name: Vec<u8>,
    /// Accepted codings of files, the preferred one first.
    codings: Vec<Coding>,
    conditions: Conditions,
    is_get: bool,
    now: Duration,
}

/// Response to a request for a file.
pub enum FileReply {
    /// Response with these fields and this body.
    File(StatusCode, HeaderList, FileBody),
    /// The path is that of a directory without the slash at its end.
    Directory,
}

impl FileServer {
    /// Opens the root.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(
        settings: &FilesSettings,
        reads: &BlockingReads,
        alarm: &Rc<CoarseTimer>,
    ) -> Result<Self, RootError> {
        let root = Root::open(&settings.root)?;
        let shared = Arc::new(Shared { settings: settings.clone(), root });
        Ok(Self { shared, reads: reads.clone(), alarm: Rc::clone(alarm) })
    }

    /// Reads what a request for a path in its normal form needs, at `now`; none if no file with
    /// this path is ever served.
    #[must_use]
    pub fn request(
        &self,
        path: &str,
        headers: &HeaderList,
        is_get: bool,
        now: Duration,
    ) -> Option<FileRequest> {
        let (name, conditions) = (name::of(path)?, Conditions::of(headers, is_get));
        let codings = accepted(&self.shared.settings.precompressed, headers);
        Some(FileRequest { name, codings, conditions, is_get, now })
    }

    /// Responds to a request for a file.
    ///
    /// # Errors
    /// When there is none, it may not be read or cannot be read.
    pub async fn respond(&self, request: FileRequest) -> Result<FileReply, Error> {
        let shared = Arc::clone(&self.shared);
        let work = self.reads.clone().run(move || shared.serve(&request));
        let served = self.alarm.within(READ_TIMEOUT, work).await.ok_or_else(timed_out)?;
        match served.map_err(unreadable)?? {
            Served::Directory => Ok(FileReply::Directory),
            Served::File(status, headers, part) => {
                let deadline = self.alarm.deadline(READ_TIMEOUT);
                let body = FileBody::new(part, self.reads.clone(), deadline);
                Ok(FileReply::File(status, headers, body))
            }
        }
    }
}

/// Codings of files that a client accepts, the preferred one first.
fn accepted(offered: &[Coding], headers: &HeaderList) -> Vec<Coding> {
    let mut left = offered.to_vec();
    std::iter::from_fn(|| {
        let next = choose(&left, headers)?;
        left.retain(|coding| *coding != next);
        Some(next)
    })
    .collect()
}

/// Result of a reading thread.
enum Served {
    File(StatusCode, HeaderList, Option<FilePart>),
    Directory,
}

impl Shared {
    fn serve(&self, request: &FileRequest) -> Result<Served, Error> {
        let directory = self.root.directory(request.now);
        let found = match find(&*directory, &self.settings, &request.name, &request.codings)? {
            Search::Directory => return Ok(Served::Directory),
            Search::File(found) => found,
        };
        let length = found.length;
        let (status, part) = match request.conditions.evaluate(&found.validators, length) {
            Selection::Whole => (StatusCode::OK, Some(0..length)),
            Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
            Selection::NotModified => (StatusCode::NOT_MODIFIED, None),
            Selection::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
            Selection::RangeNotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        };
        let headers = self.describe(&found, status, part.as_ref());
        let part = part.filter(|_| request.is_get).map(|part| first(found.file, part));
        Ok(Served::File(status, headers, part.transpose().map_err(unreadable)?))
    }

    /// Fields of a response, with this part of a file if it has a body.
    fn describe(&self, found: &Found, status: StatusCode, part: Option<&Range<u64>>) -> HeaderList {
        let mut headers = HeaderList::with_room();
        if !self.settings.precompressed.is_empty() {
            // Also where there is one form: a cache must ask again when another one appears.
            headers.set_static(KnownName::Vary, "accept-encoding");
        }
        if let Some(part) = part {
            headers.set_number(KnownName::ContentLength, part.end - part.start);
            headers.set_static(KnownName::ContentType, found.media);
            headers.set_static(KnownName::AcceptRanges, "bytes");
            if let Some(coding) = found.coding {
                headers.set_static(KnownName::ContentEncoding, coding.name());
            }
            if status == StatusCode::PARTIAL_CONTENT {
                let range = format!("bytes {}-{}/{}", part.start, part.end - 1, found.length);
                headers.set_valid(KnownName::ContentRange, range.as_bytes());
            }
        } else if status != StatusCode::NOT_MODIFIED {
            headers.set_number(KnownName::ContentLength, 0);
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                let range = format!("bytes */{}", found.length);
                headers.set_valid(KnownName::ContentRange, range.as_bytes());
            }
            return headers;
        }
        headers.set_valid(KnownName::Etag, found.validators.etag.as_bytes());
        if let Some((name, date)) = last_modified(found) {
            headers.set_any(&name, &date);
        }
        if let Some(policy) = &self.settings.cache_control {
            headers.set(KnownName::CacheControl, policy);
        }
        headers
    }
}

/// `Last-Modified`; none if it is in the future, which no response may say (RFC 9110, section
/// 8.8.2.1).
fn last_modified(found: &Found) -> Option<(HeaderName, HeaderValue)> {
    let modified = found.validators.modified.filter(|modified| *modified <= Clock::wall())?;
    let date = HeaderValue::try_from(httpdate::fmt_http_date(modified)).ok()?;
    Some((header::LAST_MODIFIED, date))
}

/// Part of a file, whose first bytes are read: most files need no further visit of a thread.
fn first(file: File, part: Range<u64>) -> std::io::Result<FilePart> {
    let length = part.end - part.start;
    let first = if length == 0 { Bytes::new() } else { body::read(&file, part.start, length)? };
    let offset = part.start + first.len() as u64;
    Ok(FilePart { file: Arc::new(file), offset, first, length })
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Missing => Self::new(Kind::FileNotFound, "there is no such file"),
            FileError::NoIndex => Self::new(Kind::FileForbidden, "the directory has no index"),
            FileError::Forbidden(cause) => {
                Self::caused(Kind::FileForbidden, "the file may not be read", cause)
            }
            FileError::Unreadable(cause) => unreadable(cause),
        }
    }
}
