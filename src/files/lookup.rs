//! Search for the file of a name: itself, an index, the fallback, a precompressed form of it.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{FileType, fstat},
    io::Errno,
};

use super::{
    conditions::{Validators, whole_seconds},
    root,
    settings::FilesSettings,
};
use crate::compress::negotiate::Coding;

/// File that was found.
#[derive(Debug)]
pub struct Found {
    /// The open file, which is a regular one.
    pub file: File,
    /// Media type, by the ending of its name.
    pub media: &'static str,
    /// Length in bytes.
    pub length: u64,
    /// Validators of this form of it.
    pub validators: Validators,
    /// Coding of this form.
    pub coding: Option<Coding>,
    /// Name below the root.
    name: Vec<u8>,
}

/// Outcome of a search.
#[derive(Debug)]
pub enum Search {
    /// A file.
    File(Found),
    /// A directory whose name lacks the slash at its end.
    Directory,
}

/// Reason why no file is served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is a directory without an index.
    #[error("the directory has no index")]
    NoIndex,
    /// The permissions of the disk do not allow to read it.
    #[error("the file may not be read")]
    Forbidden(#[source] io::Error),
    /// It cannot be read.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
}

impl From<Errno> for FileError {
    fn from(error: Errno) -> Self {
        match error {
            // A link that leads out of the root (EXDEV) or in a circle (ELOOP) leads to nothing. A
            // socket cannot be opened (ENXIO).
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NXIO
            | Errno::NODEV
            | Errno::INVAL => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::Forbidden(error.into()),
            other => Self::Unreadable(other.into()),
        }
    }
}

/// Finds the file of a name in a form that the client accepts, one of `codings` before the file
/// itself. May wait for a disk.
///
/// # Errors
/// [`FileError`], if none can be served.
pub fn find(
    directory: impl AsFd,
    settings: &FilesSettings,
    name: &[u8],
    codings: &[Coding],
) -> Result<Search, FileError> {
    let directory = directory.as_fd();
    let is_directory = name.is_empty() || name.ends_with(b"/");
    let found = if is_directory {
        index(directory, settings, name)
    } else {
        open(directory, name.to_vec())
    };
    let found = match (found, &settings.fallback) {
        (Err(FileError::Missing), Some(fallback)) => open(directory, fallback.clone().into()),
        (Err(FileError::Missing), None) if is_directory && root::has_directory(directory, name) => {
            Err(FileError::NoIndex)
        }
        (found, _) => found,
    };
    Ok(match found? {
        Search::File(found) => {
            Search::File(precompressed(directory, &found, codings).unwrap_or(found))
        }
        Search::Directory => Search::Directory,
    })
}

/// First index of a directory that exists.
fn index(
    directory: BorrowedFd<'_>,
    settings: &FilesSettings,
    name: &[u8],
) -> Result<Search, FileError> {
    for index in &settings.index {
        match open(directory, [name, index.as_bytes()].concat()) {
            Err(FileError::Missing) | Ok(Search::Directory) => {}
            found => return found,
        }
    }
    Err(FileError::Missing)
}

/// Form of a file in the first of these codings of which there is one.
fn precompressed(directory: BorrowedFd<'_>, plain: &Found, codings: &[Coding]) -> Option<Found> {
    codings.iter().find_map(|coding| {
        let name = [&plain.name, b".".as_slice(), ending(*coding).as_bytes()].concat();
        // One that cannot be read is as none: the file itself can.
        let Ok(Search::File(mut found)) = open(directory, name) else { return None };
        found.media = plain.media;
        found.coding = Some(*coding);
        // Forms of equal length and time are still different forms.
        found.validators.etag.insert_str(1, &format!("{}-", ending(*coding)));
        Some(found)
    })
}

/// Ending of the names of files in a coding.
fn ending(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => "zst",
        Coding::Brotli => "br",
        Coding::Gzip => "gz",
    }
}

fn open(directory: BorrowedFd<'_>, name: Vec<u8>) -> Result<Search, FileError> {
    let opened = root::open(directory, &name)?;
    let facts = fstat(&opened)?;
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(Search::Directory),
        _ => return Err(FileError::Missing),
    }
    let length = u64::try_from(facts.st_size).unwrap_or(0);
    let modified = whole_seconds(facts.st_mtime);
    let etag = etag(facts.st_mtime, facts.st_mtime_nsec, length);
    let media = mime_guess::from_path(Path::new(OsStr::from_bytes(&name)));
    Ok(Search::File(Found {
        file: opened.into(),
        media: media.first_raw().unwrap_or("application/octet-stream"),
        length,
        validators: Validators { etag, modified },
        coding: None,
        name,
    }))
}

/// Entity tag of a file, that of nginx where times are in whole seconds.
///
/// Without the part of a second two versions of one length could have one tag.
fn etag(seconds: i64, nanoseconds: u64, length: u64) -> String {
    match nanoseconds {
        0 => format!("\"{seconds:x}-{length:x}\""),
        part => format!("\"{seconds:x}.{part:x}-{length:x}\""),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{
            fs::{FileExt, PermissionsExt, symlink},
            net::UnixListener,
        },
        path::PathBuf,
    };

    use rustix::fs::{CWD, Mode, mknodat};
    use tempfile::TempDir;

    use crate::{
        compress::negotiate::Coding,
        files::{lookup::*, root::Root},
    };

    /// A folder with a root and a secret beside it.
    struct Disk {
        folder: TempDir,
        settings: FilesSettings,
    }

    impl Disk {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let root = folder.path().join("root");
            fs::create_dir(&root).expect("a folder");
            fs::write(folder.path().join("secret"), "secret").expect("a file");
            let settings = FilesSettings {
                root,
                index: vec!["index.html".to_owned()],
                fallback: None,
                precompressed: Vec::new(),
                cache_control: None,
            };
            Self { folder, settings }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.settings.root.join(name)
        }

        fn with(self, name: &str, content: &str) -> Self {
            fs::create_dir_all(self.path(name).parent().expect("a parent")).expect("a folder");
            fs::write(self.path(name), content).expect("a file");
            self
        }

        fn link(&self, name: &str, to: impl AsRef<Path>) {
            symlink(to, self.path(name)).expect("a link");
        }

        fn find(&self, name: &str, codings: &[Coding]) -> String {
            let root = Root::open(&self.settings.root).expect("a root");
            let directory = root.directory(std::time::Duration::ZERO);
            match find(&*directory, &self.settings, name.as_bytes(), codings) {
                Ok(Search::File(found)) => {
                    let mut content = vec![0; usize::try_from(found.length).expect("small")];
                    found.file.read_exact_at(&mut content, 0).expect("its content");
                    String::from_utf8(content).expect("text")
                }
                Ok(Search::Directory) => "a directory".to_owned(),
                Err(FileError::Missing) => "missing".to_owned(),
                Err(FileError::NoIndex) => "no index".to_owned(),
                Err(FileError::Forbidden(_)) => "forbidden".to_owned(),
                Err(FileError::Unreadable(error)) => panic!("{error}"),
            }
        }
    }

    fn read(disk: &Disk, name: &str) -> String {
        disk.find(name, &[])
    }

    #[test]
    fn links_out_of_the_root_lead_to_nothing() {
        let disk = Disk::new().with("in/a", "inside");
        disk.link("absolute", disk.folder.path().join("secret"));
        disk.link("relative", "../secret");
        disk.link("deep", "in/../../secret");
        disk.link("slash", "/");
        disk.link("own", disk.path("in/a"));
        disk.link("process", "/proc/self/root");
        disk.link("descriptor", "/proc/self/fd/0");
        disk.link("circle", "circle");
        for name in [
            "absolute",
            "relative",
            "deep",
            "slash",
            "slash/etc/passwd",
            "own",
            "process",
            "process/etc/passwd",
            "descriptor",
            "circle",
            "circle/a",
            "../secret",
            "..",
            "/",
            "/etc/passwd",
            "in/../../secret",
            "in/../../root/in/a",
        ] {
            assert_eq!(read(&disk, name), "missing", "{name}");
        }
    }

    #[test]
    fn links_within_the_root_are_followed() {
        let disk = Disk::new().with("in/a", "inside").with("releases/5/index.html", "five");
        disk.link("a", "in/a");
        disk.link("in/up", "../in/../in/a");
        disk.link("current", "releases/5");
        assert_eq!(read(&disk, "a"), "inside");
        assert_eq!(read(&disk, "in/up"), "inside");
        assert_eq!(read(&disk, "current/"), "five");
        assert_eq!(read(&disk, "current"), "a directory");
    }

    #[test]
    fn what_is_no_regular_file_is_missing_and_does_not_block() {
        let disk = Disk::new();
        mknodat(CWD, disk.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a FIFO");
        let _socket = UnixListener::bind(disk.path("socket")).expect("a socket");
        disk.link("null", "/dev/null");
        for name in ["fifo", "socket", "null", "fifo/", "fifo/a"] {
            assert_eq!(read(&disk, name), "missing", "{name}");
        }
    }

    #[test]
    fn directory_gives_its_index_and_nothing_else() {
        let disk =
            Disk::new().with("index.html", "home").with("a/b", "b").with("i/index.html/x", "");
        for (name, expected) in [
            ("", "home"),
            ("a", "a directory"),
            ("a/", "no index"),
            ("a/b/", "missing"),
            ("a/b/c", "missing"),
            ("none/", "missing"),
            ("i/", "no index"),
            ("index.html/", "missing"),
        ] {
            assert_eq!(read(&disk, name), expected, "{name}");
        }
    }

    #[test]
    fn indexes_are_tried_in_order() {
        let mut disk = Disk::new().with("a/index.htm", "two").with("b/index.htm", "two");
        disk.settings.index.push("index.htm".to_owned());
        let disk = disk.with("b/index.html", "one");
        assert_eq!([read(&disk, "a/"), read(&disk, "b/")], ["two", "one"]);
        assert_eq!(read(&disk, ""), "no index");
    }

    #[test]
    fn fallback_stands_for_what_is_missing_only() {
        let mut disk = Disk::new().with("app.html", "app").with("a/b", "b");
        disk.settings.fallback = Some("app.html".to_owned());
        disk.link("out", "../secret");
        for (name, expected) in [
            ("", "app"),
            ("none", "app"),
            ("none/x/", "app"),
            ("a/", "app"),
            ("a", "a directory"),
            ("a/b", "b"),
            ("out", "app"),
        ] {
            assert_eq!(read(&disk, name), expected, "{name}");
        }
        disk.settings.fallback = Some("nowhere.html".to_owned());
        assert_eq!([read(&disk, "none"), read(&disk, "a/")], ["missing", "missing"]);
    }

    /// The superuser may read everything.
    #[test]
    fn file_without_permission_is_forbidden() {
        if rustix::process::geteuid().is_root() {
            assert!(matches!(FileError::from(Errno::ACCESS), FileError::Forbidden(_)));
            return;
        }
        let disk = Disk::new().with("a", "a").with("closed/b", "b");
        for name in ["a", "closed"] {
            fs::set_permissions(disk.path(name), fs::Permissions::from_mode(0o0)).expect("a mode");
        }
        assert_eq!([read(&disk, "a"), read(&disk, "closed/b")], ["forbidden", "forbidden"]);
    }

    #[test]
    fn precompressed_form_is_the_first_accepted_that_exists() {
        let disk = Disk::new()
            .with("a.js", "plain")
            .with("a.js.gz", "gzip")
            .with("b.js", "plain")
            .with("b.js.br", "brotli")
            .with("b.js.gz", "gzip")
            .with("c.js.br", "alone");
        fs::create_dir(disk.path("a.js.br")).expect("a folder");
        disk.link("b.js.zst", "../secret");
        let all = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        for (name, codings, expected) in [
            ("a.js", &all[..], "gzip"),
            ("b.js", &all, "brotli"),
            ("b.js", &[Coding::Gzip, Coding::Brotli], "gzip"),
            ("b.js", &[], "plain"),
            ("b.js.br", &[], "brotli"),
            ("c.js", &all, "missing"),
        ] {
            assert_eq!(disk.find(name, codings), expected, "{name}");
        }
    }

    #[test]
    fn tag_differs_by_length_time_and_form() {
        assert_eq!(etag(0x65, 0, 0x10), "\"65-10\"", "as nginx writes it");
        assert_eq!(etag(0x65, 0xf, 0x10), "\"65.f-10\"");
        let disk = Disk::new().with("a.css", "same").with("a.css.gz", "same");
        let directory = Root::open(&disk.settings.root).expect("a root");
        let directory = directory.directory(std::time::Duration::ZERO);
        let found = |codings| match find(&*directory, &disk.settings, b"a.css", codings) {
            Ok(Search::File(found)) => (found.media, found.validators.etag),
            other => panic!("{other:?}"),
        };
        let (plain, coded) = (found(&[]), found(&[Coding::Gzip]));
        assert_eq!([plain.0, coded.0], ["text/css"; 2]);
        assert!(coded.1.starts_with("\"gz-") && coded.1 != plain.1, "{coded:?}");
    }

    #[test]
    fn root_is_looked_up_again_after_a_second() {
        let disk = Disk::new().with("a", "old");
        let root = Root::open(&disk.settings.root).expect("a root");
        let content = |milliseconds| {
            let directory = root.directory(std::time::Duration::from_millis(milliseconds));
            let opened = root::open(&*directory, b"a").expect("a file");
            std::io::read_to_string(File::from(opened)).expect("its content")
        };
        assert_eq!(content(1_000), "old");
        fs::rename(&disk.settings.root, disk.folder.path().join("before")).expect("a rename");
        assert_eq!(content(2_000), "old", "one that cannot be opened stays in use");
        let disk = disk.with("a", "new");
        assert_eq!(content(2_999), "old");
        assert_eq!(content(3_000), "new");
        drop(disk);
    }
}
