//! System calls that no crate in use offers safely. This is the one file with `unsafe`
//! (`tests/house.rs` counts).

use std::{
    env,
    ffi::c_int,
    fs, io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    process,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_setfd};

/// First descriptor of a service manager's sockets (`sd_listen_fds(3)`).
const FIRST_INHERITED: RawFd = 3;

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

/// Takes over the descriptors that the service manager passed, at most `limit`. Each is closed in
/// processes that this one starts. Only the first call returns any: a descriptor has one owner.
#[must_use]
pub fn inherited_descriptors(limit: usize) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    // Variables that were meant for a parent say nothing about the descriptors of this process.
    let is_meant = number("LISTEN_PID") == usize::try_from(process::id()).ok();
    if !is_meant || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(limit);
    let is_open = |number: &RawFd| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    #[allow(unsafe_code, reason = "a descriptor that is passed by its number has no other way in")]
    let take = |number: RawFd| {
        // SAFETY: it is open, and no other part of the process owns it: by `LISTEN_PID` it was
        // passed to this process, so that none of its own has its number, and it is taken once.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    let taken: Vec<_> = (FIRST_INHERITED..).take(count).filter(is_open).map(take).collect();
    // A process that takes over gets duplicates by the hand-over.
    for owned in &taken {
        // It fails for no descriptor that is open.
        let _ = fcntl_setfd(owned, FdFlags::CLOEXEC);
    }
    taken
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
