//! Tombstones in Redis, and the lifetimes of the rows they cover.

use std::time::Duration;

/// A cached row lives at least so long.
pub(crate) const TTL_MS: u64 = 60_000;

/// And up to so much longer, so that rows filled together do not run out together.
pub(crate) const JITTER_MS: u64 = 15_000;

/// A tombstone's life: longer than a statement (4 s) and a fill (3 s) together.
pub(crate) const TOMBSTONE_MS: u64 = 10_000;

/// Value of a tombstone; no row's JSON is empty.
pub(crate) const TOMBSTONE: &str = "";

/// After this long nothing that is cached now is cached any more.
pub(crate) const ALL_EXPIRED: Duration = Duration::from_millis(TTL_MS + JITTER_MS + 1000);

/// The commands that set tombstones.
pub(crate) fn tombstones(keys: &[String]) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd("SET").arg(key).arg(TOMBSTONE).arg("PX").arg(TOMBSTONE_MS).ignore();
    }
    pipeline
}
