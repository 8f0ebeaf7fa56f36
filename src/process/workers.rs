//! Worker threads of a process, and the changes that are passed to them.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::{
    reload::ReloadError,
    start_error::StartError,
    worker::{
        accepting::ConfigChange,
        shared::{Listening, Shared},
        thread::run,
    },
};
use crate::downstream::listen_address::ListenAddress;

/// Worker threads.
pub struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    changes: Vec<mpsc::Sender<ConfigChange>>,
    ended: mpsc::Receiver<()>,
    /// True if a worker did not report the outcome of a change.
    lost: bool,
}

/// Change that every worker has built and none has taken over yet. Dropping it cancels the change.
#[must_use]
#[derive(Debug)]
pub struct Built {
    go: Vec<oneshot::Sender<()>>,
    done: mpsc::Receiver<()>,
}

/// Reports on drop that a worker has ended, for whatever reason.
struct WorkerGuard(mpsc::Sender<()>);

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        // There is room for each message, and without a receiver the workers are being dropped.
        let _ = self.0.try_send(());
    }
}

impl Workers {
    /// Starts a worker for each list of sockets, and waits until all accept on theirs.
    ///
    /// # Errors
    /// When the kernel grants no thread.
    pub fn start(shared: &Shared, sockets: Vec<Vec<Listening>>) -> Result<Self, StartError> {
        let (ends, ended) = mpsc::channel(sockets.len().max(1));
        let (starting, started) = std::sync::mpsc::channel();
        let mut crew = Self { threads: Vec::new(), changes: Vec::new(), ended, lost: false };
        for (number, sockets) in sockets.into_iter().enumerate() {
            let (shared, at_work, (change, changes)) =
                (shared.clone(), WorkerGuard(ends.clone()), mpsc::channel(1));
            let starting = starting.clone();
            let work = move || {
                let outcome = run(shared, sockets, changes, starting);
                drop(at_work);
                outcome
            };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            crew.threads.push(thread.spawn(work).map_err(StartError::Thread)?);
            crew.changes.push(change);
        }
        // The copy of this function would keep the wait below from ending.
        drop(starting);
        // No value is sent: it fails when the last worker has started, or has failed, which is
        // detected later.
        let _all_started = started.recv();
        Ok(crew)
    }

    /// Number of workers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes.len()
    }

    /// Completes when a worker has ended, or did not report the outcome of a change. A worker that
    /// ends without a stop has failed, and nothing accepts the connections to its sockets.
    pub async fn lost_one(&mut self) {
        if !self.lost {
            let _or_all = self.ended.recv().await;
        }
    }

    /// Returns true if a worker did not report the outcome of a change.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Completes when every worker has ended.
    pub async fn finished(&mut self) {
        while self.ended.recv().await.is_some() {}
    }

    /// Lets every worker build what it needs to serve `shared`; `opened` and `closed` are its new
    /// and removed sockets.
    ///
    /// # Errors
    /// The error of a worker, or the lack of its report.
    pub async fn prepare(
        &mut self,
        shared: &Shared,
        opened: Vec<Vec<Listening>>,
        closed: &[ListenAddress],
    ) -> Result<Built, ReloadError> {
        let (built, mut outcomes) = mpsc::channel(self.size().max(1));
        let (done, all_done) = mpsc::channel(self.size().max(1));
        let mut go = Vec::new();
        for (changes, opened) in self.changes.iter().zip(opened) {
            let (word, wait) = oneshot::channel();
            let (shared, closed) = (shared.clone(), closed.to_vec());
            let change = ConfigChange {
                shared,
                opened,
                closed,
                built: built.clone(),
                go: wait,
                done: done.clone(),
            };
            // A worker that takes no changes any more is detected below.
            let _ = changes.send(change).await;
            go.push(word);
        }
        // The copies of this function would keep the loops below from ending.
        drop((built, done));
        let (mut heard, mut refused) = (0, None);
        while let Some(outcome) = outcomes.recv().await {
            heard += 1;
            // Workers build the same, so one error stands for all.
            refused = refused.or(outcome.err());
        }
        // A worker without a report has panicked or ended: what it serves is not known any more.
        self.lost |= heard < self.size();
        match refused {
            _ if self.lost => Err(ReloadError::Lost),
            Some(error) => Err(ReloadError::Worker(error.to_string())),
            None => Ok(Built { go, done: all_done }),
        }
    }

    /// Lets every worker take over what it has built. One that does not confirm is lost.
    pub async fn commit(&mut self, Built { go, mut done }: Built) {
        for word in go {
            // A worker that does not listen any more sends no confirmation either.
            let _ = word.send(());
        }
        let mut heard = 0;
        while done.recv().await.is_some() {
            heard += 1;
        }
        self.lost |= heard < self.size();
    }

    /// Waits for the threads to end.
    ///
    /// # Errors
    /// The error of the first worker that failed.
    pub fn join(self) -> Result<(), StartError> {
        drop(self.changes);
        for thread in self.threads {
            let outcome =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            outcome.map_err(StartError::Thread)?;
        }
        Ok(())
    }
}
