//! `auth serve`: one JSON line per request on stdout; TERM, INT and QUIT stop it, responses under
//! way are finished.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::app::App;
use crate::cli::outcome::{Failure, block_on, tell};
use crate::settings::{SettingError, Settings};

/// Serves.
#[must_use]
pub fn run() -> ExitCode {
    tell(start_log().and_then(|()| block_on(serve())))
}

/// Starts the log: one JSON object a line. What is said while a request is handled has its id in
/// `span`.
fn start_log() -> Result<(), Failure> {
    let text = std::env::var("LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    let form = "a level, like `info`, or `info,auth=debug`".to_owned();
    let filter: Targets =
        text.parse().map_err(|_| SettingError::Value { name: "LOG", value: text, form })?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    tracing_subscriber::registry().with(filter).with(lines.with_writer(std::io::stdout)).init();
    Ok(())
}

async fn serve() -> Result<(), Failure> {
    // First of all, so that an early order to stop is not lost.
    let stop = stop()?;
    let settings = Settings::from_environment()?;
    if settings.mail_dir.is_none() {
        tracing::warn!(
            "MAIL_DIR is not set: nobody is mailed a token to set a new password; `auth user \
             reset` makes one"
        );
    }
    let app = tokio::select! {
        app = App::bind(settings) => app?,
        () = stop => return Ok(()),
    };
    let address = app.address().map_err(Failure::system("cannot tell the address"))?;
    let metrics = app.metrics_address().map_err(Failure::system("cannot tell the address"))?;
    tracing::info!(%address, %metrics, "listening");
    app.run(self::stop()?).await.map_err(Failure::system("cannot serve"))
}

/// Ends with the first signal that asks to stop.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::system("cannot listen to signals"));
    let mut term = listen(SignalKind::terminate())?;
    let mut int = listen(SignalKind::interrupt())?;
    let mut quit = listen(SignalKind::quit())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = quit.recv() => {}
        }
    })
}
