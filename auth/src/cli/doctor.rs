//! `auth doctor`: everything the service stands on, one line each; the exit code says whether it
//! could serve.

use std::process::ExitCode;
use std::time::Duration;

use crate::app::check_revision;
use crate::cli::outcome::{Failure, block_on, line, tell};
use crate::settings::Settings;

/// Looks.
#[must_use]
pub fn run() -> ExitCode {
    tell(block_on(examine()))
}

async fn examine() -> Result<(), Failure> {
    let mut settings = Settings::from_environment()?;
    settings.start_wait = Duration::ZERO;
    let findings =
        [keys(&settings), database(&settings).await, redis(&settings).await, mail(&settings)];
    let mut well = true;
    for (subject, finding) in ["keys", "database", "redis", "mail"].iter().zip(findings) {
        match finding {
            Ok(text) => line(&format!("ok   {subject}: {text}")),
            Err(Finding::Worse(text)) => line(&format!("warn {subject}: {text}")),
            Err(Finding::Broken(text)) => {
                well = false;
                line(&format!("bad  {subject}: {text}"));
            }
        }
    }
    if well { Ok(()) } else { Err(Failure::NotWell) }
}

enum Finding {
    /// It serves all the same.
    Worse(String),
    /// It does not serve.
    Broken(String),
}

fn broken(error: impl Into<Failure>) -> Finding {
    Finding::Broken(error.into().text())
}

fn keys(settings: &Settings) -> Result<String, Finding> {
    let ring = settings.key_ring().map_err(broken)?;
    let names: Vec<&str> = ring.keys().map(crate::token::key::SigningKey::kid).collect();
    Ok(format!("signs with `{}`, {} verify", names[0], names.len()))
}

async fn database(settings: &Settings) -> Result<String, Finding> {
    let standing = check_revision(settings).await.map_err(broken)?;
    if standing.ahead() {
        return Err(Finding::Worse(
            "ahead of this program: a newer release has been here".to_owned(),
        ));
    }
    Ok(format!("{} at `{}`", settings.database, standing.current.unwrap_or_default()))
}

async fn redis(settings: &Settings) -> Result<String, Finding> {
    let Some(client) = settings.redis_client().map_err(broken)? else {
        return Err(Finding::Worse(
            "not configured: everything is read from the database".to_owned(),
        ));
    };
    let ask = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    match tokio::time::timeout(Duration::from_secs(2), ask).await {
        Ok(Ok(_)) => Ok("responds".to_owned()),
        Ok(Err(error)) => {
            Err(Finding::Worse(format!("away ({error}); everything is read from the database")))
        }
        Err(_) => Err(Finding::Worse(
            "no response in 2 s; everything is read from the database".to_owned(),
        )),
    }
}

fn mail(settings: &Settings) -> Result<String, Finding> {
    match &settings.mail_dir {
        Some(directory) if directory.is_dir() => Ok(format!("put into `{}`", directory.display())),
        Some(directory) => {
            Err(Finding::Worse(format!("`{}` is not a directory", directory.display())))
        }
        None => Err(Finding::Worse("MAIL_DIR is not set: no mail is made".to_owned())),
    }
}
