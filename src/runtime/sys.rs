//! Calls to the system that no crate in use offers safely: the one file that may say `unsafe`
//! (`tests/house.rs` counts).

use std::time::Duration;

/// When memory is given back after a change of the configuration: once what served before is gone,
/// and once more when its last connections may be gone.
const AFTER_A_CHANGE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(20)];

/// Gives freed memory back to the system, of this thread and of threads that ended.
///
/// mimalloc keeps freed pages until the thread that allocated them allocates again: a zone that a
/// reload dropped would stay resident for good in a process that has nothing to do
/// (`tests/serve/memory.rs`).
pub fn give_back_memory() {
    #[cfg(feature = "mimalloc")]
    #[allow(unsafe_code, reason = "no crate in use offers this call safely")]
    // SAFETY: takes no pointer, and may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Gives memory of this thread back a while after a change.
pub async fn give_back_memory_after_a_change() {
    for pause in AFTER_A_CHANGE {
        tokio::time::sleep(pause).await;
        give_back_memory();
    }
}
