//! `weir run`: serve a configuration in the foreground until told to stop.

use std::{
    io::{self, IsTerminal},
    thread,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::EnvFilter;

use super::{Outcome, Which, complain, fail};
use crate::{
    app::{App, Ended, StartError},
    config::{self, Config, Loaded, Problems},
};

/// Serve in the foreground.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    which: Which,
}

impl Run {
    /// Serves; exits 3 when the configuration cannot be used and 4 when an address cannot be listened on.
    #[must_use]
    pub fn run(self) -> Outcome {
        serve_loaded(config::load(&self.which.path(), &self.which.sets))
    }
}

/// Tells what is wrong with a configuration, and serves it unless that is an error.
pub fn serve_loaded(result: Result<Loaded, Problems>) -> Outcome {
    match result {
        Ok(loaded) => {
            complain(&loaded.warnings);
            serve(loaded.config, |_| {})
        }
        Err(problems) => {
            complain(&problems);
            Outcome::Invalid
        }
    }
}

/// Serves a configuration until a signal says stop; `ready` is called with the open sockets before the first answer.
pub fn serve(config: Config, ready: impl FnOnce(&mut App)) -> Outcome {
    start_diagnostics(&config.log_level);
    let mut app = match App::bind(config) {
        Ok(app) => app,
        Err(error @ StartError::Bind { .. }) => return fail(&error, Outcome::CannotBind),
        Err(error) => return fail(&error, Outcome::Failed),
    };
    let stops = match stop_signals() {
        Ok(stops) => stops,
        Err(error) => return fail(&error, Outcome::Failed),
    };
    ready(&mut app);
    match app.addresses() {
        Ok(addresses) => tracing::info!(?addresses, "listening"),
        Err(error) => return fail(&error, Outcome::Failed),
    }
    match app.run(stops) {
        Ok(Ended::Drained) => Outcome::Fine,
        Ok(Ended::Abandoned) => Outcome::Interrupted,
        Err(error) => fail(&error, Outcome::Failed),
    }
}

/// Diagnostics go to standard error: lines for people on a terminal, JSON elsewhere.
fn start_diagnostics(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let terminal = io::stderr().is_terminal();
    let started = if terminal { builder.with_target(false).try_init() } else { builder.json().try_init() };
    if let Err(error) = started {
        tracing::debug!(%error, "diagnostics were started before");
    }
}

/// TERM, INT and QUIT, each as one order to stop.
fn stop_signals() -> io::Result<mpsc::Receiver<()>> {
    let (sender, stops) = mpsc::channel(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    drop(entered);
    let watch = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                }
                tracing::info!("told to stop: what is under way is finished, once more stops now");
                if sender.send(()).await.is_err() {
                    return;
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(stops)
}
