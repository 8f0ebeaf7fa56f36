//! The command line: arguments in, an exit code out. stdout is data, stderr is everything else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;

/// A reverse proxy with a rate limiter built in.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a server from outside
    Bench(bench::BenchArgs),
}

impl Cli {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Bench(args) => args.run(),
        }
    }
}
