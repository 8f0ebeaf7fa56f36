//! Body that is read from a file.
//!
//! Guarantees: at most [`READ_BYTES`] of a file are in memory for a response, and the next are read
//! when those were taken. A read is on a thread that may wait for a disk, and a body waits for one
//! no longer than [`super::READ_TIMEOUT`]. A file that became shorter is an error, never an end.

use std::{
    fs::File,
    future::Future,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::blocking::{BlockingReads, ReadFailure};
use crate::{
    http::error::{Error, Kind},
    runtime::coarse_timer::Deadline,
};

/// Bytes of a file that are read together.
pub const READ_BYTES: usize = 64 * 1024;

/// Read in progress.
type Reading = Pin<Box<dyn Future<Output = Result<io::Result<Bytes>, ReadFailure>>>>;

/// Part of a file that is sent.
#[derive(Debug)]
pub struct FilePart {
    /// File, with the number of the first byte that was not read yet.
    pub file: Arc<File>,
    /// Number of that byte.
    pub offset: u64,
    /// Bytes that were read, the first ones of the part.
    pub first: Bytes,
    /// Length of the part.
    pub length: u64,
}

/// Body of a response with a file.
pub struct FileBody {
    part: Option<FilePart>,
    reads: BlockingReads,
    reading: Option<Reading>,
    deadline: Deadline,
}

/// Reads the next bytes of a file, of `left` that are wanted.
///
/// # Errors
/// Those of the disk, and an end before the first of these bytes.
pub fn read(file: &File, offset: u64, left: u64) -> io::Result<Bytes> {
    let length = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
    let mut bytes = vec![0; length];
    let read = loop {
        match file.read_at(&mut bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if read == 0 && length > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(read);
    Ok(bytes.into())
}

impl FileBody {
    /// Body with this part; without one it is empty.
    #[must_use]
    pub fn new(part: Option<FilePart>, reads: BlockingReads, deadline: Deadline) -> Self {
        Self { part, reads, reading: None, deadline }
    }

    fn left(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.length)
    }
}

impl FilePart {
    /// Takes the bytes that were read.
    fn take(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(&mut self.first);
        self.length = self.length.saturating_sub(bytes.len() as u64);
        (!bytes.is_empty()).then_some(bytes)
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(part) = this.part.as_mut().filter(|part| part.length > 0) else {
            return Poll::Ready(None);
        };
        if let Some(bytes) = part.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let reading = this.reading.get_or_insert_with(|| {
            let (file, offset, left) = (Arc::clone(&part.file), part.offset, part.length);
            let reads = this.reads.clone();
            Box::pin(async move { reads.run(move || read(&file, offset, left)).await })
        });
        let Poll::Ready(read) = reading.as_mut().poll(context) else {
            return this.deadline.poll(context).map(|()| Some(Err(timed_out())));
        };
        this.reading = None;
        this.deadline.reset();
        Poll::Ready(Some(match read {
            Ok(Ok(bytes)) => {
                part.offset += bytes.len() as u64;
                part.first = bytes;
                Ok(Frame::data(part.take().unwrap_or_default()))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let detail = "the file became shorter during its response";
                Err(Error::caused(Kind::FileUnreadable, detail, error))
            }
            Ok(Err(error)) => Err(unreadable(error)),
            Err(failure) => Err(unreadable(failure)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

/// Error of a disk that takes too long.
#[must_use]
pub fn timed_out() -> Error {
    Error::new(Kind::FileUnreadable, "reading the file takes too long")
}

/// Error of a file that cannot be read.
pub fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused(Kind::FileUnreadable, "the file cannot be read", cause)
}
