//! Files that are read again while they are served: certificates, CA files of upstreams, networks,
//! users.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{listeners, worker::shared::Shared};
use crate::config::network_watch::{NetworkWatch, PasswordWatch};

/// Files whose content differs from what is served.
#[derive(Clone, Copy, Default)]
pub struct Changed {
    /// CA file of an upstream.
    pub authorities: bool,
    /// File of networks.
    pub networks: bool,
    /// File of users.
    pub passwords: bool,
}

/// Watch on the files, which looks at them on a thread that may wait for a disk.
#[derive(Default)]
pub struct FileWatch {
    /// Watches the files of networks and of users; taken out while it reads.
    watches: (NetworkWatch, PasswordWatch),
    look: Option<JoinHandle<Found>>,
}

/// Findings of a look at the files.
#[derive(Default)]
struct Found {
    changed: Changed,
    watches: (NetworkWatch, PasswordWatch),
}

impl FileWatch {
    /// Returns true if a look is in progress.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// Starts a look. Changed certificates are used immediately.
    pub fn look(&mut self, shared: &Shared) {
        let (doors, upstreams, config) =
            (Arc::clone(&shared.doors), shared.upstreams.clone(), Arc::clone(&shared.config));
        // Moved to the thread and back, so no lock is needed. Meanwhile no other look starts.
        let mut watches = std::mem::take(&mut self.watches);
        self.look = Some(tokio::task::spawn_blocking(move || {
            listeners::look(&doors);
            // All of them are asked: each logs its own error.
            let authorities =
                upstreams.iter().filter(|group| group.has_usable_other_tls_files()).count() > 0;
            let networks = watches.0.look(&config).is_some();
            let passwords = watches.1.look(&config).is_some();
            Found { changed: Changed { authorities, networks, passwords }, watches }
        }));
    }

    /// Findings of the look in progress; pending while there is none.
    pub async fn changed(&mut self) -> Changed {
        let Some(look) = &mut self.look else { return std::future::pending().await };
        // After a panic the next look begins as the first one.
        let Found { changed, watches } = look.await.unwrap_or_default();
        self.look = None;
        self.watches = watches;
        changed
    }
}
