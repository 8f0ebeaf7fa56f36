//! Programs that are asked for by name, and named when they are missing.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

/// A program, and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub command: &'static str,
    pub package: &'static str,
}

pub const PYTHON: Program = Program { command: "python3", package: "python3" };
pub const NODE: Program = Program { command: "node", package: "nodejs" };
pub const CURL: Program = Program { command: "curl", package: "curl" };
pub const H2LOAD: Program = Program { command: "h2load", package: "nghttp2-client" };
pub const HAPROXY: Program = Program { command: "haproxy", package: "haproxy" };
/// Its plugin for Python is a package of its own.
pub const UWSGI: Program =
    Program { command: "uwsgi", package: "uwsgi-core, and uwsgi-plugin-python3" };
/// Debian's own interpreter: another one does not find Debian's modules.
pub const GRPC: Program = Program { command: "/usr/bin/python3", package: "python3-grpcio" };

/// A program that runs beside a test, ended with it.
pub struct Running {
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Program {
    /// What it prints, without the newline at its end. It must succeed.
    pub fn prints(self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let Self { command, .. } = self;
        let mut run = self.command(args);
        run.envs(environment.iter().copied()).stdin(Stdio::null());
        let done = run.output().unwrap_or_else(|error| self.is_missing(&error));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {}: {said}", done.status);
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    }

    /// Starts a server. What it prints on its standard output first names `port N`.
    pub fn serves(self, args: &[&str]) -> Running {
        let mut run = self.command(args);
        let mut child = run
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| self.is_missing(&error));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let port = line.split_once("port ").and_then(|(_, rest)| rest.trim().parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("{}: `{line}` names no port", self.command));
        Running { address: SocketAddr::from(([127, 0, 0, 1], port)), child }
    }

    /// Starts a server on a free port, which is its standard input.
    pub fn listens_on_stdin(self, args: &[&str]) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut run = self.command(args);
        run.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
        Running { address, child: run.spawn().unwrap_or_else(|error| self.is_missing(&error)) }
    }

    fn command(self, args: &[&str]) -> Command {
        let mut command = Command::new(self.command);
        command.args(args);
        command
    }

    fn is_missing(self, error: &std::io::Error) -> ! {
        panic!("{}: {error}: install the Debian package {}", self.command, self.package)
    }
}
