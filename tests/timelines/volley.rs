//! Fires a schedule so that the k-th request is the k-th to arrive: over connections that are known to be accepted.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ::weir::burst::{End, Schedule, Shot};

use crate::http::Client;

/// A path without a limit, at weir and at nginx.
pub const FREE: &str = "/free";

/// Connections that have carried a request before.
pub struct Volley {
    schedule: Schedule,
    connections: Vec<(TcpStream, Client)>,
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
    pub fn fire(self, begun: Instant) -> Vec<Shot> {
        let mut under_way: Vec<(u64, u64, Answer)> = Vec::new();
        let (writers, readers): (Vec<_>, Vec<_>) = self.connections.into_iter().unzip();
        let mut answers: Vec<Answer> = readers.into_iter().map(read).collect();
        for (number, (due_us, mut writer)) in self.schedule.offsets_us().iter().zip(writers).enumerate() {
            let due = begun + Duration::from_micros(*due_us);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent_us = micros(begun.elapsed());
            writer.write_all(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).expect("an open connection");
            under_way.push((*due_us, sent_us, answers.remove(0)));
        }
        let shot = |(due_us, sent_us, answer): (u64, u64, Answer)| {
            let (status, at) = answer.join().expect("no panic");
            Shot { client: 0, due_us, sent_us, end_us: micros(at - begun), end: End::Answer(status) }
        };
        under_way.into_iter().map(shot).collect()
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
