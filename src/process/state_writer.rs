//! Writer of the state file: runs beside the requests, so nothing waits for a disk.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{task::JoinHandle, time::Instant};

use super::worker::shared::Shared;
use crate::{
    config::{Config, StateSettings},
    limit::{Millis, Zone},
    process::state::SavedState,
    runtime::clock::Clock,
};

/// Writes states, one at a time.
#[derive(Debug, Default)]
pub struct StateWriter {
    writing: Option<JoinHandle<()>>,
    failing: Arc<AtomicBool>,
}

/// Builds the zones of a configuration with the debts of its state file.
#[must_use]
pub fn zones(config: &Config, clock: Clock) -> Vec<Arc<Zone>> {
    let Some(path) = &config.state.file else {
        return config.zones.iter().cloned().map(Zone::new).map(Arc::new).collect();
    };
    let state = match SavedState::load(path) {
        Ok(state) => state,
        Err(error) => {
            tracing::error!(%error, file = %path.display(), "cannot read state file; zones start \
                empty");
            None
        }
    };
    // Without zones the time does not matter: every zone starts empty.
    revive(state.unwrap_or_else(|| SavedState { taken_ms: 0, zones: Vec::new() }), config, clock)
}

/// Builds the zones of a configuration with the debts of a state.
#[must_use]
pub fn revive(state: SavedState, config: &Config, clock: Clock) -> Vec<Arc<Zone>> {
    state.revive(&config.zones, Millis::cut(clock.now()), Clock::wall())
}

/// Copies the debts of the zones now.
#[must_use]
pub fn take(shared: &Shared) -> SavedState {
    SavedState::take(&shared.zones, Millis::cut(shared.clock.now()), Clock::wall())
}

/// Logs at start if the state cannot be written, not only when it is due. Removes temporary files
/// of interrupted writes, unless another process may still be writing.
pub fn try_out(settings: &StateSettings, has_predecessor: bool) {
    let Some(path) = &settings.file else { return };
    // The old process may be writing its temporary file at this moment.
    if !has_predecessor {
        SavedState::tidy(path);
    }
    if let Err(error) = SavedState::try_out(path) {
        tracing::error!(%error, file = %path.display(), "cannot write state file; zone state is \
            lost when the process ends");
    }
}

impl StateWriter {
    /// Starts writing the state of `shared`, unless a write is in progress.
    pub fn begin(&mut self, shared: &Shared) {
        let Some(path) = shared.config.state.file.clone() else { return };
        // A disk that hangs would collect one blocked thread per interval.
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let (shared, failing) = (shared.clone(), Arc::clone(&self.failing));
        self.writing =
            // The copy of the debts takes time too, so it is made on that thread.
            Some(tokio::task::spawn_blocking(move || write(&take(&shared), &path, &failing)));
    }

    /// Writes the last state, after the write in progress, but not beyond `end` if the disk takes
    /// longer.
    pub async fn finish(&mut self, shared: &Shared, end: Instant) {
        let Some(path) = shared.config.state.file.clone() else { return };
        let (shared, failing, before) =
            (shared.clone(), Arc::clone(&self.failing), self.writing.take());
        let last = async move {
            // One after the other: an older state must not replace the last one.
            if let Some(before) = before
                && let Err(error) = before.await
            {
                tracing::error!(%error, "state not written");
            }
            tokio::task::spawn_blocking(move || write(&take(&shared), &path, &failing)).await
        };
        // A hung disk must not keep the process from its end.
        match tokio::time::timeout_at(end, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "last state not written"),
            Err(_) => tracing::error!(
                "last state not written in time; the state file may be as old as `state.interval`"
            ),
        }
    }
}

/// Logs once that writing fails, and once that it works again.
fn write(state: &SavedState, path: &Path, failing: &AtomicBool) {
    let outcome = state.save(path);
    let failed_before = failing.swap(outcome.is_err(), Ordering::Relaxed);
    match outcome {
        Err(error) if !failed_before => {
            tracing::error!(%error, file = %path.display(), "cannot write state file; zone state \
                may be lost when the process ends");
        }
        Ok(()) if failed_before => {
            tracing::info!(file = %path.display(), "state file is written again");
        }
        Ok(()) | Err(_) => {}
    }
}
