//! `weir run`: serves a configuration in the foreground until a signal stops it.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    arguments::ConfigArgs,
    diagnostics,
    outcome::{Outcome, print_problems, report_error, report_hinted, usable},
};
use crate::{
    config::{self, Config, Loaded, Problems},
    process::{
        App, ConfigSource, Control, ControlMessage, Ended, Load, StartError, handover::Predecessor,
        reload::log_warnings,
    },
};

/// Serve in the foreground.
#[derive(Clone, Debug, clap::Args)]
pub struct RunCommand {
    #[command(flatten)]
    which: ConfigArgs,
    /// Reload the configuration when the file, or one that it includes, changes
    #[arg(long)]
    watch: bool,
}

impl RunCommand {
    /// Serves; exits 3 when the configuration cannot be used and 4 when an address cannot be
    /// listened on.
    #[must_use]
    pub fn run(self) -> Outcome {
        let path = self.which.path();
        let (file, watch) = (path.clone(), self.watch);
        let load: Load = Arc::new(move || config::load(&path, &self.which.sets));
        let loaded = load();
        serve_loaded(loaded, Some(ReloadSource { load, file, watch }))
    }
}

/// Source for reloads of the configuration.
pub struct ReloadSource {
    load: Load,
    /// Configuration file, which also names the control socket.
    file: PathBuf,
    /// True if the file is watched.
    watch: bool,
}

/// Prints the problems of a configuration, and serves it unless there is an error.
pub fn serve_loaded(result: Result<Loaded, Problems>, again: Option<ReloadSource>) -> Outcome {
    match usable(result) {
        Ok(loaded) => serve(loaded.config, &loaded.warnings, again, |_| {}),
        Err(outcome) => outcome,
    }
}

/// Serves a configuration until a signal stops it; `ready` is called with the open sockets before
/// the first response.
pub fn serve(
    config: Config,
    warnings: &Problems,
    again: Option<ReloadSource>,
    ready: impl FnOnce(&mut App),
) -> Outcome {
    // Kept to the end: the rest of the diagnostics is written on drop.
    let (set_log_level, _diagnostics) = diagnostics::start(&config.log_level);
    // Text for people, with the place in the file. Elsewhere every line is JSON.
    if io::stderr().is_terminal() {
        print_problems(warnings);
    } else {
        log_warnings(warnings);
    }
    // Before the bind: listening sockets of a predecessor are taken over, not bound again.
    let predecessor = match Predecessor::find() {
        Ok(predecessor) => predecessor,
        Err(error) => return report_error(&error, Outcome::Failed),
    };
    let mut app = match App::bind(config, predecessor) {
        Ok(app) => app,
        Err(error @ StartError::Bind { .. }) => return report_hinted(&error, Outcome::CannotBind),
        Err(error) => return report_hinted(&error, Outcome::Failed),
    };
    // Until here a signal has its default effect, so it ends a start that hangs.
    let orders = match signals() {
        Ok(orders) => orders,
        Err(error) => return report_error(&error, Outcome::Failed),
    };
    if let Some(ReloadSource { file, watch: is_watched, .. }) = &again {
        // The socket is named after the file, so a process without one has no control socket.
        app.open_control(file);
        if *is_watched && let Err(error) = watch(file.clone(), orders.give.clone()) {
            return report_error(&error, Outcome::Failed);
        }
    }
    ready(&mut app);
    match app.run(orders, again.map(|again| ConfigSource { load: again.load, set_log_level })) {
        Ok(Ended::Drained) => Outcome::Fine,
        Ok(Ended::Abandoned) => Outcome::Interrupted,
        Err(error) => report_hinted(&error, Outcome::Failed),
    }
}

/// Interval at which a watched file is read.
const LOOK: Duration = Duration::from_secs(1);

/// Requests a reload when the content of a configuration file, or of a file that it includes, changed and stayed the same for one interval, so
/// its writer has finished. Only the content counts, not its times or inode, so a file that is
/// bind-mounted by itself can be watched too.
fn watch(path: PathBuf, orders: mpsc::Sender<ControlMessage>) -> io::Result<()> {
    // A file that was added to a folder changes the list, and so does one that went.
    let mut served = config::source_texts(&path);
    // `served` is the content of the last reload, `before` that of the last look.
    let mut before = served.clone();
    let look = move || {
        while !orders.is_closed() {
            thread::sleep(LOOK);
            let now = config::source_texts(&path);
            if now.is_some() && now == before && now != served {
                // Also when the reload fails: the same content would fail again every second.
                served.clone_from(&now);
                if orders.blocking_send(ControlMessage::Reload(None)).is_err() {
                    return;
                }
            }
            before = now;
        }
    };
    thread::Builder::new().name("watch".to_owned()).spawn(look).map(|_| ())
}

/// Maps TERM, INT, QUIT, HUP, USR1 and USR2 to control messages.
fn signals() -> io::Result<Control> {
    let orders = Control::none();
    let sender = orders.give.clone();
    // On a thread of its own, so that a signal is received however busy the others are.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // `signal` registers with the runtime that is entered.
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    drop(entered);
    let watch = move || {
        runtime.block_on(async {
            loop {
                let order = tokio::select! {
                    _ = terminate.recv() => ControlMessage::Stop,
                    _ = interrupt.recv() => ControlMessage::Stop,
                    _ = quit.recv() => ControlMessage::Stop,
                    _ = hangup.recv() => ControlMessage::Reload(None),
                    _ = user1.recv() => ControlMessage::ReopenLog,
                    _ = user2.recv() => ControlMessage::HandOver,
                };
                if matches!(order, ControlMessage::Stop) {
                    tracing::info!(
                        "draining: finishing requests in progress; signal again to stop immediately"
                    );
                }
                // The receiver is gone when the process has ended its control loop.
                if sender.send(order).await.is_err() {
                    return;
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(orders)
}
