//! The `auth` command: parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    auth::cli::run(&words)
}
