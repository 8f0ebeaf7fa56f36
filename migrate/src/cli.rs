//! `auth migrate`, also called `migrate`: revisions of the database from the command line.
//!
//! stdout carries the output, stderr what happens meanwhile. Exit codes: 0 fine, 1 failed, 2 usage,
//! 3 database unreachable, 4 lock not free in time, 5 files and applied revisions differ, 6 not at
//! head.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{BuiltIn, Error};

mod ask;
mod change;
mod connect;
mod files;
mod output;
mod patience;

use output::Output;

/// Change the database, revision by revision
#[derive(Debug, Parser)]
#[command(name = "migrate", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Migrate {
    /// Directory of the revisions [env: MIGRATIONS_DIR] [default: ./migrations, or those built in
    /// if it does not exist]
    #[arg(short, long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Output in JSON
    #[arg(long, global = true)]
    json: bool,
    /// Alembic's file of settings, which this has not
    #[arg(short, long, global = true, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The database is named by DATABASE_URL or DATABASE_URL_FILE, or by PGHOST, PGPORT, PGUSER, \
PGDATABASE and PGPASSWORD_FILE.
Each of them may be given as MIGRATIONS_DATABASE_URL and so on, for a role of its own beside the \
service's.
REV is `head`, a number, a name, or the beginning of one. Installed as `alembic` too.
Exit codes: 0 fine, 1 failed, 2 usage, 3 database unreachable, 4 lock not free, 5 drift, 6 not at \
head.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a directory of revisions, with those built into this program
    Init(files::Init),
    /// Make the files of a new revision
    Revision(files::NewRevision),
    /// Run what is missing
    Upgrade(change::Upgrade),
    /// Undo
    Downgrade(change::Downgrade),
    /// Tell where the database is
    Current(ask::Current),
    /// List the revisions, newest first
    History(ask::History),
    /// Tell the newest revision
    Heads {
        /// With files and flags
        #[arg(short, long)]
        verbose: bool,
    },
    /// Show one revision and its SQL
    Show(ask::Show),
    /// Say where the database is, without running anything
    Stamp(change::Stamp),
    /// Find every difference between files and database
    Check,
    /// Say what became of a revision that stopped half-way
    Resolve(change::Resolve),
}

impl Migrate {
    /// Does what the command line says, in a program that carries `built_in`.
    #[must_use]
    pub fn run(self, built_in: BuiltIn) -> ExitCode {
        if let Some(file) = self.config {
            let said =
                format!("there is no file of settings here, so not `{}` either", file.display());
            let hint = "leave `-c` out; the database comes from the environment, `-d DIR` names \
                        the revisions";
            return Output::print(Err(Error::usage(said, hint)), self.json);
        }
        let place = files::Place::new(self.directory, built_in);
        let output = match self.command {
            Command::Init(init) => init.run(&place),
            Command::Revision(revision) => revision.run(&place),
            Command::Upgrade(upgrade) => upgrade.run(&place),
            Command::Downgrade(downgrade) => downgrade.run(&place),
            Command::Current(current) => current.run(&place),
            Command::History(history) => history.run(&place),
            Command::Heads { verbose } => ask::heads(&place, verbose),
            Command::Show(show) => show.run(&place),
            Command::Stamp(stamp) => stamp.run(&place),
            Command::Check => ask::check(&place),
            Command::Resolve(resolve) => resolve.run(&place),
        };
        Output::print(output, self.json)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Migrate::command().debug_assert();
    }

    #[test]
    fn downgrade_step_is_no_option() {
        assert!(Migrate::try_parse_from(["migrate", "downgrade", "-1", "--sql"]).is_ok());
        assert!(
            Migrate::try_parse_from([
                "migrate",
                "-d",
                "x",
                "downgrade",
                "--json",
                "--dry-run",
                "-12"
            ])
            .is_ok()
        );
        assert!(Migrate::try_parse_from(["migrate", "upgrade", "+1", "--wait", "1s"]).is_ok());
    }
}
