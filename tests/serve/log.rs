//! The access log: one line for each request, and never a reason to wait.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    http1::{Client, PATIENCE, get},
    process::{Weir, unread, weir, written as written_in},
    upstream::noting,
};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// Runs, asks, stops, and returns what the log file says.
fn logged(settings: &str, ask: impl FnOnce(&Weir)) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (upstream, _) = noting();
    let mut weir = Weir::run(&format!(
        "zones: {{ per_ip: {{ key: client_ip, rate: 1r/d }} }}\n\
         routes:\n- {{ path: /app, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /once, upstream: \"http://{upstream}\", limits: [ {{ zone: per_ip }} ] }}\n\
         access_log: {{ to: {}{settings} }}\n",
        path.display()
    ));
    ask(&weir);
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    lines(&fs::read_to_string(path).expect("a log"))
}

#[test]
fn access_log_file_has_one_line_per_request() {
    let lines = logged("", |weir| {
        let mut client = Client::connect(weir.address);
        for number in 0..500 {
            assert_eq!(client.get(&format!("/app/{number}")).expect("an answer").status, 200);
        }
    });
    let paths: Vec<&str> =
        lines.iter().map(|line| line["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, (0..500).map(|number| format!("/app/{number}")).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["status"] == 200
        && line["bytes_out"] == 2
        && line["client"] == "127.0.0.1"));
}

#[test]
fn standard_output_has_the_same_lines() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]");
    let mut weir = Weir::run_with(&routes, Stdio::piped());
    for number in 0..20 {
        assert_eq!(get(weir.address, &format!("/{number}")).status, 200);
    }
    let stdout = BufReader::new(weir.stdout.take().expect("a pipe"));
    let mut paths: Vec<String> = Vec::new();
    for line in stdout.lines().take(20) {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        paths.push(line["path"].as_str().expect("a path").to_owned());
    }
    paths.sort_by_key(|path| path[1..].parse::<u32>().expect("a number"));
    assert_eq!(paths, (0..20).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[test]
fn rejects_of_one_key_have_five_lines_and_then_a_sum() {
    let lines = logged(", sample_rejects: { first: 5, then_every: 1s }", |weir| {
        let mut client = Client::connect(weir.address);
        let statuses: Vec<u16> =
            (0..41).map(|_| client.get("/once").expect("an answer").status).collect();
        assert_eq!(statuses, [vec![200], vec![503; 40]].concat());
    });
    let rejected = lines.iter().filter(|line| line["status"] == 503).count();
    let sums: Vec<&Value> = lines.iter().filter(|line| line["event"] == "rejects").collect();
    let summed: u64 = sums.iter().map(|line| line["rejects"].as_u64().expect("a number")).sum();
    assert_eq!((rejected, summed), (5, 35));
    assert!(sums.iter().all(|line| line["zone"] == "per_ip" && line["client"] == "127.0.0.1"));
    let decisions: Vec<_> =
        lines.iter().filter_map(|line| line["limit"]["decision"].as_str()).collect();
    assert_eq!(decisions, ["pass", "reject", "reject", "reject", "reject", "reject"]);
}

#[test]
fn access_line_of_unrouted_request_has_reason() {
    let lines = logged("", |weir| assert_eq!(get(weir.address, "/nowhere").status, 404));
    assert_eq!((&lines[0]["status"], &lines[0]["path"]), (&404.into(), &"/nowhere".into()));
    assert_eq!(lines[0]["error"]["kind"], "destination_not_found");
    assert_eq!(lines[0]["error"]["detail"], "no route matches this host and path");
}

#[test]
fn access_log_unread_pipe_blocks_no_request() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]");
    let weir = Weir::run_with(&routes, Stdio::piped());
    let mut client = Client::connect(weir.address);
    // Each line is longer than 1 KiB: far more than the 64 KiB a pipe takes.
    let path = format!("/{}", "x".repeat(900));
    let statuses: Vec<u16> =
        (0..5000).map(|_| client.get(&path).expect("an answer").status).collect();
    assert_eq!(statuses, [200; 5000]);
}

/// A pipe takes a batch of long lines in pieces, and diagnostics are written meanwhile.
#[test]
fn standard_error_shared_with_the_diagnostics_has_whole_lines() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "listeners: [ \"127.0.0.1:0\" ]\nworkers: 2\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: stderr }}\n"
    );
    let path = written_in(&folder, &text);
    let (mut child, stderr, address) = unread(weir(&["run", "-c", &path]));
    let read = thread::spawn(move || {
        let mut lines = Vec::new();
        for line in stderr.split(b'\n') {
            // Slower than it is written: the pipe is full most of the time.
            thread::sleep(Duration::from_micros(200));
            lines.push(line.expect("a pipe"));
        }
        lines
    });
    let pid = Pid::from_child(&child);
    let ask = || {
        let mut client = Client::connect(address);
        let path = format!("/{}", "x".repeat(900));
        (0..1500).for_each(|_| assert_eq!(client.get(&path).expect("a response").status, 200));
    };
    thread::scope(|scope| {
        let clients = [scope.spawn(ask), scope.spawn(ask)];
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            kill_process(pid, Signal::HUP).expect("a process");
            thread::sleep(Duration::from_millis(5));
        }
    });
    kill_process(pid, Signal::TERM).expect("a process");
    assert!(child.wait().expect("a child").success());
    let lines = read.join().expect("a reader");
    let torn: Vec<_> =
        lines.iter().filter(|line| serde_json::from_slice::<Value>(line).is_err()).collect();
    assert!(
        torn.is_empty(),
        "{} of {} lines: {}",
        torn.len(),
        lines.len(),
        String::from_utf8_lossy(torn[0])
    );
    assert!(
        lines.iter().any(|line| String::from_utf8_lossy(line).contains("configuration reloaded"))
            && lines.len() > 3000
    );
}

/// Runs with these settings and a limit of one request a day on `/`, and returns what was written
/// to `access.log` and `error.log`.
fn written(settings: &str, ask: impl FnOnce(&Weir)) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (upstream, _) = noting();
    let text = format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: z, nodelay: true }} ] }} ]\n"
    );
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (access, errors) = (place("access.log"), place("error.log"));
    let mut weir = Weir::run(
        &format!("{text}{settings}").replace("ACCESS", &access).replace("ERRORS", &errors),
    );
    ask(&weir);
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    (read(access), read(errors))
}

const BY_ADDRESS: &str = "zones: { z: { key: client_ip, rate: 1r/d } }\n";

fn ask_with(weir: &Weir, fields: &str) -> u16 {
    let mut client = Client::connect(weir.address);
    client
        .send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes())
        .expect("an open connection");
    client.answer("GET").expect("an answer").status
}

/// A request for a client that a trusted proxy names.
fn get_for(weir: &Weir, client: &str) {
    let fields = format!("x-forwarded-for: {client}\r\n");
    ask_with(weir, &fields);
}

#[test]
fn sums_name_a_client_only_when_all_of_them_are_that_ones() {
    let settings = "zones: { z: { key: global, rate: 1r/d } }\nclient_ip: { trusted_proxies: [ 127.0.0.1 ] }\nworkers: 1\n\
                    access_log: { to: ACCESS, sample_rejects: { first: 1, then_every: 1h } }\n";
    let sums = |clients: &[&str]| {
        let (access, _) =
            written(settings, |weir| clients.iter().for_each(|client| get_for(weir, client)));
        let sum =
            lines(&access).into_iter().find(|line| line["event"] == "rejects").expect("a sum");
        (sum["rejects"].as_u64(), sum["client"].as_str().map(str::to_owned))
    };
    let (one, other) = ("198.51.100.1", "203.0.113.9");
    assert_eq!(sums(&[one, one, other, other, other]), (Some(3), Some(other.to_owned())));
    assert_eq!(sums(&[one, one, other, one, other]), (Some(3), None));
}

#[test]
fn first_counts_over_all_workers() {
    let settings = format!(
        "{BY_ADDRESS}workers: 4\naccess_log: {{ to: ACCESS, sample_rejects: {{ first: 5, then_every: 1h }} }}\n"
    );
    let (access, _) = written(&settings, |weir| (0..60).for_each(|_| drop(get(weir.address, "/"))));
    let lines = lines(&access);
    let told = lines.iter().filter(|line| line["status"] == 503).count();
    let summed: u64 = lines.iter().filter_map(|line| line["rejects"].as_u64()).sum();
    assert_eq!((told, summed), (5, 54));
}

#[test]
fn first_0_is_summed_up_while_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, (upstream, _)) = (folder.path().join("access.log"), noting());
    let weir = Weir::run(&format!(
        "{BY_ADDRESS}routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: z, nodelay: true }} ] }} ]\n\
         access_log: {{ to: {}, sample_rejects: {{ first: 0, then_every: 1s }} }}\n",
        path.display()
    ));
    let statuses = [(); 5].map(|()| get(weir.address, "/").status);
    assert_eq!(statuses, [200, 503, 503, 503, 503]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(&path).expect("a log");
        if lines(&text).iter().filter_map(|line| line["rejects"].as_u64()).sum::<u64>() == 4 {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn combined_has_a_line_for_every_reject_and_for_444() {
    let settings = format!(
        "{BY_ADDRESS}reject: {{ status: 444 }}\naccess_log: {{ to: ACCESS, format: combined }}\n"
    );
    let (access, _) = written(&settings, |weir| {
        assert_eq!(get(weir.address, "/").status, 200);
        for _ in 0..19 {
            let closed = Client::connect(weir.address).get("/");
            assert!(closed.is_err(), "a reject of 444 is answered");
        }
    });
    assert_eq!(
        (access.matches("\" 200 ").count(), access.matches("\" 444 0 ").count()),
        (1, 19),
        "{access}"
    );
}

#[test]
fn combined_with_sampling_tells_the_sums_on_standard_error() {
    let settings = format!(
        "{BY_ADDRESS}workers: 1\naccess_log: {{ to: ACCESS, format: combined, sample_rejects: {{ first: 2, then_every: 1s }} }}\n"
    );
    let (access, _) = written(&settings, |weir| {
        (0..11).for_each(|_| drop(get(weir.address, "/")));
        let line = weir.says("summary of rejects without access lines");
        assert!(line.contains("\"rejects\":8") || line.contains("rejects=8"), "{line}");
        assert!(line.contains("127.0.0.1"), "{line}");
    });
    assert_eq!(access.lines().count(), 3, "{access}");
}

#[test]
fn combined_has_the_user() {
    let settings = format!("{BY_ADDRESS}access_log: {{ to: ACCESS, format: combined }}\n");
    let (access, _) = written(&settings, |weir| {
        assert_eq!(ask_with(weir, "authorization: Basic dXNlci0xOnB3\r\n"), 200);
    });
    assert!(access.starts_with("127.0.0.1 - user-1 [") && !access.contains("pw"), "{access}");
}

/// Each reject is a line that fail2ban's own filter for nginx reads, however the access log is
/// sampled.
#[test]
fn error_log_is_read_by_fail2ban() {
    let settings = format!(
        "{BY_ADDRESS}workers: 2\naccess_log: {{ to: none, sample_rejects: {{ first: 0 }} }}\nerror_log: {{ to: ERRORS }}\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let (access, errors) =
        written(&settings, |weir| (0..20).for_each(|_| drop(get(weir.address, "/a?b=c"))));
    assert_eq!((access.as_str(), errors.lines().count()), ("", 19), "{errors}");
    let log = folder.path().join("error.log");
    fs::write(&log, errors).expect("a file");
    let filter = "/etc/fail2ban/filter.d/nginx-limit-req.conf";
    let whole = r#"^\s*\[[a-z]+\] \d+#\d+: \*\d+ limiting requests, excess: [\d\.]+ by zone "(?:z)", client: <HOST>, server: \S*, request: "\S+ \S+ HTTP/\d+\.\d+", host: "\S+"(, referrer: "\S+")?\s*$"#;
    for pattern in [filter, whole] {
        let output = Command::new("fail2ban-regex").arg(&log).arg(pattern).output();
        let output = output.expect("fail2ban-regex of Debian's package fail2ban runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            told.contains("Lines: 19 lines, 0 ignored, 19 matched, 0 missed"),
            "{pattern}: {told}"
        );
        assert!(told.contains("Failregex: 19 total"), "{pattern}: {told}");
    }
}

#[test]
fn error_log_leaves_out_what_is_not_a_clients_rate() {
    let settings = "zones: { z: { key: \"header:x-api-key\", rate: 1r/d, missing: reject } }\nerror_log: { to: ERRORS }\n";
    let (_, errors) = written(settings, |weir| assert_eq!(get(weir.address, "/").status, 503));
    assert_eq!(errors, "");
}

/// A route without access lines still has those of the error log, which programs that ban addresses
/// read.
#[test]
fn log_off_leaves_the_error_log_as_it_is() {
    let settings = format!(
        "{BY_ADDRESS}defaults: {{ log: off }}\naccess_log: {{ to: ACCESS }}\nerror_log: {{ to: ERRORS }}\n"
    );
    let (access, errors) =
        written(&settings, |weir| (0..4).for_each(|_| drop(get(weir.address, "/"))));
    assert_eq!((access.as_str(), errors.lines().count()), ("", 3), "{errors}");
}
