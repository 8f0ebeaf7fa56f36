//! The command line: one file per subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod migrate;

/// Sign-up, login and tokens
#[derive(Debug, Parser)]
#[command(name = "auth", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Change the database, revision by revision
    Migrate(migrate::Migrate),
}

impl Cli {
    /// Does what the command line says.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Migrate(migrate) => migrate.run(),
        }
    }
}
