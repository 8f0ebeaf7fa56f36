//! The `weir` command: parse, run, exit.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::Cli;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
