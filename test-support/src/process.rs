//! The real `weir` in a process of its own, gone with its test. It says on which port it listens;
//! nothing is guessed.

use std::{
    cell::Cell,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http1::PATIENCE;

pub struct Weir {
    pub address: SocketAddr,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    child: Child,
    /// The process that serves now: the child, or who followed it.
    serving: Cell<Pid>,
    diagnostics: Receiver<String>,
    folder: TempDir,
}

/// The command, with nothing on its streams.
pub fn weir(args: &[&str]) -> Command {
    let mut command = Command::new(crate::program("weir"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .env_remove("NO_COLOR");
    command
}

/// A process that serves, whose standard error is read no further than to where it listens.
pub fn unread(mut command: Command) -> (Child, BufReader<ChildStderr>, SocketAddr) {
    let mut child = command.spawn().expect("a process");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended");
    }
    (child, stderr, first_address(&line))
}

/// The first address of a line that says where it listens.
fn first_address(line: &str) -> SocketAddr {
    let line: serde_json::Value =
        serde_json::from_str(line).expect("JSON, as always when not on a terminal");
    let addresses = line["fields"]["addresses"].as_str().expect("addresses");
    let list = addresses.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).expect("a list");
    let first = list.split(", ").next().expect("one address");
    first.parse().expect("an address")
}

/// Runs a command that ends by itself.
pub fn output(args: &[&str]) -> Output {
    weir(args).stdout(Stdio::piped()).output().expect("a process")
}

/// The command as a user who owns nothing, and a folder that user can read; only root can make it.
pub fn as_nobody() -> Option<(Command, TempDir)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let everybodys = fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(everybodys).tempdir().expect("a folder");
    // The one that was built may lie where that user cannot look.
    let program = folder.path().join("weir");
    fs::copy(crate::program("weir"), &program).expect("a copy");
    let mut command = Command::new(program);
    command.uid(65_534).stdin(Stdio::null());
    Some((command, folder))
}

/// Writes a configuration into a folder and returns its path.
pub fn written(folder: &TempDir, config: &str) -> String {
    let path = folder.path().join("weir.yaml");
    fs::write(&path, config).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn listening_somewhere(config: &str) -> String {
    let listeners =
        if config.contains("listeners:") { "" } else { "listeners: [ \"127.0.0.1:0\" ]\n" };
    format!("{listeners}{config}")
}

impl Weir {
    /// `weir run` with this configuration; where it does not say where to listen, it is a free
    /// port.
    pub fn run(config: &str) -> Self {
        Self::run_with(config, Stdio::null())
    }

    /// The same beside what is in the folder.
    pub fn run_in(folder: TempDir, config: &str) -> Self {
        let path = written(&folder, &listening_somewhere(config));
        Self::start(weir(&["run", "-c", &path]).stdout(Stdio::null()), folder)
    }

    pub fn run_with(config: &str, stdout: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(&folder, &listening_somewhere(config));
        Self::start(weir(&["run", "-c", &path]).stdout(stdout), folder)
    }

    /// The same, and loads again what is written there.
    pub fn run_watching(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(&folder, &listening_somewhere(config));
        Self::start(&mut weir(&["run", "--watch", "-c", &path]), folder)
    }

    pub fn start(command: &mut Command, folder: TempDir) -> Self {
        let mut child = command.spawn().expect("a process");
        let (sender, diagnostics) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        // Ends with the process; a test that is over reads no more.
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let serving = Cell::new(Pid::from_child(&child));
        let mut weir = Self {
            address: SocketAddr::from(([0; 4], 0)),
            stdin,
            stdout,
            child,
            serving,
            diagnostics,
            folder,
        };
        weir.address = weir.listening();
        weir
    }

    /// Puts another configuration in the place of the one it was started with.
    pub fn rewrite(&self, config: &str) {
        written(&self.folder, &listening_somewhere(config));
    }

    /// Where that is.
    pub fn config(&self) -> String {
        self.folder.path().join("weir.yaml").to_str().expect("a path in UTF-8").to_owned()
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process that runs").count()
    }

    /// Whether one of them is this file.
    pub fn has_open(&self, file: &Path) -> bool {
        let open =
            fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process that runs");
        open.flatten().any(|one| fs::read_link(one.path()).is_ok_and(|path| path == file))
    }

    fn listening(&self) -> SocketAddr {
        first_address(&self.says("\"listening\""))
    }

    /// Waits for a diagnostic that contains `text`.
    pub fn says(&self, text: &str) -> String {
        let (deadline, mut heard) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.diagnostics.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("weir never said `{text}`: {heard:#?}"),
            }
        }
    }

    pub fn pid(&self) -> Pid {
        self.serving.get()
    }

    /// Waits until another process serves.
    pub fn is_handed_over(&self) {
        let line: serde_json::Value =
            serde_json::from_str(&self.says("handed over")).expect("JSON");
        let pid = line["fields"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        self.serving.set(pid.and_then(Pid::from_raw).expect("a process"));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process that runs");
    }

    /// Waits until it ends, which closes its standard error.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.diagnostics.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("a child"),
                Err(RecvTimeoutError::Timeout) => panic!("weir did not end in {PATIENCE:?}"),
            }
        }
    }

    /// A line of `/proc/PID/status`, in bytes.
    pub fn memory(&self, name: &str) -> u64 {
        memory(self.child.id(), name)
    }
}

/// The most memory a process ever had, in bytes.
pub fn peak_memory(process: u32) -> u64 {
    memory(process, "VmHWM")
}

fn memory(process: u32, name: &str) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    let kib: u64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number");
    kib * 1024
}

impl Drop for Weir {
    fn drop(&mut self) {
        if self.pid() != Pid::from_child(&self.child) {
            let _already_gone = kill_process(self.pid(), Signal::KILL);
        }
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
