//! Files of an nginx configuration, with what they include.
//!
//! Guarantees: at most [`MAX_FILES`] files of at most [`MAX_BYTES`] are read, and blocks and files
//! together are at most [`MAX_DEPTH`] deep, so that a file that includes itself ends
//! (`file_that_includes_itself_ends`, `number_of_files_is_bounded`).

use std::{
    collections::HashMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    error::{Fault, NginxError},
    tree::{Directive, MAX_DEPTH, MAX_DIRECTIVES, TreeBuilder},
};
use crate::config::wildcard;

/// Limit on the files that are read.
pub const MAX_FILES: usize = 256;
/// Limit on the size of a file, in bytes.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Folders of nginx's own packages: a repository has what is mounted there in another place.
const FOLDERS: [&str; 2] = ["/etc/nginx/", "/usr/local/nginx/conf/"];

/// Source of files: the disk, or a test.
pub trait Files {
    /// Reads a file.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    fn read(&self, path: &Path) -> Result<String, Fault>;

    /// Names of the entries of a folder; none if it cannot be listed.
    fn list(&self, folder: &Path) -> Vec<String>;
}

/// Files of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<String, Fault> {
        let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
        if path.metadata().map_err(unreadable)?.is_dir() {
            return Err(Fault::Unreadable("it is a directory".to_owned()));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Fault::TooLarge(MAX_BYTES));
        }
        // Comments of old files are often in another coding.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, folder: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.take(MAX_DIRECTIVES).collect()
    }
}

/// Configuration as read.
#[derive(Clone, Debug, Default)]
pub struct NginxFiles {
    /// Directives of all files, with those of included files behind their `include`.
    pub directives: Vec<Directive>,
    /// Names of the files, by [`super::tree::Place::file`].
    pub names: Vec<String>,
    /// Number of files that an `include` took in, by the id of the directive.
    pub included: HashMap<usize, usize>,
}

/// Reads these files and what they include.
///
/// # Errors
/// The first fault.
pub fn read(source: &dyn Files, paths: &[PathBuf]) -> Result<NginxFiles, NginxError> {
    let mut reader = Reader {
        source,
        root: PathBuf::new(),
        builder: TreeBuilder::default(),
        found: NginxFiles::default(),
        paths: Vec::new(),
    };
    for path in paths {
        // `nginx.conf conf.d/*.conf` names files that the first one includes.
        if reader.paths.contains(path) {
            continue;
        }
        reader.root = path.parent().unwrap_or(Path::new("")).to_owned();
        let directives = reader.file(path, 0)?;
        reader.found.directives.extend(directives);
    }
    Ok(reader.found)
}

struct Reader<'a> {
    source: &'a dyn Files,
    /// Folder of the file that was named, from which nginx resolves what is included.
    root: PathBuf,
    builder: TreeBuilder,
    found: NginxFiles,
    paths: Vec<PathBuf>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, NginxError> {
        let name = path.display().to_string();
        if self.paths.len() == MAX_FILES {
            return Err(NginxError::new(&name, 0, Fault::TooManyFiles(MAX_FILES)));
        }
        let text = self.source.read(path).map_err(|fault| NginxError::new(&name, 0, fault))?;
        if depth > MAX_DEPTH {
            return Err(NginxError::new(&name, 0, Fault::TooDeep(MAX_DEPTH)));
        }
        let index = self.paths.len();
        self.paths.push(path.to_owned());
        self.found.names.push(name.clone());
        let directives = self.builder.parse(&name, index, &text)?;
        self.include(directives, path, depth)
    }

    /// Puts the directives of included files behind each `include`.
    fn include(
        &mut self,
        directives: Vec<Directive>,
        path: &Path,
        depth: usize,
    ) -> Result<Vec<Directive>, NginxError> {
        // A file within a block within a file: the depth of one file is bounded by its parser.
        if depth > MAX_DEPTH {
            let name = path.display().to_string();
            return Err(NginxError::new(&name, 0, Fault::TooDeep(MAX_DEPTH)));
        }
        let mut whole = Vec::with_capacity(directives.len());
        for mut directive in directives {
            if let Some(block) = directive.block.take() {
                directive.block = Some(self.include(block, path, depth + 1)?);
            }
            if directive.name != "include" {
                whole.push(directive);
                continue;
            }
            let matches = match is_data(directive.arg(0)) {
                true => Vec::new(),
                false => self.matches(directive.arg(0), path),
            };
            self.found.included.insert(directive.id, matches.len());
            whole.push(directive);
            for path in matches {
                whole.extend(self.file(&path, depth + 1)?);
            }
        }
        Ok(whole)
    }

    /// Files that a pattern names: from the folder of the file that was named, as nginx looks, or
    /// else of the including one, or else of what is mounted to nginx's folder.
    fn matches(&self, pattern: &str, including: &Path) -> Vec<PathBuf> {
        let beside = including.parent().unwrap_or(Path::new(""));
        // Before the folder of this machine: the file of a repository is for another one. Where the
        // file is of nginx's folder itself, both are the same.
        let mounted = FOLDERS.iter().find_map(|folder| pattern.strip_prefix(folder));
        let mut bases: Vec<PathBuf> = mounted.iter().map(|rest| self.root.join(rest)).collect();
        bases.extend([self.root.join(pattern), beside.join(pattern)]);
        bases
            .iter()
            .map(|path| self.matching(path))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    fn matching(&self, path: &Path) -> Vec<PathBuf> {
        let (Some(folder), Some(pattern)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let pattern = pattern.to_string_lossy();
        let mut names = self.source.list(folder);
        names.retain(|name| wildcard::is_meant(&pattern, name));
        names.sort();
        names.into_iter().map(|name| folder.join(name)).collect()
    }
}

/// Returns true for files of nginx's packages that hold data for modules weir has not.
#[must_use]
pub fn is_data(name: &str) -> bool {
    name.ends_with("mime.types") || name.ends_with("_params")
}

#[cfg(test)]
mod tests {
    use crate::tools::import::files::*;

    struct Memory(&'static [(&'static str, &'static str)]);

    impl Files for Memory {
        fn read(&self, path: &Path) -> Result<String, Fault> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            found
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(|| Fault::Unreadable("no such file".to_owned()))
        }

        fn list(&self, folder: &Path) -> Vec<String> {
            let files = self.0.iter().map(|(name, _)| Path::new(name));
            let inside = files.filter(|path| path.parent() == Some(folder));
            inside
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect()
        }
    }

    fn names(files: &'static [(&'static str, &'static str)], first: &str) -> String {
        match read(&Memory(files), &[first.into()]) {
            Ok(found) => {
                let names: Vec<_> = found.directives.iter().map(Directive::text).collect();
                names.join("; ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn include_takes_files_in_order_where_it_stands() {
        let files = &[
            ("n/nginx.conf", "a; include conf.d/*.conf; z;"),
            ("n/conf.d/2.conf", "c;"),
            ("n/conf.d/1.conf", "b; include more/x.conf;"),
            ("n/conf.d/.hidden.conf", "no;"),
            ("n/conf.d/1.txt", "no;"),
            ("n/more/x.conf", "x;"),
        ];
        let expected = "a; include conf.d/*.conf; b; include more/x.conf; x; c; z";
        assert_eq!(names(files, "n/nginx.conf"), expected);
    }

    #[test]
    fn include_of_mounted_folder_is_found_beside_the_file() {
        let files = &[("n/nginx.conf", "include /etc/nginx/sites/a;"), ("n/sites/a", "b;")];
        assert_eq!(names(files, "n/nginx.conf"), "include /etc/nginx/sites/a; b");
        let missing = &[("n/nginx.conf", "include /etc/nginx/mime.types;")];
        assert_eq!(names(missing, "n/nginx.conf"), "include /etc/nginx/mime.types");
    }

    #[test]
    fn file_that_includes_itself_ends() {
        let told = names(&[("a.conf", "include a.conf;")], "a.conf");
        assert_eq!(told, "`a.conf` blocks are nested deeper than 32");
        let told = names(&[("a.conf", "a { b { include a.conf; } }")], "a.conf");
        assert_eq!(told, "`a.conf` blocks are nested deeper than 32");
    }

    #[test]
    fn number_of_files_is_bounded() {
        let files = &[
            ("a.conf", "include b*; include b*;"),
            ("b.conf", "include c*; include c*;"),
            ("c.conf", "include d*; include d*; include d*; include d*;"),
            ("d.conf", "include e*; include e*; include e*; include e*;"),
            ("e.conf", "include f*; include f*; include f*; include f*;"),
            ("f.conf", "a;"),
        ];
        assert_eq!(names(files, "a.conf"), "`f.conf` more than 256 files are included");
    }
}
