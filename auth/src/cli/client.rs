//! `auth client`: programs that may ask about and revoke tokens.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::outcome::{block_on, line, service, tell};

/// Programs that may ask about tokens
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add a client; prints its secret
    Create {
        /// 1 to 64 letters, no colon
        #[arg(value_parser = id)]
        id: String,
    },
    /// Give a client another secret, and print it; the one before is good no more
    Rotate {
        /// Its id
        #[arg(value_parser = id)]
        id: String,
    },
}

impl ClientCommand {
    /// Runs the subcommand and returns its exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        tell(block_on(async {
            let service = service().await?;
            let secret = match &self {
                Self::Create { id } => service.create_client(id).await?,
                Self::Rotate { id } => service.rotate_client(id).await?,
            };
            line(&secret);
            Ok(())
        }))
    }
}

fn id(text: &str) -> Result<String, String> {
    let fits =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 visible ASCII letters without a colon".to_owned())
    }
}
