//! A weir that knows to the byte how much it has in use: this program, run once more as `weir run`,
//! with an allocator that counts. What is resident goes up and down by megabytes with nothing kept;
//! this does not. Codecs and cryptography in C are not counted.

use std::{
    alloc::System,
    env,
    io::{BufRead, BufReader, Write, stdin, stdout},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use weir::cli::{Cli, Outcome};

use crate::process::Weir;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Where the process is told what to run.
const CONFIG: &str = "WEIR_COUNTED";
/// What its responses begin with.
const IN_USE: &str = "in use: ";

/// A command like `weir run -c PATH`.
pub fn command(path: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "counted::run_as_weir", "--ignored", "--nocapture"]).env(CONFIG, path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Asks such a process.
pub struct Counter {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Counter {
    pub fn of(weir: &mut Weir) -> Self {
        let questions = weir.stdin.take().expect("a pipe");
        Self { questions, answers: BufReader::new(weir.stdout.take().expect("a pipe")) }
    }

    /// How many bytes it has in use.
    pub fn in_use(&mut self) -> u64 {
        writeln!(self.questions).expect("a process that runs");
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).expect("a pipe") > 0, "a process that runs");
            if let Some(bytes) = line.strip_prefix(IN_USE) {
                return bytes.trim().parse().expect("a number");
            }
        }
    }
}

#[test]
#[ignore = "no test: it is the process that the soak looks at"]
fn run_as_weir() {
    let path = env::var(CONFIG).expect("a configuration");
    thread::spawn(|| {
        for _question in stdin().lines() {
            let stats = ALLOCATOR.stats();
            writeln!(stdout(), "{IN_USE}{}", stats.bytes_allocated - stats.bytes_deallocated)
                .expect("somebody who asked");
        }
    });
    assert_eq!(Cli::parse_from(["weir", "run", "-c", &path]).run(), Outcome::Fine);
}
