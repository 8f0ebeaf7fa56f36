//! Thread of a worker, from its runtime to the last log line.

use std::{io, rc::Rc};

use tokio::{runtime::LocalOptions, sync::mpsc, task::JoinHandle};

use super::{
    Worker,
    accepting::{Acceptors, ConfigChange, registered},
    shared::{Listening, Shared},
};

/// Number of task polls after which the runtime asks the kernel for events at the latest, however
/// busy the worker is. A client that has just sent a request does not wait for clients that send
/// without a pause.
const EVENTS: u32 = 8;

/// Runs a worker on this thread until it is stopped. It takes over each of `changes`, and then
/// keeps nothing of its former state that is not in use. It drops `starting` once it accepts on
/// every socket.
///
/// The end, in order:
///
/// 1. It stops accepting, and takes the connections that the kernel has accepted
///    (`Worker::pass_on`).
/// 2. Requests in progress get their responses, and idle connections close.
/// 3. Parked requests whose slot is too late are rejected (`Drain::last_release`).
/// 4. After the drain timeout, or immediately after a second stop, the rest is cut: the runtime is
///    dropped with the task of every connection.
/// 5. Each request that was cut writes its log line as it is dropped.
/// 6. All lines are passed to the log writer.
///
/// # Errors
/// When its runtime or its sockets fail at the start.
pub fn run(
    shared: Shared,
    sockets: Vec<Listening>,
    mut changes: mpsc::Receiver<ConfigChange>,
    starting: std::sync::mpsc::Sender<()>,
) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime =
        // The state of connections is shared by `Rc`, so no task may move to another thread.
        runtime.enable_all().event_interval(EVENTS).build_local(LocalOptions::default())?;
    let served: io::Result<_> = runtime.block_on(async {
        let worker = Worker::build(&shared).map_err(io::Error::other)?;
        let leaving = Rc::clone(&worker);
        let abandon = shared.abandon.clone();
        // This future lives as long as the worker, and would keep the first configuration alive.
        drop(shared);
        let mut acceptors = Acceptors::new(Rc::clone(&worker));
        for listening in sockets {
            let listener = registered(listening).map_err(io::Error::other)?;
            acceptors.open(listener);
        }
        // Tasks of their own: a future awaited here is polled with every turn of the loop.
        let tasks = Rc::clone(&worker);
        let background =
            tokio::task::spawn_local(async move { tasks.run_background_tasks().await });
        let changing = tokio::task::spawn_local(async move {
            while let Some(change) = changes.recv().await {
                acceptors.change(change).await;
            }
        });
        // Spawned after the tasks that accept, so it runs after them.
        tokio::task::spawn_local(async move { drop(starting) });
        let stopped = async move {
            tokio::select! {
                () = abandon.cancelled() => {}
                () = leaving.finished() => {}
            }
        };
        let end = tokio::task::spawn_local(stopped_or_failed(stopped, background));
        let outcome = match end.await.map_err(io::Error::other)? {
            // If it ends before this worker it has panicked, unless all senders of changes are
            // gone.
            Ok(()) if changing.is_finished() => changing.await.map_err(io::Error::other),
            outcome => outcome,
        };
        Ok((Rc::clone(&worker.journal), outcome))
    });
    let (journal, outcome) = served?;
    // Before the runtime is dropped: requests that end then were cut by the process, not by
    // their clients.
    journal.cut();
    drop(runtime);
    // After it: the last lines come from the requests that were dropped with the runtime.
    journal.finish();
    outcome
}

/// Completes when the worker is stopped, or when its background tasks end. They end only by a
/// panic, and without them no time-out fires.
async fn stopped_or_failed(
    stopped: impl Future<Output = ()>,
    background: JoinHandle<()>,
) -> io::Result<()> {
    tokio::select! {
        () = stopped => Ok(()),
        ended = background => match ended {
            Ok(()) => Err(io::Error::other("the worker's timers ended")),
            Err(cause) => Err(io::Error::other(cause)),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use crate::process::worker::thread::*;

    #[tokio::test]
    async fn panic_of_the_background_tasks_ends_a_worker() {
        let all = async {
            let background = tokio::task::spawn_local(async { panic!("a timer") });
            let ended = stopped_or_failed(std::future::pending(), background).await;
            assert!(ended.expect_err("a failure").to_string().contains("a timer"));
            let background = tokio::task::spawn_local(std::future::pending());
            assert!(stopped_or_failed(async {}, background).await.is_ok());
        };
        LocalSet::new().run_until(all).await;
    }
}
