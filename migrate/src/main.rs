//! The `migrate` command: `auth migrate` under a shorter name.

use std::process::ExitCode;

use clap::Parser;
use weir_migrate::cli::Migrate;

fn main() -> ExitCode {
    Migrate::parse().run()
}
