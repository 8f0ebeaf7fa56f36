//! `weir reload`: makes the running proxy reload its configuration and prints the outcome.
//!
//! It is asked at its control socket; if there is none, at the `admin.address` of the file.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    arguments::ConfigArgs,
    outcome::{Outcome, print, report_error, report_hinted, usable},
};
use crate::{
    config,
    process::control::{self, ControlError},
    runtime::hint::{HintedError, hinted},
};

/// Time-out for the proxy.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Make the running proxy load its configuration again.
#[derive(Clone, Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    which: ConfigArgs,
}

impl Reload {
    /// Asks; exits 3 when the configuration is invalid and 5 when there is no process to ask.
    #[must_use]
    pub fn run(self) -> Outcome {
        match control::ask(&self.which.path(), "POST /reload", RELOAD_TIMEOUT) {
            Ok((status, text)) => outcome_of(status, &text),
            Err(ControlError::NoProcess) => {
                // The socket is named by the path of the file. A process that was given another
                // path to it is found by its admin port.
                let file = self.which.path();
                self.ask_admin(&hinted(
                    format!("no running weir serves `{}`", file.display()),
                    "pass the file that `weir run` got, like `-c FILE`, or send the process HUP",
                ))
            }
            Err(error @ ControlError::Foreign) => self.ask_admin(&hinted(
                error,
                "run the command as root or as the user weir runs as, or send the process HUP",
            )),
            Err(error @ ControlError::Silent(_)) => report_error(&error, Outcome::Unreachable),
        }
    }

    /// Asks the admin listener that the file names; without one it fails with `error`.
    fn ask_admin(&self, error: &HintedError) -> Outcome {
        let loaded = match usable(config::load(&self.which.path(), &self.which.sets)) {
            Ok(loaded) => loaded,
            Err(outcome) => return outcome,
        };
        let Some(admin) = loaded.config.admin else {
            return report_hinted(error, Outcome::Unreachable);
        };
        match ask(admin) {
            Ok((status, text)) => outcome_of(status, &text),
            Err(cause) => report_error(
                &io::Error::other(format!("no response from `{admin}`: {cause}")),
                Outcome::Unreachable,
            ),
        }
    }
}

/// Prints the text of a response and maps its status to an outcome.
fn outcome_of(status: u16, text: &str) -> Outcome {
    // The response has the problems as the process sees them, with its own files and environment.
    let failed = |outcome| report_error(&io::Error::other(text.trim_end().to_owned()), outcome);
    match status {
        200 => print(text),
        422 => failed(Outcome::Invalid),
        _ => failed(Outcome::Failed),
    }
}

fn ask(admin: SocketAddr) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, RELOAD_TIMEOUT)?;
    stream.set_read_timeout(Some(RELOAD_TIMEOUT))?;
    write!(
        stream,
        "POST /reload HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    control::response(stream)
}
