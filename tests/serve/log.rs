//! The access log: one line for each request, and never a reason to wait.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    http::{Client, get},
    upstream::noting,
    weir::Weir,
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
fn a_file_has_one_line_for_each_request() {
    let lines = logged("", |weir| {
        let mut client = Client::connect(weir.address);
        for number in 0..500 {
            assert_eq!(client.get(&format!("/app/{number}")).expect("an answer").status, 200);
        }
    });
    let paths: Vec<&str> = lines.iter().map(|line| line["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, (0..500).map(|number| format!("/app/{number}")).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["status"] == 200 && line["bytes_out"] == 2 && line["client"] == "127.0.0.1"));
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
        let statuses: Vec<u16> = (0..41).map(|_| client.get("/once").expect("an answer").status).collect();
        assert_eq!(statuses, [vec![200], vec![503; 40]].concat());
    });
    let rejected = lines.iter().filter(|line| line["status"] == 503).count();
    let sums: Vec<&Value> = lines.iter().filter(|line| line["event"] == "rejects").collect();
    let summed: u64 = sums.iter().map(|line| line["rejects"].as_u64().expect("a number")).sum();
    assert_eq!((rejected, summed), (5, 35));
    assert!(sums.iter().all(|line| line["zone"] == "per_ip" && line["client"] == "127.0.0.1"));
    assert_eq!(lines[1]["limit"]["decision"], "reject");
}

#[test]
fn a_request_nobody_serves_is_logged_with_its_reason() {
    let lines = logged("", |weir| assert_eq!(get(weir.address, "/nowhere").status, 404));
    assert_eq!((&lines[0]["status"], &lines[0]["path"]), (&404.into(), &"/nowhere".into()));
    assert_eq!(lines[0]["error"]["kind"], "destination_not_found");
    assert_eq!(lines[0]["error"]["detail"], "no route takes this host and path");
}

#[test]
fn a_pipe_nobody_reads_blocks_no_request() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]");
    let weir = Weir::run_with(&routes, Stdio::piped());
    let mut client = Client::connect(weir.address);
    // Each line is longer than 1 KiB: far more than the 64 KiB a pipe takes.
    let path = format!("/{}", "x".repeat(900));
    let statuses: Vec<u16> = (0..5000).map(|_| client.get(&path).expect("an answer").status).collect();
    assert_eq!(statuses, [200; 5000]);
}
