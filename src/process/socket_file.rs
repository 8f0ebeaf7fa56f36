//! File of a Unix socket that weir listens on: bound, given its permissions, and removed again.
//!
//! Guarantees: no process may connect before the file has its permissions. A socket on which another
//! process listens, and a file that is no socket, are left alone. No link is followed at the path
//! itself. Only the file that was bound is removed: one that took its place since stays.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chmod, chownat, fchmod, fstat, lstat,
        openat, unlink,
    },
    io::Errno,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::downstream::{
    listener::BACKLOG,
    settings::{FileOwner, SocketFileSettings},
};

/// File of a listening socket, which is removed on drop if it is owned.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    /// Device and inode, by which the file is recognised.
    identity: (u64, u64),
    /// True if no other process serves the socket.
    owned: bool,
}

impl SocketFile {
    /// Binds a socket to a path and listens on it. A socket file that no process listens on is
    /// replaced.
    ///
    /// # Errors
    /// When the path is in use or may not be written.
    pub fn bind(
        path: &Arc<Path>,
        settings: SocketFileSettings,
    ) -> io::Result<(UnixListener, Self)> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The runtime requires it: a blocking accept would stop the whole worker.
        socket.set_nonblocking(true)?;
        // The kernel creates the file with the mode of the socket, less the umask (`unix(7)`), so
        // it never has a wider one than is wanted.
        fchmod(&socket, Mode::from_raw_mode(settings.mode))?;
        socket.bind(&SockAddr::unix(path)?)?;
        let mut file = Self::found(path)?;
        file.own();
        // Before it listens: until then each connection is refused, whatever the permissions.
        file.grant(settings)?;
        socket.listen(BACKLOG)?;
        Ok((OwnedFd::from(socket).into(), file))
    }

    /// File of a socket that another process still serves: it is not owned.
    ///
    /// # Errors
    /// When there is no socket at the path.
    pub fn found(path: &Arc<Path>) -> io::Result<Self> {
        let found = lstat(&**path)?;
        if !is_socket(&found) {
            return Err(not_a_socket());
        }
        Ok(Self { path: Arc::clone(path), identity: identity(&found), owned: false })
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its permissions.
    ///
    /// # Errors
    /// When the file is another one by now, or the kernel refuses.
    pub fn grant(&self, settings: SocketFileSettings) -> io::Result<()> {
        // Opened once and changed by its descriptor: who may write to the folder could put a link
        // to any file at the path meanwhile.
        // A path alone, as the socket itself cannot be opened for reading.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, &*self.path, flags, Mode::empty())?;
        let opened = fstat(&file)?;
        // A second name would be that of a socket of another program.
        if identity(&opened) != self.identity || !is_socket(&opened) || opened.st_nlink != 1 {
            return Err(io::Error::other("another file has taken the place of the socket"));
        }
        // `fchmod(2)` takes no descriptor of this kind.
        chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(settings.mode))?;
        let FileOwner { user, group } = settings.owner;
        if user.is_some() || group.is_some() {
            let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
            chownat(&file, "", user, group, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }

    /// Owns the file: no other process serves the socket any more.
    pub fn own(&mut self) {
        self.owned = true;
    }

    /// Leaves the file to the process that has taken over its socket.
    pub fn leave(mut self) {
        self.owned = false;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.owned || !lstat(&*self.path).is_ok_and(|found| identity(&found) == self.identity) {
            return;
        }
        if let Err(error) = unlink(&*self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket file");
        }
    }
}

/// Removes the file of a socket on which no process listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    if !is_socket(&found) {
        return Err(not_a_socket());
    }
    // Only a connection shows whether a process listens: the file stays when its process is killed.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose backlog is full would keep the connect waiting.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(unlink(path)
            .or_else(|error| match error {
                Errno::NOENT => Ok(()),
                error => Err(error),
            })?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}

fn is_socket(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Socket
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

fn not_a_socket() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{
            fs::{PermissionsExt, symlink},
            net::UnixStream,
        },
    };

    use crate::process::socket_file::*;

    fn place() -> (tempfile::TempDir, Arc<Path>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weir.sock").into();
        (folder, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    #[test]
    fn socket_file_has_the_mode_whatever_the_umask_and_goes_with_its_owner() {
        let (_folder, path) = place();
        for wanted in [SocketFileSettings::PRIVATE, 0o660, 0o666] {
            let settings = SocketFileSettings { mode: wanted, ..Default::default() };
            let (_listener, file) = SocketFile::bind(&path, settings).expect("a socket");
            assert_eq!(mode(&path), wanted);
            assert!(UnixStream::connect(&path).is_ok());
            drop(file);
            assert!(!path.exists());
        }
    }

    #[test]
    fn socket_file_of_a_process_that_was_killed_is_replaced() {
        let (_folder, path) = place();
        let (listener, file) = SocketFile::bind(&path, Default::default()).expect("a socket");
        file.leave();
        drop(listener);
        assert!(UnixStream::connect(&path).is_err() && path.exists());
        let _replaced = SocketFile::bind(&path, Default::default()).expect("a socket");
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn socket_in_use_is_left_alone() {
        let (_folder, path) = place();
        let (_listener, _file) = SocketFile::bind(&path, Default::default()).expect("a socket");
        let second = SocketFile::bind(&path, Default::default()).expect_err("a socket in use");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn file_and_link_at_the_path_of_a_socket_are_left_alone() {
        let (folder, path) = place();
        let other = folder.path().join("other");
        fs::write(&other, "content").expect("a file");
        fs::set_permissions(&other, PermissionsExt::from_mode(0o640)).expect("a file");
        symlink(&other, &path).expect("a link");
        let settings = SocketFileSettings { mode: 0o666, ..Default::default() };
        assert!(SocketFile::bind(&path, settings).is_err());
        // A link to nothing would be created at its target.
        fs::remove_file(&path).expect("a link");
        symlink(folder.path().join("nothing"), &path).expect("a link");
        assert!(SocketFile::bind(&path, settings).is_err());
        assert!(!folder.path().join("nothing").exists());
        fs::remove_file(&path).expect("a link");
        fs::write(&path, "content").expect("a file");
        assert!(SocketFile::bind(&path, settings).is_err());
        assert_eq!(fs::read_to_string(&path).expect("a file"), "content");
        assert_eq!(mode(&other), 0o640);
    }

    #[test]
    fn link_that_takes_the_place_of_a_socket_gets_no_permissions_and_is_not_removed() {
        let (folder, path) = place();
        let (_listener, file) = SocketFile::bind(&path, Default::default()).expect("a socket");
        let other = folder.path().join("other");
        fs::write(&other, "content").expect("a file");
        fs::set_permissions(&other, PermissionsExt::from_mode(0o600)).expect("a file");
        fs::remove_file(&path).expect("a socket");
        symlink(&other, &path).expect("a link");
        let settings = SocketFileSettings { mode: 0o666, ..Default::default() };
        assert!(file.grant(settings).is_err());
        drop(file);
        assert_eq!(mode(&other), 0o600);
        assert!(fs::symlink_metadata(&path).is_ok());
    }
}
