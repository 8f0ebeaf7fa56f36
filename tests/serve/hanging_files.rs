//! Files that are not given: what waits for them waits alone. A pipe without a writer stands for a
//! disk that hangs.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat},
    process::{Pid, Signal, kill_process},
};

use crate::{
    certificates::Authority,
    http1::{PATIENCE, get},
    process::{Weir, output, unread, weir, written},
    upstream::noting,
};

/// Puts a pipe in the place of a file.
fn pipe_at(path: &Path) -> PathBuf {
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a pipe");
    path.to_owned()
}

/// Waits until somebody reads a pipe, who waits on as long as what is returned is kept.
fn read_by_somebody(pipe: &Path) -> File {
    let deadline = Instant::now() + PATIENCE;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag");
    loop {
        match OpenOptions::new().write(true).custom_flags(flags).open(pipe) {
            Ok(file) => return file,
            Err(error) => {
                assert!(Instant::now() < deadline, "nobody reads `{}`: {error}", pipe.display());
            }
        }
        std::thread::yield_now();
    }
}

/// It serves, is healthy, and stops when it is told to, while `pipe` is read.
fn serves_and_stops(mut weir: Weir, pipe: &Path, plain: bool) {
    let held = read_by_somebody(pipe);
    assert_eq!(output(&["healthcheck", "-c", &weir.config()]).status.code(), Some(0));
    assert!(!plain || get(weir.address, "/").status == 200);
    weir.signal(Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
    drop(held);
}

#[test]
fn stop_and_health_do_not_wait_for_a_configuration() {
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n"
    ));
    let pipe = pipe_at(Path::new(&weir.config()));
    weir.signal(Signal::HUP);
    serves_and_stops(weir, &pipe, true);
}

#[test]
fn stop_and_health_do_not_wait_for_a_secret() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cr3t").expect("a file");
    let set = format!(
        "request: {{ headers: {{ set: {{ x-key: \"${{file:{}}}\" }} }} }}",
        secret.display()
    );
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\", {set} }} ]\ndrain: 1h\n"
    ));
    let pipe = pipe_at(&secret);
    weir.signal(Signal::HUP);
    serves_and_stops(weir, &pipe, true);
}

#[test]
fn stop_and_health_do_not_wait_for_a_certificate() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let (cert, key) = (authority.path("a.pem"), authority.path("a.key"));
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }} }} ]\n\
         routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\" }} ]\ndrain: 1h\n",
        cert.display(),
        key.display()
    ));
    serves_and_stops(weir, &pipe_at(&key), false);
}

#[test]
fn stop_and_health_do_not_wait_for_authorities() {
    let (upstream, _) = noting();
    let authority = Authority::new();
    let weir = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ \"https://127.0.0.1:9\" ], tls: {{ ca: {} }} }} }}\n\
         routes: [ {{ path: /app, upstream: app }}, {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n",
        authority.path("ca.pem").display()
    ));
    serves_and_stops(weir, &pipe_at(&authority.path("ca.pem")), true);
}

/// A resolver that never says anything, as one does whose name server drops what it is asked: the C
/// library's function, replaced (ld.so(8), LD_PRELOAD) by one that waits for somebody to write to
/// `pipe`.
fn silent_resolver(folder: &Path, pipe: &Path) -> PathBuf {
    let (source, library) = (folder.join("resolver.c"), folder.join("resolver.so"));
    let text = format!(
        "#include <fcntl.h>\n#include <netdb.h>\n\
         int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)\n\
         {{\n    open(\"{}\", O_RDONLY);\n    return EAI_AGAIN;\n}}\n",
        pipe.display()
    );
    fs::write(&source, text).expect("a file");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.expect("the package `gcc` is missing: apt-get install gcc").success());
    library
}

#[test]
fn dns_resolver_that_hangs_delays_no_stop_and_no_health() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = pipe_at(&folder.path().join("resolver"));
    let resolver = silent_resolver(folder.path(), &pipe);
    let config = written(
        &folder,
        &format!(
            "listeners: [ \"127.0.0.1:0\" ]\n\
             routes: [ {{ path: /named, upstream: \"http://app.test\" }}, {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n"
        ),
    );
    let weir = Weir::start(weir(&["run", "-c", &config]).env("LD_PRELOAD", resolver), folder);
    serves_and_stops(weir, &pipe, true);
}

/// The new process is ended with the old one: it has its sockets, on which nobody would accept.
#[test]
fn stop_ends_a_successor_that_hangs() {
    let (upstream, _) = noting();
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n"
    ));
    let (address, pipe) = (weir.address, pipe_at(Path::new(&weir.config())));
    weir.signal(Signal::USR2);
    // Standard error ends with the last of both.
    serves_and_stops(weir, &pipe, true);
    crate::shutdown::refuses_soon(address);
}

#[test]
fn log_in_a_pipe_without_a_reader_is_no_reason_to_wait() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = pipe_at(&folder.path().join("access.log"));
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let mut weir = Weir::run(&format!("{routes}access_log: {{ to: {} }}\n", pipe.display()));
    assert_eq!(get(weir.address, "/early").status, 200);
    // What was written waits for a reader; one that leaves is no reason to wait either.
    let mut line = String::new();
    BufReader::new(File::open(&pipe).expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.contains("/early"), "{line}");
    weir.signal(Signal::USR1);
    weir.says("log files reopened");
    assert_eq!(get(weir.address, "/late").status, 200);
    weir.signal(Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
}

#[test]
fn log_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "listeners: [ \"127.0.0.1:0\" ]\nroutes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";
    let path =
        written(&folder, &format!("{config}access_log: {{ to: /no/such/folder/access.log }}\n"));
    let run = output(&["run", "-c", &path]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot open the log `/no/such/folder/access.log`: No such file"),
        "{said}"
    );
}

/// Its parent's pipe is another user's: it can be written, not opened. Only root can give a test
/// such a process.
#[test]
fn log_at_dev_stdout_of_another_user_is_answered_with_a_hint() {
    let config = "listeners: [ \"127.0.0.1:0\" ]\nroutes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";
    let Some((mut command, folder)) = crate::process::as_nobody() else { return };
    let path = written(&folder, &format!("{config}access_log: {{ to: /dev/stdout }}\n"));
    let run = command.args(["run", "-c", &path]).output().expect("a process");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the log `/dev/stdout`: Permission denied")
            && said.contains("hint: write `stdout`"),
        "{said}"
    );
}

/// A pipe of diagnostics that nobody reads is full after two reloads of a file with many faults.
#[test]
fn nothing_waits_for_diagnostics_that_nobody_reads() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let right = format!(
        "listeners: [ \"127.0.0.1:0\" ]\nworkers: 1\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 2s\n"
    );
    let config = written(&folder, &right);
    let (mut child, unread, address) = unread(weir(&["run", "-c", &config]));
    let wrong: String = (0..200).map(|number| format!("unknown_{number}: 1\n")).collect();
    written(&folder, &format!("{right}{wrong}"));
    for _ in 0..12 {
        assert_eq!(output(&["reload", "-c", &config]).status.code(), Some(3));
        assert_eq!(output(&["healthcheck", "-c", &config]).status.code(), Some(0));
        assert_eq!(get(address, "/").status, 200);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a process");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a process") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it does not stop");
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
    drop(unread);
}

#[test]
fn diagnostics_that_find_no_room_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let networks: Vec<String> = (0..100).map(|number| format!("10.{number}.0.1/16")).collect();
    let text = format!(
        "listeners: [ \"127.0.0.1:0\" ]\nworkers: 1\nzones: {{ z: {{ key: client_ip, rate: 1r/s, exempt: [ {} ] }} }}\n\
         routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\", limits: [ {{ zone: z }} ] }} ]\n",
        networks.join(", ")
    );
    let config = written(&folder, &text);
    let (mut child, unread, _) = unread(weir(&["run", "-c", &config]));
    // Each has a line for each of 100 networks: more than the pipe and the queue take together.
    for _ in 0..30 {
        assert_eq!(output(&["reload", "-c", &config]).status.code(), Some(0));
    }
    let read = std::thread::spawn(move || unread.lines().map_while(Result::ok).collect::<Vec<_>>());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a process");
    assert_eq!(child.wait().expect("a process").code(), Some(0));
    let lines = read.join().expect("a reader");
    let lines =
        lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let counted = lines.filter_map(|line| {
        let fields = &line["fields"];
        fields["message"].as_str().filter(|text| text.contains("dropped"))?;
        fields["lines"].as_u64()
    });
    assert!(counted.sum::<u64>() > 1_000);
}
