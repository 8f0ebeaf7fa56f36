//! Source of revisions: a directory, or this program itself. What is loaded is in order, complete
//! and checked.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{
    built_in::{BuiltIn, Roles},
    error::Error,
    revision::{Part, Revision, Script, parse_file_name},
};

/// Place where a set of revisions was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory.
    Directory(PathBuf),
    /// This program.
    BuiltIn,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "`{}`", path.display()),
            Self::BuiltIn => write!(f, "this program"),
        }
    }
}

/// A set of revisions, oldest first.
#[derive(Clone, Debug)]
pub struct Revisions {
    /// Place where they were read.
    pub source: Source,
    /// Roles that get the table of what was applied.
    pub roles: Roles,
    list: Vec<Revision>,
}

impl Revisions {
    /// Reads a directory, or takes the built-in revisions where there is no such directory.
    ///
    /// # Errors
    /// The directory cannot be read, or its files make no sense together.
    pub fn load(directory: &Path, built_in: BuiltIn) -> Result<Self, Error> {
        if directory.exists() {
            Self::read(directory, built_in.roles)
        } else {
            Self::built_in(built_in)
        }
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// As [`Revisions::load`].
    pub fn read(directory: &Path, roles: Roles) -> Result<Self, Error> {
        let failed = |source| Error::File { verb: "read", path: directory.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Editors leave hidden copies beside a file.
            if name.ends_with(".sql") && !name.starts_with('.') && path.is_file() {
                let unread = |source| Error::File { verb: "read", path: path.clone(), source };
                let sql = fs::read_to_string(&path).map_err(unread)?;
                files.push((name, Script { file: path.display().to_string(), sql }));
            }
        }
        // A directory lists in any order. Sorted, the first error is the same on every machine.
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::from_files(Source::Directory(directory.to_owned()), roles, files)
    }

    /// Takes the revisions that a program carries.
    ///
    /// # Errors
    /// Its files make no sense together, which a test of that program rules out.
    pub fn built_in(built_in: BuiltIn) -> Result<Self, Error> {
        let script = |(name, sql): &(&str, &str)| {
            ((*name).to_owned(), Script { file: (*name).to_owned(), sql: (*sql).to_owned() })
        };
        Self::from_files(
            Source::BuiltIn,
            built_in.roles,
            built_in.files.iter().map(script).collect(),
        )
    }

    fn from_files(
        source: Source,
        roles: Roles,
        files: Vec<(String, Script)>,
    ) -> Result<Self, Error> {
        // By number: this is the order in which revisions run.
        let mut pairs: BTreeMap<i64, Pair> = BTreeMap::new();
        for (name, script) in files {
            let Some((version, slug, part)) = parse_file_name(&name) else {
                let said = format!("`{}` is not named like a revision", script.file);
                let hint = "`<UTC timestamp>_<words>.up.sql`; `migrate revision -m MSG` makes one";
                return Err(Error::revisions(said, hint));
            };
            pairs.entry(version).or_default().add(slug, part, script)?;
        }
        let list = pairs
            .into_iter()
            .map(|(version, pair)| pair.revision(version))
            .collect::<Result<_, _>>()?;
        Ok(Self { source, roles, list })
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Revision> {
        self.list.iter()
    }

    /// Returns their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The newest.
    #[must_use]
    pub fn head(&self) -> Option<&Revision> {
        self.list.last()
    }

    /// The one with this number.
    #[must_use]
    pub fn get(&self, version: i64) -> Option<&Revision> {
        self.list.iter().find(|revision| revision.version == version)
    }

    /// The one that a number, a name or the beginning of either means.
    ///
    /// # Errors
    /// Nothing begins like that, or several do.
    pub fn named(&self, wanted: &str) -> Result<&Revision, Error> {
        // Before names: `head` could also be the beginning of a revision's name.
        if wanted == "head" {
            return self
                .head()
                .ok_or_else(|| Error::Name("`head` of nothing: there is no revision".into()));
        }
        let exact = |r: &&Revision| {
            wanted == r.slug || wanted == r.name() || wanted == r.version.to_string()
        };
        let begins = |r: &&Revision| {
            !wanted.is_empty() && (r.slug.starts_with(wanted) || r.name().starts_with(wanted))
        };
        // An exact name wins over longer names that begin with it.
        let mut found: Vec<&Revision> = self.list.iter().filter(exact).collect();
        if found.is_empty() {
            found = self.list.iter().filter(begins).collect();
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err(Error::name(
                format!("no revision begins with `{wanted}`"),
                "`migrate history` lists them",
            )),
            _ => {
                let names: Vec<String> =
                    found.iter().map(|revision| format!("`{}`", revision.name())).collect();
                Err(Error::name(
                    format!("`{wanted}` could be {}", names.join(" or ")),
                    "write more of it",
                ))
            }
        }
    }
}

impl<'r> IntoIterator for &'r Revisions {
    type Item = &'r Revision;
    type IntoIter = std::slice::Iter<'r, Revision>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The files of one number while they are gathered.
#[derive(Default)]
struct Pair {
    slug: String,
    up: Option<Script>,
    down: Option<Script>,
}

impl Pair {
    fn add(&mut self, slug: &str, part: Part, script: Script) -> Result<(), Error> {
        let other = self.up.as_ref().or(self.down.as_ref());
        let place = if part == Part::Up { &self.up } else { &self.down };
        if let Some(other) = other.filter(|_| self.slug != slug || place.is_some()) {
            let said = format!("`{}` and `{}` have the same number", other.file, script.file);
            return Err(Error::revisions(said, "give the newer one a later timestamp"));
        }
        slug.clone_into(&mut self.slug);
        *(if part == Part::Up { &mut self.up } else { &mut self.down }) = Some(script);
        Ok(())
    }

    fn revision(self, version: i64) -> Result<Revision, Error> {
        let Some(up) = self.up else {
            let down = self.down.map(|down| down.file).unwrap_or_default();
            return Err(Error::revisions(
                format!("`{down}` has no up file"),
                "it was renamed or not copied",
            ));
        };
        let revision = Revision { version, slug: self.slug, up, down: self.down };
        revision.check()?;
        Ok(revision)
    }
}
