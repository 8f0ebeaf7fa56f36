//! Work of the control loop: commands that have not started, and the one piece in progress.

use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    admin::Reloaded,
    command::ControlMessage,
    file_watch::Changed,
    handover::{Starting, Successor},
    reload::{ReloadError, ReloadPlan},
    reload_report::Reason,
    start_error::HandoverError,
};

/// Commands that have not started.
#[derive(Default)]
pub struct Wanted {
    /// Load the configuration again.
    pub reload: bool,
    /// Open the log files again.
    pub reopen: bool,
    /// Read changed files again.
    pub changed: Changed,
    /// Start a new process.
    pub hand_over: bool,
    /// Receivers of the outcome of the reload.
    pub asked: Vec<oneshot::Sender<Reloaded>>,
}

/// Work in progress beside the loop.
pub enum Work {
    /// None.
    Nothing,
    /// Change of the configuration.
    Change(Change),
    /// Start of a new process.
    HandOver(Starting),
}

/// Plan in preparation.
pub struct Change {
    /// Plan, once it is prepared.
    pub plan: JoinHandle<Planned>,
    /// Reason for the log.
    pub reason: Reason,
    /// Receivers of the outcome.
    pub asked: Vec<oneshot::Sender<Reloaded>>,
}

/// Plan, or the reason why there is none.
pub type Planned = Result<Box<ReloadPlan>, ReloadError>;

/// Outcome of a piece of work.
pub enum WorkOutcome {
    /// A plan is prepared, or failed.
    Planned(Planned),
    /// A new process is ready, or failed.
    Followed(Result<Successor, HandoverError>),
}

impl Work {
    /// Completes with the work in progress; pending while there is none.
    pub async fn outcome(&mut self) -> WorkOutcome {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Change(change) => {
                let panicked =
                    |error: tokio::task::JoinError| Err(ReloadError::Panicked(error.to_string()));
                // A panic in the preparation has changed nothing that is served.
                WorkOutcome::Planned((&mut change.plan).await.unwrap_or_else(panicked))
            }
            Self::HandOver(starting) => WorkOutcome::Followed(starting.outcome().await),
        }
    }
}

impl Wanted {
    /// Merges a command into those that have not started.
    pub fn note(&mut self, order: ControlMessage) {
        match order {
            ControlMessage::Reload(asked) => {
                self.reload = true;
                // Several requests are one reload, and each requester gets its outcome.
                self.asked.extend(asked);
            }
            ControlMessage::ReopenLog => self.reopen = true,
            ControlMessage::HandOver => self.hand_over = true,
            // The control loop has handled it: it is no work that could wait.
            ControlMessage::Stop => {}
        }
    }
}
