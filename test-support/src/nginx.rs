//! A real nginx, gone with its test.
//!
//! It takes over a socket that is bound to a free port already (its own hand-over for upgrades,
//! `NGINX=fd;`), so no port is guessed, and a connection made before it is ready waits in the
//! backlog.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

pub struct Nginx {
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked, not killed: it ends its worker too.
        let _already_gone = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _reaped = self.child.wait();
    }
}

impl Nginx {
    /// One server, with `http` beside and `server` inside its block. Other servers in `http` say
    /// `listen LISTEN;` and are not the default one. Its folder has a page, for `root .;`.
    pub fn start(http: &str, server: &str) -> Self {
        Self::start_with("", http, server)
    }

    /// The same with parameters of its `listen`.
    pub fn start_with(parameters: &str, http: &str, server: &str) -> Self {
        let server = format!("server {{ listen LISTEN default_server {parameters};\n{server} }}");
        Self::start_http(&format!("{http}\n{server}"))
    }

    /// Servers of a file, which say `listen LISTEN;`.
    pub fn start_http(http: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().expect("an address");
        let http = http.replace("LISTEN", &address.to_string());
        fs::write(folder.path().join("index.html"), "ok\n").expect("a page");
        fs::write(folder.path().join("nginx.conf"), config(&http)).expect("a file");
        fcntl_setfd(&socket, FdFlags::empty()).expect("a socket the child keeps");
        let child = Command::new("/usr/sbin/nginx")
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(folder.path())
            .env("NGINX", format!("{};", socket.as_raw_fd()))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx: install the Debian package nginx-light");
        Self { address, child, _folder: folder }
    }

    /// The process that accepts; it is there once a request got a response.
    pub fn worker(&self) -> Pid {
        let master = self.child.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))
            .expect("a list of processes");
        let worker = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
        Pid::from_raw(worker.expect("a worker")).expect("a process")
    }
}

fn config(http: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"));
    let temporary = temporary.concat();
    format!(
        "daemon off; user root; worker_processes 1; pid nginx.pid; events {{ worker_connections 512; }}\n\
         http {{ access_log off;\n{temporary}{http} }}\n",
    )
}
