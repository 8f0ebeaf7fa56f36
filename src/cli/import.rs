//! `weir import`: makes a weir.yaml of another server's configuration.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::outcome::{Outcome, print, report_hinted, some};
use crate::{
    config::directives::Treatment,
    tools::import::{
        files::{self, Disk},
        import,
        notes::DirectiveNote,
    },
};

/// Make a weir.yaml of another server's configuration
#[derive(Clone, Debug, clap::Args)]
pub struct ImportCommand {
    #[command(subcommand)]
    source: Source,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Source {
    /// Print the weir.yaml for files of nginx, and what became of each directive
    ///
    /// The YAML goes to standard output, with the file and line of each entry and a comment where
    /// something changed. Standard error has one line for each directive: `carried` by a key,
    /// `noted` where a key or weir itself does nearly the same, `dropped` because weir does it anyway
    /// or needs it not, `unsupported` without a counterpart. A path that weir cannot serve as nginx
    /// does is closed (502), never opened.
    ///
    /// Exit codes: 0 fine, 1 a file cannot be read or parsed, or with --strict a directive has no
    /// counterpart.
    Nginx(NginxImport),
}

/// Options of `weir import nginx`.
#[derive(Clone, Debug, clap::Args)]
struct NginxImport {
    /// Files of nginx: nginx.conf, or parts of it without `http`; what they include is read too
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Exit with 1 when a directive has no counterpart
    #[arg(long)]
    strict: bool,
}

impl ImportCommand {
    /// Prints the configuration, and its notes on standard error.
    #[must_use]
    pub fn run(self) -> Outcome {
        let Source::Nginx(nginx) = self.source;
        nginx.run()
    }
}

impl NginxImport {
    fn run(self) -> Outcome {
        let files = match files::read(&Disk, &self.files) {
            Ok(files) => files,
            Err(error) => return report_hinted(&error, Outcome::Failed),
        };
        let imported = import(&files);
        let lines: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
        // A failure to write to standard error cannot be reported anywhere.
        let _ = writeln!(io::stderr().lock(), "{lines}{}", summary(&imported.notes));
        let is_lossy = imported.notes.iter().any(|note| note.treatment == Treatment::Unsupported);
        match print(&imported.yaml) {
            Outcome::Fine if self.strict && is_lossy => Outcome::Failed,
            outcome => outcome,
        }
    }
}

/// Counts of the outcomes.
fn summary(notes: &[DirectiveNote]) -> String {
    let treatments =
        [Treatment::Carried, Treatment::Noted, Treatment::Dropped, Treatment::Unsupported];
    let counts = treatments.map(|treatment| {
        let count = notes.iter().filter(|note| note.treatment == treatment).count();
        format!("{count} {}", treatment.word())
    });
    format!("{}: {}", some(notes.len(), "directive"), counts.join(", "))
}
