//! New files: a directory of revisions, and a revision in it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    built_in::{BuiltIn, Roles},
    directory::Revisions,
    error::Error,
    revision::Revision,
};

const README: &str = "\
# Revisions

Each revision is a pair of files: `<UTC timestamp>_<words>.up.sql` makes the change, `.down.sql` \
undoes it.

    migrate revision -m \"what it does\"     makes a pair to edit
    migrate upgrade head                   runs what is missing
    migrate downgrade -1                   undoes the newest

Never edit a revision that another database has already run: write a new one.
";

/// Makes a directory and puts the built-in revisions there, so that new ones continue from what the
/// database has. Returns the files made.
///
/// # Errors
/// The directory has something in it already, or cannot be written.
pub fn init(directory: &Path, built_in: BuiltIn) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::File { verb: "create", path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    // Built-in revisions among other files could mix two histories.
    if fs::read_dir(directory).map_err(failed)?.next().is_some() {
        let path = directory.display();
        return Err(Error::revisions(
            format!("`{path}` is not empty"),
            "remove it first, or choose another name",
        ));
    }
    let mut made = vec![write(&directory.join("README.md"), README)?];
    for (name, sql) in built_in.files {
        made.push(write(&directory.join(name), sql)?);
    }
    Ok(made)
}

/// Puts those built-in revisions into a directory that it does not have. Returns the files made.
///
/// # Errors
/// The directory makes no sense, or cannot be written.
pub fn add_missing(directory: &Path, built_in: BuiltIn) -> Result<Vec<PathBuf>, Error> {
    let missing = missing(&Revisions::read(directory, built_in.roles)?, built_in)?;
    let mut made = Vec::new();
    for (name, sql) in built_in.files {
        if missing.iter().any(|revision| name.starts_with(&format!("{}.", revision.name()))) {
            made.push(write(&directory.join(name), sql)?);
        }
    }
    Ok(made)
}

/// The built-in revisions that are not among these.
///
/// # Errors
/// As [`Revisions::built_in`].
pub fn missing(revisions: &Revisions, built_in: BuiltIn) -> Result<Vec<Revision>, Error> {
    let built_in = Revisions::built_in(built_in)?;
    Ok(built_in
        .iter()
        .filter(|revision| revisions.get(revision.version).is_none())
        .cloned()
        .collect())
}

/// Makes the two files of a new revision, newer than all there are, and returns their paths. `now`
/// is `YYYYMMDDhhmmss`.
///
/// # Errors
/// There is no such directory, its files make no sense, or it cannot be written.
pub fn revision(directory: &Path, message: &str, now: i64) -> Result<[PathBuf; 2], Error> {
    if !directory.is_dir() {
        let path = directory.display();
        return Err(Error::revisions(
            format!("there is no directory `{path}`"),
            format!("`migrate init {path}` makes it"),
        ));
    }
    let slug = slug(message).ok_or_else(|| {
        Error::usage(
            format!("`{message}` has no letter or digit to name files with"),
            "-m \"add a column\"",
        )
    })?;
    let revisions = Revisions::read(directory, Roles::NONE)?;
    // Later than the newest, also when the clock is behind or two are made within a second.
    let version = revisions.head().map_or(now, |head| now.max(head.version + 1));
    let previous = revisions.head().map_or_else(|| "base".to_owned(), Revision::name);
    let file = |ending: &str| directory.join(format!("{version}_{slug}.{ending}.sql"));
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok([
        write(&file("up"), &up_text(&message, &previous))?,
        write(&file("down"), &down_text(&message, version))?,
    ])
}

fn up_text(message: &str, previous: &str) -> String {
    format!(
        "-- {message}\n--\n-- Follows {previous}. Runs in one transaction: all of it or nothing.\n\
         -- For CREATE INDEX CONCURRENTLY and the like make `-- no-transaction` the first line.\n\n"
    )
}

fn down_text(message: &str, version: i64) -> String {
    format!(
        "-- {message}: undo\n--\n-- Takes back what {version} did, in the opposite order. Without \
         a statement here the revision\n\
         -- cannot be undone, and `downgrade` refuses before it touches anything.\n\n"
    )
}

/// Most bytes of the words in a file name: names have at most 255.
const SLUG_BYTES: usize = 60;

/// Words joined by `_`, in lower case, at most [`SLUG_BYTES`] of them.
fn slug(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let mut slug = String::new();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if !slug.is_empty() && slug.len() + 1 + word.len() > SLUG_BYTES {
            break;
        }
        slug.extend((!slug.is_empty()).then_some('_'));
        // A first word that is longer alone is cut between two letters.
        slug.push_str(&word[..word.floor_char_boundary(SLUG_BYTES)]);
    }
    (!slug.is_empty()).then_some(slug)
}

fn write(path: &Path, text: &str) -> Result<PathBuf, Error> {
    // `create_new` never overwrites: a file may hold work of somebody.
    let new = OpenOptions::new().write(true).create_new(true).open(path);
    new.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| Error::File {
        verb: "create",
        path: path.to_owned(),
        source,
    })?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_message_becomes_a_file_name() {
        assert_eq!(slug("Create initial  tables").as_deref(), Some("create_initial_tables"));
        assert_eq!(slug("../../etc/passwd; DROP").as_deref(), Some("etc_passwd_drop"));
        assert_eq!(slug("pays d'été").as_deref(), Some("pays_d_été"));
        assert_eq!(slug(" - "), None);
        assert_eq!(slug(&"x".repeat(300)).map(|slug| slug.len()), Some(60));
        let four_bytes = "\u{20000}";
        assert_eq!(slug(&four_bytes.repeat(60)).map(|slug| slug.len()), Some(60));
        assert_eq!(slug(&"é".repeat(300)).map(|slug| slug.len()), Some(60));
        let with_a_word = |length| slug(&format!("{} b", "x".repeat(length))).map(|it| it.len());
        assert_eq!([with_a_word(58), with_a_word(59)], [Some(60), Some(59)]);
    }
}
