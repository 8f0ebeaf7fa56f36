//! Directory of a route's files, and the only way to open something below it.
//!
//! Guarantee: nothing outside of the directory is opened, whatever the name and the links below
//! it: the kernel resolves every name beneath the directory (`openat2` with `RESOLVE_BENEATH`,
//! Linux 5.6), and there is no other way. A link to a place within the directory is followed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    fs::{self, CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::runtime::hint::Hinted;

/// Time after which the path of the directory is looked up again: a deployment that puts another
/// directory in its place is seen without a reload.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Number of times that a name is resolved while others move directories on its way.
const TRIES: usize = 8;
/// No name leads out of the directory, by `..`, a link or a link of `/proc`.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Directory that is held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    directory: Arc<OwnedFd>,
    looked: Duration,
}

/// Reason why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It cannot be opened.
    #[error("`{}` cannot be opened: {}", .0.display(), .1)]
    Unopened(PathBuf, #[source] io::Error),
    /// The kernel cannot resolve names beneath a directory.
    #[error("the system call `openat2` cannot be used: {0}")]
    Unsupported(#[source] io::Error),
}

impl Hinted for RootError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unopened(_, error) => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "the user who runs weir must be allowed to enter this directory".to_owned()
                }
                _ => "name a directory that exists; in a container it must be mounted".to_owned(),
            },
            Self::Unsupported(_) => {
                "files are served on Linux 5.6 or newer; a container runtime must allow the call"
                    .to_owned()
            }
        })
    }
}

impl Root {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it cannot be opened, or the kernel has no `openat2`: weir never opens a file without.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let directory =
            directory(path).map_err(|error| RootError::Unopened(path.to_owned(), error.into()))?;
        let own = open_once(directory.as_fd(), b".", OFlags::PATH | OFlags::DIRECTORY);
        own.map_err(|error| RootError::Unsupported(error.into()))?;
        let held = Held { directory: Arc::new(directory), looked: Duration::ZERO };
        Ok(Self { path: path.to_owned(), held: Mutex::new(held) })
    }

    /// Returns the directory. It is opened again if it was last opened some time before `now`; one
    /// that cannot be opened any more stays in use. May wait for a disk.
    #[must_use]
    pub fn directory(&self, now: Duration) -> Arc<OwnedFd> {
        let lock = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut held = lock();
            if now.saturating_sub(held.looked) < LOOK_AGAIN {
                return Arc::clone(&held.directory);
            }
            // First, so that the others do not look too.
            held.looked = now;
        }
        let found = directory(&self.path);
        let mut held = lock();
        if let Ok(found) = found {
            held.directory = Arc::new(found);
        }
        Arc::clone(&held.directory)
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(CWD, path, flags, Mode::empty())
}

/// Opens what a name below the directory leads to, for reading. Opening a FIFO or a device does not
/// wait for it.
///
/// # Errors
/// Those of `openat2`.
pub fn open(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_beneath(directory, name, flags)
}

/// Opens a file of the directory itself for reading; a link is not followed.
///
/// # Errors
/// Those of `openat2`.
pub fn open_no_link(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let resolve = BENEATH | ResolveFlags::NO_SYMLINKS;
    fs::openat2(directory, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Returns true if a name leads to a directory.
pub fn has_directory(directory: impl AsFd, name: &[u8]) -> bool {
    let name = if name.is_empty() { b"." } else { name };
    open_beneath(directory, name, OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

fn open_beneath(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut result = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        result = open_once(&directory, name, flags);
        // The kernel cannot tell whether a `..` of a link escaped while a directory was moved.
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result
}

fn open_once(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    fs::openat2(directory, name, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}
