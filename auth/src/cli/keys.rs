//! `auth keys`: the signing keys, files only their owner reads.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::outcome::{Failure, line, tell};
use crate::problem::Problem;
use crate::token::key::SigningKey;

/// Signing keys
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make `current.pem`; prints its name
    Generate(Generate),
}

/// Make a key
#[derive(Debug, Args)]
pub struct Generate {
    /// Where the keys are
    #[arg(long, env = "AUTH_KEYS_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// Keep the present key as `previous.pem`: what it signed stays good
    #[arg(long)]
    rotate: bool,
}

impl Keys {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self::Generate(generate) = self;
        tell(generate.run())
    }
}

impl Generate {
    fn run(&self) -> Result<(), Failure> {
        let (current, previous) = (self.dir.join("current.pem"), self.dir.join("previous.pem"));
        let there = current.exists();
        if there && !self.rotate {
            let detail = format!("`{}` is there already\nhint: --rotate keeps it as the previous key", current.display());
            return Err(Problem::malformed(detail).into());
        }
        let key = SigningKey::generate().map_err(|_| Problem::internal())?;
        let fresh = self.dir.join("next.pem");
        write(&fresh, &key.to_pem()).map_err(Failure::system(format!("cannot write `{}`", fresh.display())))?;
        if there {
            fs::rename(&current, &previous).map_err(Failure::system("cannot keep the present key"))?;
        }
        fs::rename(&fresh, &current).map_err(Failure::system("cannot put the key in its place"))?;
        line(key.kid());
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o400).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
