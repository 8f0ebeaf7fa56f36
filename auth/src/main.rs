//! The `auth` command: parse, run, exit.

use std::process::ExitCode;

use auth::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    Cli::parse().run()
}
