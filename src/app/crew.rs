//! The workers of a process: their threads, and the changes that are passed on to them.

use std::{io, thread};

use tokio::sync::mpsc;

use super::{
    StartError,
    reload::ReloadError,
    worker::{self, Change, Listening, Shared},
};

/// Threads that serve.
pub struct Crew {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    changes: Vec<mpsc::Sender<Change>>,
    ended: mpsc::Receiver<()>,
}

/// Says, when it goes, that a worker has ended, however that came.
struct AtWork(mpsc::Sender<()>);

impl Drop for AtWork {
    fn drop(&mut self) {
        // There is room for each, and a crew nobody asks has ended itself.
        let _ = self.0.try_send(());
    }
}

impl Crew {
    /// Starts a worker for each list of sockets, and waits until all accept on theirs.
    ///
    /// # Errors
    /// When the kernel grants no thread.
    pub fn start(shared: &Shared, sockets: Vec<Vec<Listening>>) -> Result<Self, StartError> {
        let (ends, ended) = mpsc::channel(sockets.len().max(1));
        let (starting, started) = std::sync::mpsc::channel();
        let mut crew = Self { threads: Vec::new(), changes: Vec::new(), ended };
        for (number, sockets) in sockets.into_iter().enumerate() {
            let (shared, at_work, (change, changes)) = (shared.clone(), AtWork(ends.clone()), mpsc::channel(1));
            let starting = starting.clone();
            let work = move || {
                let outcome = worker::run(shared, sockets, changes, starting);
                drop(at_work);
                outcome
            };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            crew.threads.push(thread.spawn(work).map_err(StartError::Thread)?);
            crew.changes.push(change);
        }
        drop(starting);
        // Nothing is sent; it fails when the last of them has started, or has failed to and is found missing.
        let _all_started = started.recv();
        Ok(crew)
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes.len()
    }

    /// Completes when a worker has ended. One that does so unasked has failed, and nobody takes the connections to its sockets.
    pub async fn lost_one(&mut self) {
        let _or_all = self.ended.recv().await;
    }

    /// Completes when every worker has ended.
    pub async fn finished(&mut self) {
        while self.ended.recv().await.is_some() {}
    }

    /// Lets every worker serve `shared` from now on; `opened` and `closed` is where they listen in addition, and no longer.
    ///
    /// # Errors
    /// What a worker says against it.
    pub async fn change(
        &self,
        shared: &Shared,
        opened: Vec<Vec<Listening>>,
        closed: &[std::net::SocketAddr],
    ) -> Result<(), ReloadError> {
        let (done, mut outcomes) = mpsc::channel(self.changes.len().max(1));
        for (changes, opened) in self.changes.iter().zip(opened) {
            let change = Change { shared: shared.clone(), opened, closed: closed.to_vec(), done: done.clone() };
            changes.send(change).await.map_err(|_| ReloadError::Stopping)?;
        }
        drop(done);
        let mut refused = None;
        while let Some(outcome) = outcomes.recv().await {
            refused = refused.or(outcome.err());
        }
        refused.map_or(Ok(()), |error| Err(ReloadError::Worker(error.to_string())))
    }

    /// Waits for the threads to end.
    ///
    /// # Errors
    /// What the first worker that failed says.
    pub fn join(self) -> Result<(), StartError> {
        drop(self.changes);
        for thread in self.threads {
            let outcome = thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            outcome.map_err(StartError::Thread)?;
        }
        Ok(())
    }
}
