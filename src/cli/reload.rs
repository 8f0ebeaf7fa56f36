//! `weir reload`: the running proxy loads its configuration again, and says here what came of it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{Outcome, Which, complain, fail, say};
use crate::config;

/// How long the proxy may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most of an answer that is read.
const ANSWER: u64 = 1 << 20;

/// Make the running proxy load its configuration again.
#[derive(Clone, Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    which: Which,
}

impl Reload {
    /// Asks; exits 3 when the configuration is wrong, here or there, and 5 when nobody answers at `admin.address`.
    #[must_use]
    pub fn run(self) -> Outcome {
        let loaded = match config::load(&self.which.path(), &self.which.sets) {
            Ok(loaded) => loaded,
            Err(problems) => {
                complain(&problems);
                return Outcome::Invalid;
            }
        };
        let Some(admin) = loaded.config.admin else {
            let message = "there is no `admin.address` in the configuration, hint: set one, or send the process HUP";
            return fail(&io::Error::other(message), Outcome::Unreachable);
        };
        match ask(admin) {
            Ok((200, text)) => say(&text),
            Ok((422, text)) => fail(&io::Error::other(text.trim_end().to_owned()), Outcome::Invalid),
            Ok((_, text)) => fail(&io::Error::other(text.trim_end().to_owned()), Outcome::Failed),
            Err(cause) => fail(&io::Error::other(format!("no proxy answers on `{admin}`: {cause}")), Outcome::Unreachable),
        }
    }
}

/// The status and the text of the answer.
fn ask(admin: SocketAddr) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "POST /reload HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    let strange = || io::Error::other("the answer is not weir's");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(strange)?;
    Ok((status, body.to_owned()))
}
