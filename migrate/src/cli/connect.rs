//! One connection for one command, and an end at a stop signal.

use super::answer::{Answer, tell};
use crate::{
    Error, Patience, Session,
    database::{AddressError, Database},
    event::Event,
};

/// Connects, works, says goodbye. A stop signal ends it at once: what is not committed is taken back by the server.
pub(super) fn in_session(
    command: &str,
    patience: Patience,
    work: impl AsyncFnOnce(&mut Session<'_>) -> Result<Answer, Error>,
) -> Result<Answer, Error> {
    let wrong = |error: AddressError| Error::Setting { message: error.to_string(), hint: error.hint() };
    let database = Database::for_migrations().map_err(wrong)?;
    let failed = |cause: std::io::Error| Error::Revisions(format!("cannot start the runtime: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(async {
        let mut show = |event: &Event| tell(event);
        let working = async {
            let mut session = Session::open(&database, command, patience, &mut show).await?;
            let answer = work(&mut session).await;
            session.close().await;
            answer
        };
        tokio::select! {
            answer = working => answer,
            () = stopped() => Err(Error::Interrupted),
        }
    });
    // A thread may still be asking for the name of a database that is gone: nobody waits for that.
    runtime.shutdown_background();
    ended
}

/// Returns at SIGTERM or SIGINT; a process that is number 1 of its container would ignore both without this.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without handlers the signals end the process themselves.
        _ => std::future::pending().await,
    }
}
