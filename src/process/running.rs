//! Control loop of a running proxy: takes commands, changes over the workers, and ends the process.
//!
//! Guarantees: the loop itself reads no file, resolves no name and starts no process, so it
//! responds while a disk hangs. One change or hand-over is in progress at a time; further commands
//! are merged and run after it. A stop ends when `drain` has passed, whatever else is waited for.
//! `tests/serve/hanging_files.rs` holds them.

use std::{io, os::unix::net::UnixListener, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    command::{ConfigSource, Control, ControlMessage, Ended, Load},
    control,
    file_watch::{Changed, FileWatch},
    handover::{self, HandedOver, Successor},
    pending_work::{Change, Planned, Wanted, Work, WorkOutcome},
    reload::{self, AccessLogChange, Effect, ReloadError, ReloadPlan},
    reload_report::{Reason, admin_handlers, log_outcome, reloaded},
    service_manager::ServiceManager,
    socket_file::SocketFile,
    sockets,
    start_error::HandoverError,
    state_writer::{self, StateWriter},
    worker::shared::{Listening, Shared},
    workers::Workers,
};
use crate::{
    config::Config,
    downstream::{
        drain::{DrainOrder, Idle},
        tls,
    },
    limit::Millis,
    log::writer::Writer,
    process::admin::{self, AdminSocket},
    runtime::sys,
    upstream::{background::BackgroundTasks, dns},
};

/// Time beyond `drain` that a process waits for its last clients after a hand-over: as long as a
/// request may be parked.
const LAST_CLIENTS: Duration = Duration::from_secs(30);
/// Least time for the last state file, and for cancelling the start of a new process, after the
/// drain timeout.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Parts of a proxy that starts.
pub struct Startup {
    /// State that the workers serve.
    pub shared: Shared,
    /// Starts the drain.
    pub order: DrainOrder,
    /// Worker threads.
    pub crew: Workers,
    /// Duplicates of their sockets and of that of the admin listener.
    pub held: Vec<Listening>,
    /// Files of the Unix sockets.
    pub socket_files: Vec<SocketFile>,
    /// Control socket.
    pub control: Option<UnixListener>,
    /// Thread of the access log.
    pub writer: Option<Writer>,
    /// Source of the configuration.
    pub source: Option<ConfigSource>,
    /// Service manager that started the process.
    pub manager: ServiceManager,
}

/// Running proxy.
pub struct Running {
    shared: Shared,
    order: DrainOrder,
    crew: Workers,
    /// Sockets for a hand-over: a socket that the workers have closed must not stay open here.
    held: Vec<Listening>,
    /// Files of the Unix sockets, which end with them.
    socket_files: Vec<SocketFile>,
    /// Control socket for a hand-over.
    control: Option<UnixListener>,
    writers: Vec<Writer>,
    source: Option<ConfigSource>,
    manager: ServiceManager,
    keep: StateWriter,
    tending: BackgroundTasks,
    wanted: Wanted,
    work: Work,
    /// Transfer of the debts of the last change to rebuilt zones.
    succession: Option<JoinHandle<()>>,
    files: FileWatch,
}

/// End of the time of serving.
#[derive(PartialEq, Eq)]
enum Told {
    Stop,
    HandedOver,
}

impl Running {
    /// Creates the loop for a proxy whose workers have started.
    pub fn new(startup: Startup) -> Self {
        let Startup { shared, order, crew, held, socket_files, control, writer, source, manager } =
            startup;
        let tending = BackgroundTasks::new(shared.connector.clone(), dns::system());
        Self {
            shared,
            order,
            crew,
            held,
            socket_files,
            control,
            writers: writer.into_iter().collect(),
            source,
            manager,
            keep: StateWriter::default(),
            tending,
            wanted: Wanted::default(),
            work: Work::Nothing,
            succession: None,
            files: FileWatch::default(),
        }
    }

    /// Serves until `orders` has a stop, and drains. The caller joins and finishes what is
    /// returned.
    pub async fn until_ended(
        mut self,
        orders: Control,
        admin: Option<Listening>,
    ) -> (Ended, Workers, Vec<Writer>) {
        let Control { give, mut take } = orders;
        let doors = self.open_doors(admin, &give);
        // From here on only signals and the admin listener hold it, so their end is a stop.
        drop(give);
        self.tending.replace_tasks(&self.shared.upstreams);
        let told = self.until_told(&mut take).await;
        if told == Told::Stop {
            self.manager.is_stopping();
        }
        let (time, idle) = if told == Told::HandedOver {
            (LAST_CLIENTS, Idle::Await)
        } else {
            (Duration::ZERO, Idle::Close)
        };
        // The kernel queues connections while any duplicate of a socket is open. With this one open
        // they would wait for a process that accepts no more.
        self.held.clear();
        self.control = None;
        let files = std::mem::take(&mut self.socket_files);
        if told == Told::HandedOver {
            files.into_iter().for_each(SocketFile::leave);
            // The sockets belong to another process now.
            doors.iter().for_each(JoinHandle::abort);
        }
        let deadline = Instant::now() + self.shared.config.drain + time;
        self.order.by(deadline, idle);
        let ended = self.until_drained(&mut take).await;
        // A drain that has used up all of its time must still write the state.
        let end = deadline.max(Instant::now() + LAST_WORK);
        let work = std::mem::replace(&mut self.work, Work::Nothing);
        if let Work::HandOver(starting) = work {
            // Otherwise the new process would wait for the debts of one that is gone.
            starting.give_up(end.saturating_duration_since(Instant::now())).await;
        }
        // After a hand-over the file belongs to the new process.
        if told != Told::HandedOver {
            self.keep.finish(&self.shared, end).await;
        }
        let Self { crew, writers, .. } = self;
        (ended, crew, writers)
    }

    /// Opens the admin listener at `admin.address`, and the control socket.
    fn open_doors(
        &self,
        admin: Option<Listening>,
        give: &mpsc::Sender<ControlMessage>,
    ) -> Vec<JoinHandle<()>> {
        let admin = admin.map(|admin| sockets::tcp_only(vec![admin.socket]));
        let port = admin.and_then(|mut admin| admin.pop());
        let port = port.map(|port| TcpListener::from_std(port).map(AdminSocket::Port));
        let socket = || -> Option<io::Result<AdminSocket>> {
            let again = self.control.as_ref()?.try_clone();
            let listener = again.and_then(tokio::net::UnixListener::from_std);
            Some(listener.map(|listener| AdminSocket::Socket(listener, control::may_command)))
        };
        let entrances = [port, socket()].into_iter().flatten();
        let open = |entrance: io::Result<AdminSocket>| match entrance {
            Ok(entrance) => {
                let handlers = admin_handlers(give.clone(), self.shared.drain.clone());
                Some(tokio::task::spawn_local(admin::serve(entrance, handlers)))
            }
            Err(error) => {
                tracing::error!(%error, "cannot open a control or admin listener; continuing \
                    without it");
                None
            }
        };
        entrances.filter_map(open).collect()
    }

    /// Serves until there is a reason to end.
    async fn until_told(&mut self, orders: &mut mpsc::Receiver<ControlMessage>) -> Told {
        // Instants and not timers: a new `interval` of the configuration counts from the
        // last write.
        let (mut kept, mut looked) = (Instant::now(), Instant::now());
        loop {
            // In each round, because finished work may let the next command start.
            self.begin_work();
            tokio::select! {
                () = self.crew.lost_one() => {
                    tracing::error!("a worker failed; exiting after requests in progress on the \
                        others");
                    return Told::Stop;
                }
                outcome = self.work.outcome() => {
                    if let Some(told) = self.finish_work(outcome).await {
                        return told;
                    }
                }
                changed = self.files.changed() => {
                    // Merged, because a look may find more while earlier findings wait.
                    self.wanted.changed.authorities |= changed.authorities;
                    self.wanted.changed.networks |= changed.networks;
                    self.wanted.changed.passwords |= changed.passwords;
                }
                () = tokio::time::sleep_until(kept + self.shared.config.state.interval) => {
                    kept = Instant::now();
                    self.keep.begin(&self.shared);
                }
                () = tokio::time::sleep_until(looked + tls::LOOK_INTERVAL), if !self.files.is_looking() => {
                    looked = Instant::now();
                    self.files.look(&self.shared);
                }
                order = orders.recv() => match order {
                    None | Some(ControlMessage::Stop) => return Told::Stop,
                    Some(order) => self.wanted.note(order),
                },
            }
        }
    }

    /// Handles finished work; returns an end when that was a hand-over.
    async fn finish_work(&mut self, outcome: WorkOutcome) -> Option<Told> {
        match (outcome, std::mem::replace(&mut self.work, Work::Nothing)) {
            (WorkOutcome::Planned(plan), Work::Change(change)) => {
                self.change_over(plan, change).await;
            }
            (WorkOutcome::Followed(Ok(successor)), _) => {
                return Some(self.follow(&successor).await);
            }
            (WorkOutcome::Followed(Err(error)), _) => {
                tracing::error!("{error}; this process continues");
            }
            (WorkOutcome::Planned(_), _) => {}
        }
        None
    }

    /// Completes when every worker has ended. A second stop cuts them off.
    async fn until_drained(&mut self, orders: &mut mpsc::Receiver<ControlMessage>) -> Ended {
        loop {
            let order = tokio::select! {
                () = self.crew.finished() => return Ended::Drained,
                Some(order) = orders.recv() => order,
            };
            match order {
                ControlMessage::Stop => {
                    self.shared.abandon.cancel();
                    // They end immediately; their last state is known then. Bounded, because a
                    // worker may be stuck in a system call.
                    let _ = tokio::time::timeout(LAST_WORK, self.crew.finished()).await;
                    return Ended::Abandoned;
                }
                ControlMessage::Reload(asked) => {
                    let _ = asked.map(|asked| asked.send(reloaded(&Err(ReloadError::Stopping))));
                }
                ControlMessage::ReopenLog | ControlMessage::HandOver => {}
            }
        }
    }

    /// Starts what was requested, unless work is in progress.
    fn begin_work(&mut self) {
        // One change at a time: each is prepared from the state that it replaces.
        if !matches!(self.work, Work::Nothing) {
            return;
        }
        // First: a reload would only serve a process that is about to end.
        if std::mem::take(&mut self.wanted.hand_over) {
            self.work = self.begin_to_hand_over();
        } else if std::mem::take(&mut self.wanted.reload) {
            let asked = std::mem::take(&mut self.wanted.asked);
            let Some(load) = self.source.as_ref().map(|source| Arc::clone(&source.load)) else {
                return log_outcome(&Reason::Reload, &Err(ReloadError::NoFile), asked);
            };
            self.manager.is_reloading();
            let plan = self.plan(move |shared| loaded(shared, &load), AccessLogChange::Reopened);
            self.work = Work::Change(Change { plan, reason: Reason::Reload, asked });
        } else {
            self.begin_to_renew();
        }
    }

    /// Starts reopening the log and taking over changed files, with the configuration that is
    /// served.
    fn begin_to_renew(&mut self) {
        let Changed { authorities, networks, passwords } = std::mem::take(&mut self.wanted.changed);
        let reopen = std::mem::take(&mut self.wanted.reopen);
        let told = [
            (reopen, "log files reopened"),
            (authorities, "upstream TLS files changed; new connections use them"),
            (networks, "network files changed; networks reloaded"),
            (passwords, "password files changed; users reloaded"),
        ];
        let done: Vec<_> = told.into_iter().filter_map(|(was, told)| was.then_some(told)).collect();
        if !done.is_empty() {
            let log = if reopen { AccessLogChange::Reopened } else { AccessLogChange::Kept };
            let plan = self.plan(|shared| Ok(read_again(&shared.config)), log);
            self.work =
                Work::Change(Change { plan, reason: Reason::Renewal(done), asked: Vec::new() });
        }
    }

    /// Prepares a plan on a thread that may wait for a disk.
    fn plan<F>(&self, config: F, log: AccessLogChange) -> JoinHandle<Planned>
    where
        F: FnOnce(&Shared) -> Result<Config, ReloadError> + Send + 'static,
    {
        // A copy of the shared state: the thread must not borrow what the loop serves from.
        let (before, workers) = (self.shared.clone(), self.crew.size());
        tokio::task::spawn_blocking(move || {
            reload::prepare(&before, config(&before)?, workers, log).map(Box::new)
        })
    }

    fn begin_to_hand_over(&self) -> Work {
        let again = || -> io::Result<HandedOver> {
            let sockets = self.held.iter().map(Listening::again).collect::<io::Result<_>>()?;
            Ok(HandedOver {
                sockets,
                inherited: Arc::clone(&self.shared.inherited),
                control: self.control.as_ref().map(UnixListener::try_clone).transpose()?,
            })
        };
        match again().map_err(HandoverError::Start).and_then(handover::start) {
            Ok(starting) => Work::HandOver(starting),
            Err(error) => {
                tracing::error!("{error}; this process continues");
                Work::Nothing
            }
        }
    }

    /// Commits a plan if there is one and every worker can take it over.
    async fn change_over(&mut self, plan: Planned, Change { reason, asked, .. }: Change) {
        let mut outcome = match plan {
            Ok(plan) => self.take_over(plan).await,
            Err(error) => Err(error),
        };
        // A worker that failed outweighs any other outcome: the process is about to end.
        if self.crew.is_lost() {
            outcome = Err(ReloadError::Lost);
        }
        log_outcome(&reason, &outcome, asked);
        if matches!(reason, Reason::Reload) {
            // Also after one that failed: the process serves as before.
            self.manager.is_ready();
        }
    }

    async fn take_over(&mut self, mut plan: Box<ReloadPlan>) -> Result<Effect, ReloadError> {
        // Compared before the plan is taken over, for the report.
        let is_same = *self.shared.config == *plan.shared.config;
        let opened = std::mem::take(&mut plan.opened);
        // Everything that may fail comes before the first step that changes anything.
        let built = self.crew.prepare(&plan.shared, opened, &plan.closed).await?;
        let successions = std::mem::take(&mut plan.successions);
        // What all workers share comes first: they then serve the new configuration with its
        // limits.
        self.commit(*plan);
        self.crew.commit(built).await;
        // The old zones are no longer charged. The transfer takes as long as there are keys, and
        // nothing waits for it.
        let (clock, before) = (self.shared.clock, self.succession.take());
        self.succession = Some(tokio::spawn(async move {
            // Transfers run one after the other: the next one copies what this one adds.
            if let Some(before) = before {
                let _ended = before.await;
            }
            let finish = move || {
                successions.into_iter().for_each(|one| one.finish(Millis::cut(clock.now())));
            };
            if let Err(error) = tokio::task::spawn_blocking(finish).await {
                tracing::error!(%error, "cannot carry over zone state after a reload; some \
                    charges are lost");
            }
        }));
        tokio::spawn(sys::give_back_memory_after_a_change());
        Ok(if is_same { Effect::Nothing } else { Effect::Changed })
    }

    /// Replaces the state that all workers share by that of the plan. Cannot fail.
    fn commit(&mut self, plan: ReloadPlan) {
        let ReloadPlan { shared, closed, files, held, writer, fitted, emptied, .. } = plan;
        fitted.apply();
        for zone in emptied {
            tracing::warn!(%zone, "zone key changed; zone starts empty");
        }
        // The queue is one for all configurations, so its room is changed and not replaced.
        shared.queue.set_room(shared.config.queue_max, shared.config.zones.len());
        if let Some(source) = &self.source {
            (source.set_log_level)(&shared.config.log_level);
        }
        self.held.retain(|listening| !closed.contains(&listening.address));
        // Dropped, so removed: clients that come from now on see that it is gone.
        let is_closed =
            |file: &SocketFile| closed.iter().any(|address| address.path() == Some(file.path()));
        self.socket_files.retain(|file| !is_closed(file));
        let (before, after) = (&self.shared.config.listeners, &shared.config.listeners);
        sockets::grant(&self.socket_files, before, after);
        self.socket_files.extend(files);
        let write = shared.config.timeouts.write;
        if let Err(error) = sockets::tune(&self.held, &shared.doors, write) {
            tracing::error!("{error}; its connections keep the previous time-out");
        }
        self.held.extend(held);
        self.shared = shared;
        self.tending.replace_tasks(&self.shared.upstreams);
        // A former log ends with its last line, and its thread is then dropped here.
        self.writers.retain(|writer| !writer.has_finished());
        self.writers.extend(writer);
    }

    /// Stops accepting and lets a new process that is ready take over.
    async fn follow(&mut self, successor: &Successor) -> Told {
        // Before the debts are copied: a request charged afterwards would be missing in the copy.
        self.order.by(Instant::now() + self.shared.config.drain + LAST_CLIENTS, Idle::Await);
        match successor.remember(&state_writer::take(&self.shared)) {
            Ok(()) => {
                self.manager.is_followed_by(successor.pid());
                tracing::info!(
                    pid = successor.pid(),
                    "handed over; exiting after the last request in progress"
                );
                Told::HandedOver
            }
            Err(error) => {
                tracing::error!(%error, "the new process is gone and this one no longer listens; \
                    exiting");
                Told::Stop
            }
        }
    }
}

fn loaded(before: &Shared, load: &Load) -> Result<Config, ReloadError> {
    let loaded = load().map_err(ReloadError::Invalid)?;
    reload::log_warnings(&loaded.warnings);
    for key in reload::restart_only_changes(&before.config, &loaded.config) {
        tracing::warn!(key, "a changed setting needs a restart; ignored until then");
    }
    Ok(loaded.config)
}

/// Returns the same configuration with the networks and users that its files hold now, or the former
/// ones if a file is invalid.
fn read_again(config: &Config) -> Config {
    let config = config.with_networks_read_again().ok().flatten().unwrap_or_else(|| config.clone());
    config.with_passwords_read_again().ok().flatten().unwrap_or(config)
}
