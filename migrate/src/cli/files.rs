//! Commands that need no database: a directory, a new revision; and where revisions are read from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::answer::{Answer, tell};
use crate::{
    Error, Revisions,
    create::{self, Files},
    directory::Source,
};

/// Where revisions are.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Named on the command line: then it must be there.
    named: bool,
}

impl From<Option<PathBuf>> for Place {
    fn from(directory: Option<PathBuf>) -> Self {
        let named = directory.is_some();
        let from_environment = || std::env::var_os("MIGRATIONS_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = directory.or_else(from_environment).unwrap_or_else(|| "migrations".into());
        Self { path, named }
    }
}

impl Place {
    /// Reads them, and says from where.
    pub(super) fn load(&self) -> Result<Revisions, Error> {
        let revisions = if self.named { Revisions::read(&self.path) } else { Revisions::load(&self.path) }?;
        let number = counted(revisions.len());
        match &revisions.source {
            Source::Directory(path) => {
                tell(&format!("using {number} in `{}`", path.display()));
                warn_of_missing(&revisions, path)?;
            }
            Source::Embedded => {
                tell(&format!("using {number} built into this program; there is no `{}`", self.path.display()));
            }
        }
        Ok(revisions)
    }
}

/// A directory that has some of the built-in revisions and not others is that of an earlier release.
fn warn_of_missing(revisions: &Revisions, directory: &Path) -> Result<(), Error> {
    let (missing, built_in) = (create::missing(revisions)?, Revisions::embedded()?);
    if missing.len() < built_in.len() {
        for revision in missing {
            let directory = directory.display();
            tell(&format!(
                "warning: this program needs `{}`, which `{directory}` does not have; `migrate init --missing {directory}` copies it",
                revision.name()
            ));
        }
    }
    Ok(())
}

/// `1 revision`, `2 revisions`.
pub(super) fn counted(number: usize) -> String {
    if number == 1 { "1 revision".into() } else { format!("{number} revisions") }
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The new directory [default: migrations]
    new: Option<PathBuf>,
    /// Without the revisions built into this program
    #[arg(long, conflicts_with = "missing")]
    empty: bool,
    /// Add the revisions built into this program that a directory does not have
    #[arg(long)]
    missing: bool,
}

impl Init {
    pub(super) fn run(&self, place: &Place) -> Result<Answer, Error> {
        if self.missing {
            let made = create::add_missing(self.new.as_deref().unwrap_or(&place.path))?;
            return Ok(if made.is_empty() {
                Answer::new("nothing is missing", json!({ "generated": [] }))
            } else {
                generated(&made)
            });
        }
        let new = self.new.as_deref().unwrap_or(Path::new("migrations"));
        let made = create::init(new, if self.empty { Files::None } else { Files::BuiltIn })?;
        Ok(generated(&made))
    }
}

#[derive(Debug, Args)]
pub(super) struct NewRevision {
    /// What it does; becomes part of the file names
    #[arg(short, long)]
    message: String,
}

impl NewRevision {
    pub(super) fn run(&self, place: &Place) -> Result<Answer, Error> {
        let now = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
        let now = now.parse().map_err(|_| Error::Usage(format!("the clock says `{now}`")))?;
        Ok(generated(&create::revision(&place.path, &self.message, now)?))
    }
}

fn generated(made: &[PathBuf]) -> Answer {
    let lines: Vec<String> = made.iter().map(|path| format!("generated {}", path.display())).collect();
    Answer::new(lines.join("\n"), json!({ "generated": made }))
}
