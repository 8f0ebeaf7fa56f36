//! The `migrate` command: `auth migrate` under a shorter name.

use std::process::ExitCode;

use auth::cli::migrate::Migrate;
use clap::Parser;

fn main() -> ExitCode {
    Migrate::parse().run()
}
