//! System calls that no crate in use offers safely. This is the one file with `unsafe`
//! (`tests/house.rs` counts).

use std::time::Duration;

/// Delays after a configuration change at which memory is returned: once the old configuration is
/// dropped, and again when its last connections may have ended.
const AFTER_A_CHANGE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(20)];

/// Returns freed memory of this thread, and of threads that ended, to the system.
///
/// mimalloc keeps freed pages until the thread that allocated them allocates again. Without this
/// call a zone dropped by a reload would stay resident in an idle process
/// (`tests/serve/memory.rs`).
pub fn give_back_memory() {
    #[cfg(feature = "mimalloc")]
    #[allow(unsafe_code, reason = "no crate in use offers this call safely")]
    // SAFETY: the call takes no pointer and may be made by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Returns memory of this thread some time after a change.
pub async fn give_back_memory_after_a_change() {
    for pause in AFTER_A_CHANGE {
        tokio::time::sleep(pause).await;
        give_back_memory();
    }
}
