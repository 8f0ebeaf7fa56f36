//! Commands to a running proxy, the source of its configurations, and its end.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::admin::Reloaded;
use crate::config::{Loaded, Problems};

/// Command to a running proxy.
pub enum ControlMessage {
    /// Drain; a second one stops immediately.
    Stop,
    /// Reload the configuration, and send the outcome.
    Reload(Option<oneshot::Sender<Reloaded>>),
    /// Reopen the log files, because they were moved away.
    ReopenLog,
    /// Hand over to a new process of the program that is on disk now.
    HandOver,
}

/// Channel of commands.
pub struct Control {
    /// Sending half, for signals and the admin listener.
    pub give: mpsc::Sender<ControlMessage>,
    /// Receiving half, for the proxy.
    pub take: mpsc::Receiver<ControlMessage>,
}

impl Control {
    /// Creates a channel without commands; sending waits while several are pending.
    #[must_use]
    pub fn none() -> Self {
        let (give, take) = mpsc::channel(4);
        Self { give, take }
    }
}

/// Loads a configuration.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// Source of the configuration of a running proxy.
pub struct ConfigSource {
    /// Loads it, on a thread that may wait for a disk.
    pub load: Load,
    /// Sets the level of diagnostics.
    pub set_log_level: Box<dyn Fn(&str)>,
}

/// End of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Drained: all requests in progress were completed, or the drain timeout passed.
    Drained,
    /// Stopped by a second command: everything was dropped.
    Abandoned,
}
