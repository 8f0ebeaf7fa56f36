//! Unix sockets of listeners and endpoints, and sockets that a service manager opened.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http1::{Head, get},
    process::{Weir, output, weir, written},
    upstream::{Log, noting},
};

/// One GET with a connection of its own: its status, and what it was answered.
fn ask(path: &Path, fields: &str) -> io::Result<(u16, String)> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(crate::http1::PATIENCE))?;
    let request = format!("GET /x HTTP/1.1\r\nhost: a.test\r\n{fields}connection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok((answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0), answer))
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("weir.sock")
}

/// A configuration with a port and a socket.
fn config(upstream: SocketAddr, socket: &str, rest: &str) -> String {
    format!(
        "listeners: [ \"127.0.0.1:0\", {socket} ]\nworkers: 2\n{rest}\
         routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n"
    )
}

fn listener(path: &Path, rest: &str) -> String {
    format!("{{ address: \"unix:{}\"{rest} }}", path.display())
}

/// The field of the latest request that came.
fn forwarded_for(seen: &Log) -> Option<String> {
    let seen = seen.lock().expect("no panic");
    seen.last().expect("a request").head.field("x-forwarded-for").map(str::to_owned)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn unix_listener_serves_with_its_mode_and_is_removed_at_the_end() {
    let (folder, (upstream, seen)) = (tempfile::tempdir().expect("a folder"), noting());
    let path = socket_in(&folder);
    let mut weir = Weir::run(&config(upstream, &listener(&path, ", mode: \"660\""), ""));
    assert_eq!(mode(&path), 0o660);
    // All workers accept on it.
    for _ in 0..20 {
        assert_eq!(ask(&path, "").expect("a response").0, 200);
    }
    assert_eq!(forwarded_for(&seen).as_deref(), Some("::"));
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    assert!(!path.exists());
}

#[test]
fn unix_listener_believes_a_header_only_with_unix_among_the_trusted_proxies() {
    let (folder, (upstream, seen)) = (tempfile::tempdir().expect("a folder"), noting());
    let path = socket_in(&folder);
    for (trusted, expected) in [("[]", "::"), ("[ \"unix:\" ]", "192.0.2.7, ::")] {
        let trust = format!("client_ip: {{ trusted_proxies: {trusted} }}\n");
        let _weir = Weir::run(&config(upstream, &listener(&path, ""), &trust));
        assert_eq!(ask(&path, "x-forwarded-for: 192.0.2.7\r\n").expect("a response").0, 200);
        assert_eq!(forwarded_for(&seen).as_deref(), Some(expected));
        // The process is killed: the next one finds its socket file.
    }
}

#[test]
fn second_weir_on_a_unix_socket_is_refused_and_the_first_one_stays() {
    let (folder, (upstream, _)) = (tempfile::tempdir().expect("a folder"), noting());
    let path = socket_in(&folder);
    let text = config(upstream, &listener(&path, ""), "");
    let _first = Weir::run(&text);
    let second = tempfile::tempdir().expect("a folder");
    let refused = output(&["run", "-c", &written(&second, &text)]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("another program listens there"), "{said}");
    assert_eq!(ask(&path, "").expect("a response").0, 200);
}

#[test]
fn reload_opens_keeps_and_removes_unix_sockets() {
    let (folder, (upstream, _)) = (tempfile::tempdir().expect("a folder"), noting());
    let (one, other) = (folder.path().join("one.sock"), folder.path().join("other.sock"));
    let weir = Weir::run(&config(upstream, &listener(&one, ""), ""));
    let inode = fs::metadata(&one).expect("a file").ino();
    let reload = |sockets: &str| {
        weir.rewrite(&config(upstream, sockets, ""));
        weir.signal(Signal::HUP);
        weir.says("configuration reloaded");
    };
    reload(&format!("{}, {}", listener(&one, ", mode: \"666\""), listener(&other, "")));
    assert_eq!((fs::metadata(&one).expect("a file").ino(), mode(&one)), (inode, 0o666));
    assert_eq!(ask(&one, "").expect("a response").0, 200);
    assert_eq!(ask(&other, "").expect("a response").0, 200);
    reload(&listener(&other, ""));
    assert!(!one.exists() && ask(&other, "").is_ok());
    // A configuration that cannot be taken over leaves nothing behind.
    let nowhere = listener(Path::new("/nonexistent/weir.sock"), "");
    weir.rewrite(&config(upstream, &format!("{}, {nowhere}", listener(&one, "")), ""));
    weir.signal(Signal::HUP);
    weir.says("keeping the current configuration");
    assert!(!one.exists() && ask(&other, "").is_ok());
}

#[test]
fn handover_keeps_the_unix_socket_and_its_file() {
    let (folder, (upstream, _)) = (tempfile::tempdir().expect("a folder"), noting());
    let path = socket_in(&folder);
    let weir = Weir::run(&config(upstream, &listener(&path, ""), ""));
    let inode = fs::metadata(&path).expect("a file").ino();
    weir.signal(Signal::USR2);
    weir.is_handed_over();
    assert_eq!(fs::metadata(&path).expect("a file").ino(), inode);
    assert_eq!(ask(&path, "").expect("a response").0, 200);
    // The file belongs to the process that took over, which removes it.
    weir.signal(Signal::TERM);
    let deadline = std::time::Instant::now() + crate::http1::PATIENCE;
    while path.exists() {
        assert!(std::time::Instant::now() < deadline, "the file stays");
        thread::yield_now();
    }
}

/// A server on a Unix socket that gives its request back, and how many connections it got.
fn mirror(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                while let Ok(Some(head)) = Head::read(&mut reader) {
                    let body = format!("{} host={}", head.first, head.field("host").unwrap_or(""));
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    if (&stream).write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn unix_endpoint_gets_requests_and_probes_with_a_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    mirror(&path);
    let weir = Weir::run(&format!(
        "upstreams:\n  app:\n    endpoints: [ \"unix:{path}\" ]\n    \
         health: {{ active: {{ path: /up, interval: 100ms }} }}\n\
         routes:\n- {{ path: /a, upstream: app }}\n- {{ path: /, upstream: \"unix:{path}\" }}\n\
         - {{ path: /none, upstream: \"unix:{path}.none\" }}\n",
        path = path.display()
    ));
    for target in ["/a/b", "/c"] {
        let answer = get(weir.address, target);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200);
        assert!(body.starts_with(&format!("GET {target} HTTP/1.1 host=")), "{body}");
    }
    fs::remove_file(&path).expect("a socket");
    weir.says("probes fail");
    let answer = get(weir.address, "/none");
    assert_eq!(answer.status, 502);
    let cause = answer.head.field("proxy-status").unwrap_or_default().to_owned();
    assert!(
        cause.contains("connection_refused") && cause.contains("no socket at the path"),
        "{cause}"
    );
}

/// Starts weir as systemd does: with these sockets from descriptor 3 on.
fn activated(sockets: &[OwnedFd], names: &str, text: &str) -> Weir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, text);
    // The shell has the number of the process that weir becomes.
    let numbers: Vec<String> = sockets.iter().map(|one| one.as_raw_fd().to_string()).collect();
    let moves = "import os, sys\n\
                 count = int(sys.argv[1])\n\
                 held = [os.dup(int(number)) for number in sys.argv[2:2 + count]]\n\
                 held = [os.dup2(one, 100 + at) for at, one in enumerate(held)]\n\
                 [os.dup2(one, 3 + at) for at, one in enumerate(held)]\n\
                 os.environ['LISTEN_PID'] = str(os.getpid())\n\
                 os.environ['LISTEN_FDS'] = str(count)\n\
                 os.execv(sys.argv[2 + count], sys.argv[2 + count:])\n";
    let program = weir(&[]).get_program().to_owned();
    let mut command = Command::new("python3");
    command
        .args(["-c", moves, &sockets.len().to_string()])
        .args(numbers)
        .arg(program)
        .args(["run", "-c", &path])
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for socket in sockets {
        let flags = rustix::io::FdFlags::empty();
        rustix::io::fcntl_setfd(socket, flags).expect("a descriptor");
    }
    Weir::start(&mut command, folder)
}

#[test]
fn sockets_of_the_service_manager_are_served_by_name_and_handed_over() {
    let (folder, (upstream, _)) = (tempfile::tempdir().expect("a folder"), noting());
    let path = socket_in(&folder);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    let socket = UnixListener::bind(&path).expect("a socket");
    let text = |listeners: &str| {
        format!(
            "listeners: [ {listeners} ]\nworkers: 2\n\
             routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n"
        )
    };
    let weir = activated(&[port.into(), socket.into()], "web:side", &text("\"fd:web\""));
    assert_eq!(weir.address, address);
    assert_eq!(get(address, "/").status, 200);
    // The other one is there for a reload.
    weir.rewrite(&text("\"fd:web\", \"fd:side\""));
    weir.signal(Signal::HUP);
    weir.says("configuration reloaded");
    assert_eq!(ask(&path, "").expect("a response").0, 200);
    weir.signal(Signal::USR2);
    weir.is_handed_over();
    assert_eq!(get(address, "/").status, 200);
    assert_eq!(ask(&path, "").expect("a response").0, 200);
    // The file is the service manager's.
    weir.signal(Signal::TERM);
    drop(weir);
    assert!(path.exists());
}

#[test]
fn socket_that_the_service_manager_did_not_pass_prevents_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let text =
        "listeners: [ \"fd:web\" ]\nroutes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";
    let refused = output(&["run", "-c", &written(&folder, text)]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("passed no socket of this name"), "{said}");
}
