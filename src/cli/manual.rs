//! `weir completions`, `weir man` and `weir version`: what the command line knows about itself.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome, fail, say};

/// Print the completions of a shell.
#[derive(Clone, Debug, clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    #[must_use]
    pub fn run(self) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "weir", &mut text);
        say(&String::from_utf8_lossy(&text))
    }
}

/// Prints the manual page, in roff.
#[must_use]
pub fn man() -> Outcome {
    let mut text = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut text) {
        Ok(()) => say(&String::from_utf8_lossy(&text)),
        Err(error) => fail(&error, Outcome::Failed),
    }
}

/// Prints the version.
#[must_use]
pub fn version() -> Outcome {
    say(&format!("weir {}\n", env!("CARGO_PKG_VERSION")))
}
