//! One connection for one command, and an end at a stop signal.

use super::output::{Output, tell};
use crate::{
    Error, Patience, Session,
    database::{AddressError, Database},
    error::Message,
    event::Event,
};

/// Connects, works, closes. A stop signal ends it immediately: the server takes back what is not
/// committed.
pub(super) fn in_session(
    command: &str,
    patience: Patience,
    work: impl AsyncFnOnce(&mut Session<'_>) -> Result<Output, Error>,
) -> Result<Output, Error> {
    let wrong = |error: AddressError| Error::Usage(Message::new(error.to_string(), error.hint()));
    let database = Database::for_migrations().map_err(wrong)?;
    let failed = |cause: std::io::Error| {
        Error::Revisions(format!("cannot start the runtime: {cause}").into())
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(async {
        let mut show = |event: &Event| tell(event);
        let working = async {
            let mut session = Session::open(&database, command, patience, &mut show).await?;
            let output = work(&mut session).await;
            session.close().await;
            output
        };
        tokio::select! {
            output = working => output,
            () = stopped() => Err(Error::Interrupted),
        }
    });
    // A thread may still be asking for the name of a database that is gone: it is not waited for.
    runtime.shutdown_background();
    ended
}

/// Returns at SIGTERM or SIGINT; a process that is number 1 of its container would ignore both
/// without this.
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
