//! Fires a schedule so that what is to come at once does: the server is stopped while the requests
//! are written, and goes on with all of them before it. However busy the machine, the k-th request
//! is the k-th to arrive and the first millisecond has them all.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use weir::tools::burst::{End, Schedule, Shot};

use crate::http1::{Client, PATIENCE};

/// A path without a limit, at weir and at nginx.
pub const FREE: &str = "/free";

/// Connections that have carried a request before, so they are known to be accepted.
pub struct Volley {
    schedule: Schedule,
    connections: Vec<(TcpStream, Client)>,
}

/// A process that does nothing until this is dropped.
pub struct Stopped(Pid);

impl Stopped {
    pub fn new(process: Pid) -> Self {
        kill_process(process, Signal::STOP).expect("a process that runs");
        let stopped = Self(process);
        // A signal is taken by one thread first; nothing of the process may run any more.
        let begun = Instant::now();
        while !stopped.is_complete() {
            assert!(begun.elapsed() < PATIENCE, "the process does not stop");
            thread::yield_now();
        }
        stopped
    }

    /// Whether the state of every thread, the first word after its name, is `T`.
    fn is_complete(&self) -> bool {
        let threads =
            fs::read_dir(format!("/proc/{}/task", self.0.as_raw_pid())).expect("a list of threads");
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("a process that is stopped");
    }
}

type Answer = JoinHandle<(u16, Instant)>;

impl Volley {
    pub fn prepare(server: SocketAddr, schedule: &str) -> Self {
        let schedule: Schedule = schedule.parse().expect("a schedule");
        let connection = |_: &u64| {
            let mut client = Client::connect(server);
            assert_eq!(client.get(FREE).expect("an answer").status, 200);
            (client.stream.get_ref().try_clone().expect("a socket"), client)
        };
        let connections = schedule.offsets_us().iter().map(connection).collect();
        Self { schedule, connections }
    }

    /// Each request at its instant, never before; the k-th asks for `/k`. Times count from `begun`.
    /// `process` is the one that accepts; a request counts as sent when it may go on.
    pub fn fire(self, begun: Instant, process: Pid) -> Vec<Shot> {
        let (mut writers, readers): (Vec<_>, Vec<_>) = self.connections.into_iter().unzip();
        let answers: Vec<Answer> = readers.into_iter().map(read).collect();
        let mut sent = Vec::new();
        for group in self.schedule.offsets_us().chunk_by(|one, next| one == next) {
            let due = begun + Duration::from_micros(group[0]);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let stopped = Stopped::new(process);
            for due_us in group {
                let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", sent.len());
                writers[sent.len()].write_all(request.as_bytes()).expect("an open connection");
                sent.push((*due_us, 0));
            }
            let sent_us = micros(begun.elapsed());
            drop(stopped);
            sent.iter_mut().rev().take(group.len()).for_each(|(_, sent)| *sent = sent_us);
        }
        let shot = |((due_us, sent_us), answer): ((u64, u64), Answer)| {
            let (status, at) = answer.join().expect("no panic");
            Shot {
                client: 0,
                due_us,
                sent_us,
                end_us: micros(at - begun),
                end: End::Answer(status),
            }
        };
        sent.into_iter().zip(answers).map(shot).collect()
    }
}

fn read(mut client: Client) -> Answer {
    thread::spawn(move || {
        let (status, _, _) = client.head("GET").expect("an answer");
        (status, Instant::now())
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a short test")
}
