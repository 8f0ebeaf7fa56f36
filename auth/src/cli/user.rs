//! `auth user`: people, made by an operator. There is no default password: one is read from stdin
//! or made up and shown once.

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::outcome::{Failure, block_on, line, service, tell};
use crate::cursor::Cursor;
use crate::password::Password;
use crate::person::{Email, Username};
use crate::service::signup::Signup;
use crate::store::audit::Origin;
use crate::token::opaque;

/// People
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add someone; prints the password it made up
    Create(CreateArguments),
    /// Make a token to set a new password, good for an hour; prints it
    Reset {
        /// A user name or an address
        user: String,
    },
    /// List everyone, the newest first: name, address, roles
    List,
    /// Give someone a role, like `admin`
    Grant(RoleArguments),
    /// Take a role from someone
    Revoke(RoleArguments),
    /// Let someone log in no more; ends their sessions
    Disable {
        /// A user name or an address
        user: String,
    },
    /// Let someone log in again
    Enable {
        /// A user name or an address
        user: String,
    },
}

/// Someone and a role
#[derive(Debug, Args)]
pub struct RoleArguments {
    /// A user name or an address
    user: String,
    /// The role
    role: String,
}

/// Add someone
#[derive(Debug, Args)]
pub struct CreateArguments {
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

impl UserCommand {
    /// Runs the subcommand and returns its exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        tell(block_on(async {
            match self {
                Self::Create(create) => create.run().await,
                Self::Reset { user } => reset(&user).await,
                Self::List => list().await,
                Self::Grant(role) => role.set(true).await,
                Self::Revoke(role) => role.set(false).await,
                Self::Disable { user } => disable(&user, true).await,
                Self::Enable { user } => disable(&user, false).await,
            }
        }))
    }
}

impl CreateArguments {
    async fn run(self) -> Result<(), Failure> {
        let service = service().await?;
        // Never an argument: other users of the machine can see those.
        let (text, made_up) =
            if self.password_stdin { (from_stdin()?, false) } else { (made_up()?, true) };
        let signup = Signup {
            username: Username::parse(self.username).map_err(Failure::argument("username"))?,
            email: Email::parse(self.email).map_err(Failure::argument("email"))?,
            password: Password::chosen(text.clone()).map_err(Failure::argument("password"))?,
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

/// People on one page of [`list`].
const PAGE: u32 = 200;

async fn list() -> Result<(), Failure> {
    let auth = service().await?;
    let mut after = Some(Cursor::START);
    while let Some(from) = after {
        let (people, next) = auth.list_users(from, PAGE).await?;
        for user in people {
            let disabled = if user.disabled { "  disabled" } else { "" };
            line(&format!("{}  {}  {}{disabled}", user.username, user.email, user.roles.join(",")));
        }
        after = next;
    }
    Ok(())
}

impl RoleArguments {
    async fn set(&self, holds: bool) -> Result<(), Failure> {
        let auth = service().await?;
        let user = auth.find_user(&self.user).await?;
        let changed = auth.set_role(&user, &self.role, holds, &Origin::console()).await?;
        let has = if holds { "has" } else { "does not have" };
        let role = &self.role;
        let name = &user.username;
        line(&format!("{name} {has} the role {role}{}", if changed { "" } else { ", as before" }));
        Ok(())
    }
}

async fn disable(user: &str, disabled: bool) -> Result<(), Failure> {
    let auth = service().await?;
    let user = auth.find_user(user).await?;
    auth.disable(&user, disabled, None, &Origin::console()).await?;
    line(&format!("{} is {}", user.username, if disabled { "disabled" } else { "enabled" }));
    Ok(())
}

async fn reset(user: &str) -> Result<(), Failure> {
    let auth = service().await?;
    let user = auth.find_user(user).await?;
    line(&auth.reset_token(user.id, &Origin::console()).await?);
    Ok(())
}

fn made_up() -> Result<String, Failure> {
    opaque::secret().map_err(|_| Failure::Randomness)
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(1024)
        .read_to_string(&mut text)
        .map_err(Failure::system("cannot read the password"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
