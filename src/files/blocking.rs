//! Threads on which files are opened and read, so that no worker waits for a disk.
//!
//! Guarantee: at most [`MAX_READS`] of a worker run at a time, also if a disk does not respond: a
//! read whose request is gone counts until it returns. Others wait in line.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Limit on the reads of a worker that run at a time, each on a thread.
pub const MAX_READS: usize = 64;

/// Permits of a worker to read.
#[derive(Clone, Debug)]
pub struct BlockingReads(Arc<Semaphore>);

/// The work of a thread was lost: it panicked, or the worker ends.
#[derive(Debug, thiserror::Error)]
#[error("the thread that reads files failed")]
pub struct ReadFailure;

impl Default for BlockingReads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READS)))
    }
}

impl BlockingReads {
    /// Permits for this many reads.
    #[must_use]
    pub fn limited(reads: usize) -> Self {
        Self(Arc::new(Semaphore::new(reads)))
    }

    /// Runs `work` on a thread once there is a permit.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let permit = self.0.acquire_owned().await.map_err(|_| ReadFailure)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|_| ReadFailure)
    }
}
