//! Reports of a change: log lines, and outcomes for those who asked over the admin listener.

use tokio::sync::{mpsc, oneshot};

use super::{
    admin::{AdminHandlers, Pending, Reloaded},
    command::ControlMessage,
    reload::{Effect, ReloadError},
};
use crate::downstream::drain::Drain;

/// Reason of a change, for the log.
pub enum Reason {
    /// The configuration is loaded again.
    Reload,
    /// Files are read again with the same configuration; a line for each kind.
    Renewal(Vec<&'static str>),
}

/// Logs the outcome of a command and sends it to those who asked.
pub fn log_outcome(
    reason: &Reason,
    outcome: &Result<Effect, ReloadError>,
    asked: Vec<oneshot::Sender<Reloaded>>,
) {
    match (outcome, reason) {
        (Ok(Effect::Changed), Reason::Reload) => {
            tracing::info!("configuration reloaded");
        }
        // An operator whose editor has written another file than the one that is served looks for
        // this.
        (Ok(Effect::Nothing), Reason::Reload) => {
            tracing::info!("configuration reloaded; nothing changed");
        }
        (Ok(_), Reason::Renewal(done)) => done.iter().for_each(|done| tracing::info!("{done}")),
        (Err(error), _) => tracing::error!("{error}"),
    }
    for asked in asked {
        // The requester may be gone; the log has the outcome.
        let _ = asked.send(reloaded(outcome));
    }
}

/// Outcome of a change, as the admin listener reports it.
pub fn reloaded(outcome: &Result<Effect, ReloadError>) -> Reloaded {
    match outcome {
        Ok(Effect::Changed) => Reloaded::Done,
        Ok(Effect::Nothing) => Reloaded::Unchanged,
        Err(error @ ReloadError::Invalid(_)) => Reloaded::Invalid(error.to_string()),
        Err(error) => Reloaded::Failed(error.to_string()),
    }
}

/// Actions of the admin listener.
pub fn admin_handlers(orders: mpsc::Sender<ControlMessage>, drain: Drain) -> AdminHandlers {
    let reload = move || {
        let orders = orders.clone();
        Box::pin(async move { ask(&orders).await }) as Pending<Reloaded>
    };
    AdminHandlers {
        is_ready: Box::new(move || drain.deadline().is_none()),
        reload: Box::new(reload),
    }
}

async fn ask(orders: &mpsc::Sender<ControlMessage>) -> Reloaded {
    let (asked, outcome) = oneshot::channel();
    let stopping = || reloaded(&Err(ReloadError::Stopping));
    if orders.send(ControlMessage::Reload(Some(asked))).await.is_err() {
        // The control loop is gone only when the process stops.
        return stopping();
    }
    outcome.await.unwrap_or_else(|_| stopping())
}
