//! Commands that need no database: a directory, a new revision; and where revisions are read from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output::{Output, tell};
use crate::{BuiltIn, Error, Revisions, create, directory::Source};

/// Source of revisions.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Named on the command line: then it must be there.
    named: bool,
    built_in: BuiltIn,
}

impl Place {
    pub(super) fn new(directory: Option<PathBuf>, built_in: BuiltIn) -> Self {
        let named = directory.is_some();
        let from_environment = || {
            std::env::var_os("MIGRATIONS_DIR").filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let path = directory.or_else(from_environment).unwrap_or_else(|| "migrations".into());
        Self { path, named, built_in }
    }

    /// Reads them, and says from where.
    pub(super) fn load(&self) -> Result<Revisions, Error> {
        // A directory named by hand that is missing is a typing error, not a wish for built-in
        // revisions.
        let revisions = match self.named {
            true => Revisions::read(&self.path, self.built_in.roles),
            false => Revisions::load(&self.path, self.built_in),
        }?;
        let number = counted(revisions.len());
        match &revisions.source {
            Source::Directory(path) => {
                tell(&format!("using {number} in `{}`", path.display()));
                self.warn_of_missing(&revisions, path)?;
            }
            Source::BuiltIn if revisions.is_empty() => {
                let path = self.path.display();
                return Err(Error::revisions(
                    format!("there is no directory `{path}`"),
                    format!("`migrate init {path}` makes it"),
                ));
            }
            Source::BuiltIn => {
                tell(&format!(
                    "using {number} built into this program; there is no `{}`",
                    self.path.display()
                ));
            }
        }
        Ok(revisions)
    }

    /// A directory that has some of the built-in revisions and not others is that of an earlier
    /// release.
    fn warn_of_missing(&self, revisions: &Revisions, directory: &Path) -> Result<(), Error> {
        let missing = create::missing(revisions, self.built_in)?;
        // A directory with none of them is of another project.
        if missing.len() == Revisions::built_in(self.built_in)?.len() {
            return Ok(());
        }
        let directory = directory.display();
        for revision in missing {
            tell(&format!(
                "warning: this program needs `{}`, which `{directory}` does not have; `migrate \
                 init --missing {directory}` copies it",
                revision.name()
            ));
        }
        Ok(())
    }
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
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        if self.missing {
            let made =
                create::add_missing(self.new.as_deref().unwrap_or(&place.path), place.built_in)?;
            return Ok(if made.is_empty() {
                Output::new("nothing is missing", json!({ "generated": [] }))
            } else {
                generated(&made)
            });
        }
        let new = self.new.as_deref().unwrap_or(Path::new("migrations"));
        let made = create::init(new, if self.empty { BuiltIn::NONE } else { place.built_in })?;
        Ok(generated(&made))
    }
}

#[derive(Debug, Args)]
pub(super) struct NewRevision {
    /// Message; becomes part of the file names
    #[arg(short, long)]
    message: String,
}

impl NewRevision {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let now = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
        let now =
            now.parse().map_err(|_| Error::Usage(format!("the clock says `{now}`").into()))?;
        Ok(generated(&create::revision(&place.path, &self.message, now)?))
    }
}

fn generated(made: &[PathBuf]) -> Output {
    let lines: Vec<String> =
        made.iter().map(|path| format!("generated {}", path.display())).collect();
    Output::new(lines.join("\n"), json!({ "generated": made }))
}
