//! The same tables against a real nginx: what the bench says of it is what is documented of it.
//!
//! Each nginx takes over a socket the test has bound to port 0 (its own hand-over for upgrades,
//! `NGINX=fd;`), so no port is guessed, and a first request to a path without a limit waits in the
//! backlog until it serves.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use super::{TABLE_A, burst, holds};

/// A private nginx, gone with its test.
struct Nginx {
    address: SocketAddr,
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

/// Starts one that serves a file under these `limit_req_zone`s and `limit_req`s.
fn nginx(zones: &[&str], limits: &[&str]) -> Nginx {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("index.html"), "ok\n").expect("a page");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("an address");
    fcntl_setfd(&socket, FdFlags::empty()).expect("a socket the child keeps");
    fs::write(folder.path().join("nginx.conf"), config(address, zones, limits))
        .expect("a configuration");
    let child = Command::new("/usr/sbin/nginx")
        .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
        .arg(folder.path())
        .env("NGINX", format!("{};", socket.as_raw_fd()))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx: install the Debian package nginx-light");
    let nginx = Nginx { address, child, _folder: folder };
    let mut first = TcpStream::connect(address).expect("a connection");
    first.write_all(b"HEAD /ready HTTP/1.0\r\n\r\n").expect("a request");
    first.read_to_end(&mut Vec::new()).expect("an nginx that serves");
    nginx
}

fn config(address: SocketAddr, zones: &[&str], limits: &[&str]) -> String {
    let line = |name: &str, all: &[&str]| {
        all.iter().map(|one| format!("{name} {one};\n")).collect::<String>()
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"));
    format!(
        "daemon off; user root; worker_processes 1; pid nginx.pid; events {{ worker_connections 512; }}\n\
         http {{ access_log off;\n{}{}server {{ listen {address}; root .; location = /ready {{ }} location / {{ {} }} }} }}\n",
        temporary.concat(),
        line("limit_req_zone", zones),
        line("limit_req", limits),
    )
}

/// One limit on the client's address.
fn limited(rate: &str, rule: &str) -> Nginx {
    nginx(&[&format!("$binary_remote_addr zone=a:1m rate={rate}")], &[&format!("zone=a {rule}")])
}

#[tokio::test]
async fn table_a() {
    let nginx = limited("1r/s", "");
    holds(&burst(nginx.address, TABLE_A, Some("1r/s burst 0")).await, 2, 0, 2);
}

#[tokio::test]
async fn table_b() {
    let nginx = limited("10r/s", "burst=20");
    holds(&burst(nginx.address, "30", Some("10r/s burst 20")).await, 1, 20, 9);
}

#[tokio::test]
async fn table_b_nodelay() {
    let nginx = limited("10r/s", "burst=20 nodelay");
    holds(&burst(nginx.address, "30", Some("10r/s burst 20 nodelay")).await, 21, 0, 9);
}

#[tokio::test]
async fn table_b_delay_8() {
    let nginx = limited("10r/s", "burst=20 delay=8");
    holds(&burst(nginx.address, "30", Some("10r/s burst 20 delay 8")).await, 9, 12, 9);
}

#[tokio::test]
async fn table_c() {
    let nginx = limited("5r/s", "burst=12 delay=8");
    holds(&burst(nginx.address, "15", Some("5r/s burst 12 delay 8")).await, 9, 4, 2);
}

#[tokio::test]
async fn table_d() {
    let nginx = limited("30r/m", "burst=2 delay=1");
    holds(&burst(nginx.address, "4", Some("30r/m burst 2 delay 1")).await, 2, 1, 1);
}

#[tokio::test]
async fn table_e_two_limits() {
    let zones =
        ["$binary_remote_addr zone=ip:1m rate=1r/s", "$server_port zone=site:1m rate=10r/s"];
    let nginx = nginx(&zones, &["zone=ip burst=5 nodelay", "zone=site burst=10"]);
    let report = burst(nginx.address, "9", None).await;
    let counts = report.counts();
    assert_eq!((counts.forwarded(), counts.reject), (6, 3));
    let mut ends_us: Vec<u64> =
        report.trace.iter().filter(|shot| !shot.rejected(503)).map(|shot| shot.end_us).collect();
    ends_us.sort_unstable();
    for (place, end_us) in ends_us.into_iter().enumerate() {
        assert!(end_us + 1_000 >= 100_000 * place as u64, "{place}: {end_us}");
    }
}
