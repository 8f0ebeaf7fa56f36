//! The `migrate` command for a directory of revisions, without any of its own.

use std::process::ExitCode;

use clap::Parser;
use weir_migrate::{BuiltIn, cli::Migrate};

fn main() -> ExitCode {
    Migrate::parse().run(BuiltIn::NONE)
}
