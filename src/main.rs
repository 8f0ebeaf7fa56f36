//! The `weir` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    weir::cli::Cli::parse().run()
}
