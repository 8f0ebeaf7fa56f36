//! Python's own `http.server`, gone with its test. It says which port it was given.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

pub struct Python {
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Python {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Python {
    /// `python3 -u ARGS`: what it prints first names `port N`.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg("-u")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3: install the Debian package python3");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let port = line.split_once(" port ").and_then(|(_, rest)| rest.split(' ').next());
        let port: u16 = port
            .and_then(|port| port.trim().parse().ok())
            .expect("python3: its first line names a port");
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child }
    }
}
