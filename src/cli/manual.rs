//! `weir completions`, `weir man` and `weir version`: descriptions of the command line itself.

use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::outcome::{Outcome, print, report_error, report_hinted};
use crate::runtime::hint::hinted;

/// Print the completions of a shell.
#[derive(Clone, Debug, clap::Args)]
pub struct Completions {
    /// Shell to print completions for
    shell: Shell,
}

impl Completions {
    /// Prints the completions of a program.
    #[must_use]
    pub fn run(self, mut program: Command) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut program, "weir", &mut text);
        print(&String::from_utf8_lossy(&text))
    }
}

/// Print the manual page, in roff, or write one for each command.
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// Write weir.1 and a page for each command, like weir-run.1, into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints the page of `weir`, or writes all pages.
    #[must_use]
    pub fn run(self, program: Command) -> Outcome {
        let Some(dir) = self.dir else {
            let mut text = Vec::new();
            return match clap_mangen::Man::new(program).render(&mut text) {
                Ok(()) => print(&String::from_utf8_lossy(&text)),
                Err(error) => report_error(&error, Outcome::Failed),
            };
        };
        match clap_mangen::generate_to(program, &dir) {
            Ok(()) => Outcome::Fine,
            Err(error) => {
                let message = format!("cannot write into `{}`: {error}", dir.display());
                report_hinted(&hinted(message, "name a directory that exists"), Outcome::Failed)
            }
        }
    }
}

/// Prints the version.
#[must_use]
pub fn version() -> Outcome {
    print(&format!("weir {}\n", env!("CARGO_PKG_VERSION")))
}
