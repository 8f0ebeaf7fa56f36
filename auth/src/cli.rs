//! The command line: one file per subcommand.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::migrate::cli::Migrate;
use crate::revisions::BUILT_IN;

pub mod client;
pub mod doctor;
pub mod healthcheck;
pub mod keys;
pub mod outcome;
pub mod serve;
pub mod user;

/// Sign-up, login and tokens
#[derive(Debug, Parser)]
#[command(name = "auth", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until a signal to stop
    Serve,
    /// Change the database, revision by revision
    Migrate(Migrate),
    /// Look at everything the service stands on and say what is wrong
    Doctor,
    /// Ask the service on this machine whether it is well; for images without curl
    Healthcheck(healthcheck::Healthcheck),
    /// People
    #[command(subcommand)]
    User(user::UserCommand),
    /// Signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Programs that may ask about tokens
    #[command(subcommand)]
    Client(client::ClientCommand),
}

/// Does what the command line says. Under the name `migrate` or `alembic`, which links in the image
/// have, the program is `auth migrate`.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    let name =
        words.first().and_then(|word| Path::new(word).file_name()).and_then(|name| name.to_str());
    match name {
        Some("migrate" | "alembic") => Migrate::parse_from(words).run(BUILT_IN),
        _ => Cli::parse_from(words).run(),
    }
}

impl Cli {
    fn run(self) -> ExitCode {
        match self.command {
            Command::Serve => serve::run(),
            Command::Migrate(migrate) => migrate.run(BUILT_IN),
            Command::Doctor => doctor::run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::User(user) => user.run(),
            Command::Keys(keys) => keys.run(),
            Command::Client(client) => client.run(),
        }
    }
}
