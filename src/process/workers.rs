//! The workers of a process: their threads, and the changes that are passed on to them.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::{
    StartError,
    reload::ReloadError,
    worker::{self, ConfigChange, Listening, Shared},
};

/// Threads that serve.
pub struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    changes: Vec<mpsc::Sender<ConfigChange>>,
    ended: mpsc::Receiver<()>,
    /// Whether a worker did not say what came of a change.
    lost: bool,
}

/// A change that every worker has built and none has taken over yet. Dropping it lets them forget
/// it.
#[must_use]
#[derive(Debug)]
pub struct Built {
    go: Vec<oneshot::Sender<()>>,
    done: mpsc::Receiver<()>,
}

/// Says, when it goes, that a worker has ended, however that came.
struct WorkerGuard(mpsc::Sender<()>);

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        // There is room for each, and a crew nobody asks has ended itself.
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
                let outcome = worker::run(shared, sockets, changes, starting);
                drop(at_work);
                outcome
            };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            crew.threads.push(thread.spawn(work).map_err(StartError::Thread)?);
            crew.changes.push(change);
        }
        drop(starting);
        // Nothing is sent; it fails when the last of them has started, or has failed to and is
        // found missing.
        let _all_started = started.recv();
        Ok(crew)
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes.len()
    }

    /// Completes when a worker has ended, or did not say what came of a change. One that does so
    /// unasked has failed, and nobody takes the connections to its sockets.
    pub async fn lost_one(&mut self) {
        if !self.lost {
            let _or_all = self.ended.recv().await;
        }
    }

    /// Whether a worker did not say what came of a change.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Completes when every worker has ended.
    pub async fn finished(&mut self) {
        while self.ended.recv().await.is_some() {}
    }

    /// Lets every worker build what it needs to serve `shared`; `opened` and `closed` is where they
    /// listen in addition, and no longer.
    ///
    /// # Errors
    /// What a worker says against it, or that one says nothing.
    pub async fn prepare(
        &mut self,
        shared: &Shared,
        opened: Vec<Vec<Listening>>,
        closed: &[std::net::SocketAddr],
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
            // One that takes no change any more is found missing below.
            let _ = changes.send(change).await;
            go.push(word);
        }
        drop((built, done));
        let (mut heard, mut refused) = (0, None);
        while let Some(outcome) = outcomes.recv().await {
            heard += 1;
            refused = refused.or(outcome.err());
        }
        self.lost |= heard < self.size();
        match refused {
            _ if self.lost => Err(ReloadError::Lost),
            Some(error) => Err(ReloadError::Worker(error.to_string())),
            None => Ok(Built { go, done: all_done }),
        }
    }

    /// Lets every worker take over what it has built. One that does not say that it has is lost.
    pub async fn commit(&mut self, Built { go, mut done }: Built) {
        for word in go {
            // One that does not listen any more says nothing either.
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
    /// What the first worker that failed says.
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
