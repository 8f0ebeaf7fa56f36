//! How long cached reads take at 200 a second, and what logins cost: `cargo bench -p auth`.
//!
//! The real program on a private PostgreSQL and a private Redis, asked over loopback. Reads come on
//! a fixed schedule and are timed from when they were due, so one that is held up counts for all it
//! holds up. Nothing here fails because it is slow.

#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints what it measured")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;
use weir_test::{
    call::{Call, Response},
    postgres::{Database, Server},
    redis::Redis,
};

const PASSWORD: &str = "correct horse battery";

/// Reads a second, and for how long.
const READS: (u32, Duration) = (200, Duration::from_secs(15));

/// Over so many connections.
const LANES: usize = 8;

/// Attempts of each kind.
const LOGINS: usize = 60;

#[tokio::main]
async fn main() {
    let database = migrated();
    let (redis, keys) = (Redis::start(), tempfile::tempdir().expect("a folder"));
    let service = Service::start(&database, &redis, keys.path());
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    assert_eq!(service.call("POST /api/v1/signup").json(&body).send().await.status, 201);
    let token = service.login("ada", PASSWORD, LOGINS).await.1.member("access_token");
    for path in ["/verify", "/api/v1/me"] {
        let call = Call::new(service.at, &format!("GET {path}")).bearer(&token);
        row(&format!("{path}, {} r/s", READS.0), &on_schedule(service.at, &call));
    }
    let kinds = [
        ("granted", "ada", PASSWORD, 200),
        ("wrong password", "ada", "x", 401),
        ("unknown user", "eve", "x", 401),
    ];
    let mut took = kinds.map(|_| Vec::new());
    for number in 0..LOGINS {
        for ((_, name, password, status), took) in kinds.iter().zip(&mut took) {
            let (time, response) = service.login(name, password, number).await;
            assert_eq!(response.status, *status, "{}", response.text);
            took.push(time);
        }
    }
    for ((what, ..), took) in kinds.iter().zip(&took) {
        row(&format!("login, {what}"), took);
    }
    let began = Instant::now();
    let mut logins = JoinSet::new();
    for number in 0..LOGINS {
        let call = service.login_call("ada", PASSWORD, number);
        logins.spawn(async move { call.send().await.status });
    }
    assert!(logins.join_all().await.iter().all(|status| *status == 200));
    println!("logins at once: {:.0} a second", LOGINS as f64 / began.elapsed().as_secs_f64());
}

/// A new database with all revisions.
fn migrated() -> Database {
    let database = Server::shared().database();
    database.run("CREATE ROLE auth_owner NOLOGIN; CREATE ROLE auth_app LOGIN PASSWORD 'app'");
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_auth"));
    let done = migrate
        .args(["migrate", "upgrade", "head"])
        .current_dir("/")
        .env("DATABASE_URL", database.url())
        .output();
    assert!(done.expect("migrate runs").status.success());
    database
}

/// `auth serve`, ended with the value.
struct Service {
    child: Child,
    at: SocketAddr,
}

impl Service {
    fn start(database: &Database, redis: &Redis, keys: &std::path::Path) -> Self {
        let auth = |words: &[&str]| {
            let mut auth = Command::new(env!("CARGO_BIN_EXE_auth"));
            auth.args(words).env_clear().env("AUTH_KEYS_DIR", keys).stdout(Stdio::piped());
            auth
        };
        assert!(auth(&["keys", "generate"]).status().expect("auth runs").success());
        let mut serve = auth(&["serve"]);
        serve
            .env("DATABASE_URL", database.url_as("auth_app"))
            .env("PGPASSWORD", "app")
            .env("REDIS_URL", redis.url());
        serve
            .env("LISTEN", "127.0.0.1:0")
            .env("METRICS_LISTEN", "127.0.0.1:0")
            .env("TRUSTED_PROXIES", "127.0.0.1/32");
        let mut child = serve.spawn().expect("auth runs");
        let mut log = BufReader::new(child.stdout.take().expect("piped"))
            .lines()
            .map(|line| line.expect("text"));
        let line = log.find(|line| line.contains("\"listening\"")).expect("it listens");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON lines only");
        // Read all the while: a full pipe would stop the service.
        thread::spawn(move || log.for_each(drop));
        Self {
            child,
            at: line["address"].as_str().and_then(|at| at.parse().ok()).expect("an address"),
        }
    }

    fn call(&self, line: &str) -> Call {
        Call::new(self.at, line)
    }

    /// A login from an address nobody else has: failures of one address are soon refused without a
    /// hash.
    fn login_call(&self, name: &str, password: &str, number: usize) -> Call {
        let body = json!({"username": name, "password": password});
        self.call("POST /api/v1/login").from(&format!("198.51.100.{number}")).json(&body)
    }

    async fn login(&self, name: &str, password: &str, number: usize) -> (Duration, Response) {
        let began = Instant::now();
        let response = self.login_call(name, password, number).send().await;
        (began.elapsed(), response)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One call again and again on its schedule, over connections that are kept; how long after it was
/// due each got its response.
fn on_schedule(at: SocketAddr, call: &Call) -> Vec<Duration> {
    let (text, begin) = (
        call.text().replace("connection: close\r\n", ""),
        Instant::now() + Duration::from_millis(100),
    );
    let all = READS.0 * u32::try_from(READS.1.as_secs()).expect("a short time");
    thread::scope(|scope| {
        let text = text.as_str();
        let lane = |first: u32| {
            scope.spawn(move || one_lane(at, text, (first..all).step_by(LANES), begin))
        };
        let lanes: Vec<_> = (0..u32::try_from(LANES).expect("a few")).map(lane).collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().expect("every request got its response"))
            .collect()
    })
}

/// Every so many requests of the schedule, over one connection, by a thread of its own: a timer of
/// the runtime is a millisecond late.
fn one_lane(
    at: SocketAddr,
    text: &str,
    numbers: impl Iterator<Item = u32>,
    begin: Instant,
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_nodelay(true).expect("an open socket");
    let ask = |number| {
        let due = begin + Duration::from_secs(1) * number / READS.0;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(text.as_bytes()).expect("it reads");
        let status = read_response(&mut stream);
        assert!([200, 204].contains(&status), "{status}");
        due.elapsed()
    };
    numbers.map(ask).collect()
}

/// Reads one response whole; its status.
fn read_response(stream: &mut TcpStream) -> u16 {
    let (mut bytes, mut part) = (Vec::with_capacity(1024), [0; 4096]);
    loop {
        let read = stream.read(&mut part).expect("it responses");
        assert!(read > 0, "it hung up");
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head
            .split_once("content-length: ")
            .map_or("0", |(_, rest)| rest.lines().next().unwrap_or("0"));
        if body.len() >= length.parse().expect("a length") {
            return head.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
        }
    }
}

fn row(what: &str, took: &[Duration]) {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at =
        |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let [half, most, nearly, all] = [0.5, 0.9, 0.99, 1.0].map(at);
    println!(
        "{what:<24} {:>5} times   p50 {half:6.2} ms   p90 {most:6.2}   p99 {nearly:6.2}   max \
         {all:6.2}",
        sorted.len()
    );
}
