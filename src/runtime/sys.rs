//! System calls that no crate in use offers safely. This is the one file with `unsafe`
//! (`tests/house.rs` counts).

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

/// Delays after a configuration change at which memory is returned: once the old configuration is
/// dropped, and again when its last connections may have ended.
const AFTER_A_CHANGE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(20)];

/// Sets for how many seconds the kernel keeps a connection that sends nothing from a listener
/// (`TCP_DEFER_ACCEPT`, see `tcp(7)`); 0 for not at all.
///
/// # Errors
/// When the kernel refuses.
pub fn defer_accept(listener: &impl AsFd, seconds: c_int) -> io::Result<()> {
    let (descriptor, size) = (listener.as_fd().as_raw_fd(), size_of::<c_int>());
    let size = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
    #[allow(unsafe_code, reason = "no crate in use offers this option")]
    // SAFETY: the descriptor is open as long as `listener` is borrowed, and the kernel reads `size`
    // bytes of `seconds`, which lives until the call returns.
    let outcome = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

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
