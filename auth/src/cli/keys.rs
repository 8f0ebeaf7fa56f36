//! `auth keys`: the signing keys, files only their owner reads.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::outcome::{Failure, line, tell};
use crate::settings::read_key;
use crate::token::key::SigningKey;

/// Signing keys
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make `current.pem` and `next.pem`; prints the name of the current one
    Generate(Generate),
}

/// Make a key
#[derive(Debug, Args)]
pub struct Generate {
    /// Directory of the keys
    #[arg(
        long,
        env = "AUTH_KEYS_DIR",
        value_name = "DIR",
        default_value = "/run/secrets/auth_keys"
    )]
    dir: PathBuf,
    /// Sign with `next.pem` from now on, and keep the present key as `previous.pem`: what it signed
    /// stays good
    #[arg(long)]
    rotate: bool,
}

impl KeysCommand {
    /// Runs the subcommand and returns its exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self::Generate(generate) = self;
        tell(generate.run())
    }
}

impl Generate {
    /// Each step is a rename or a new file: whatever step is the last, what the keys before signed
    /// is good, and the same call goes on.
    fn run(&self) -> Result<(), Failure> {
        let [current, previous, next] =
            ["current.pem", "previous.pem", "next.pem"].map(|name| self.dir.join(name));
        let there = current.exists();
        if there && !self.rotate {
            return Err(Failure::KeyExists(current));
        }
        if there {
            if !next.exists() {
                make(&next)?;
            }
            // A copy: with a rename there would be a moment without a current key.
            let present =
                fs::read(&current).map_err(Failure::system("cannot read the present key"))?;
            write(&previous, &present)?;
        }
        // A next key without a current one may have been published by an earlier run, so it is the
        // one to sign.
        if there || next.exists() {
            fs::rename(&next, &current)
                .map_err(Failure::system("cannot put the next key in its place"))?;
        } else {
            make(&current)?;
        }
        make(&next)?;
        line(read_key(&current)?.kid());
        Ok(())
    }
}

/// Makes a key.
fn make(path: &Path) -> Result<(), Failure> {
    let key = SigningKey::generate().map_err(|_| Failure::Randomness)?;
    write(path, key.to_pem().as_bytes())
}

/// Writes a key; the file is there whole or not at all, whatever an earlier run left beside it. A file of that name is replaced and not opened: it is read-only for its owner too.
fn write(path: &Path, pem: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o400))
            .tempfile_in(folder)?;
        file.write_all(pem)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(Failure::system(format!("cannot write `{}`", path.display())))
}
