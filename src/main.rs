//! The `weir` command: parse, run, exit.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
