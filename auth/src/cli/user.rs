//! `auth user`: people, made by an operator. There is no default password: one is read from stdin or made up and shown once.

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::outcome::{Failure, block_on, line, service, tell};
use crate::password::Password;
use crate::person::{Email, Username};
use crate::problem::Problem;
use crate::service::signup::Signup;
use crate::store::audit::Origin;
use crate::token::opaque;

/// People
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add someone; prints the password it made up
    Create(Create),
    /// Make a token to set a new password, good for an hour; prints it
    Reset {
        /// Whose
        username: String,
    },
}

/// Add someone
#[derive(Debug, Args)]
pub struct Create {
    /// 3 to 32 of a-z, 0-9, `.`, `_`, `-`
    username: String,
    /// Their address
    email: String,
    /// May read and change everyone
    #[arg(long)]
    admin: bool,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
}

impl User {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        tell(block_on(async {
            match self {
                Self::Create(create) => create.run().await,
                Self::Reset { username } => reset(&username).await,
            }
        }))
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let service = service().await?;
        let (text, made_up) = if self.password_stdin { (from_stdin()?, false) } else { (made_up()?, true) };
        let signup = Signup {
            username: Username::parse(self.username)?,
            email: Email::parse(self.email)?,
            password: Password::chosen("password", text.clone())?,
            country: None,
        };
        let roles: &[&str] = if self.admin { &["admin", "user"] } else { &["user"] };
        service.signup(&signup, roles, &Origin::console()).await?;
        if made_up {
            line(&text);
        }
        Ok(())
    }
}

async fn reset(username: &str) -> Result<(), Failure> {
    let auth = service().await?;
    let user = auth.user_by_name(username).await.map_err(Problem::from)?;
    let user = user.ok_or_else(|| Problem::not_found(format!("there is no user `{username}`")))?;
    line(&auth.reset_token(user.id, &Origin::console()).await?);
    Ok(())
}

fn made_up() -> Result<String, Failure> {
    Ok(opaque::secret().map_err(|_| Problem::internal())?)
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(1024).read_to_string(&mut text).map_err(Failure::system("cannot read the password"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
