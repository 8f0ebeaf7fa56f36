//! The same timelines, at the same time, at a real nginx and at weir: the same verdict for every single request.

use std::{thread, time::Instant};

use ::weir::burst::Shot;

use crate::{
    nginx::Nginx,
    tables::{Stage, limited, stage},
    upstream::noting,
    volley::{FREE, Volley},
};

/// Which of its slots, a tenth of a second each, a request was answered in; none when it was rejected.
type Verdict = Option<u64>;

/// nginx and weir are never early by more than a millisecond: half a slot of lateness is forgiven.
fn verdicts(shots: &[Shot]) -> Vec<Verdict> {
    const SLOT_US: u64 = 100_000;
    const EARLY_US: u64 = 5_000;
    let verdict = |shot: &Shot| match shot.status() {
        Some(200) => Some((shot.took_us() + EARLY_US) / SLOT_US),
        Some(503) => None,
        other => panic!("{other:?} is neither passed nor rejected: {shot:?}"),
    };
    shots.iter().map(verdict).collect()
}

/// nginx before an upstream of the same kind as weir's.
fn nginx(zones: &[(&str, &str, &str)], limits: &[&str]) -> Nginx {
    let (upstream, _log) = noting();
    let zone = |(name, key, rate): &(&str, &str, &str)| format!("limit_req_zone {key} zone={name}:1m rate={rate};\n");
    let limits: String = limits.iter().map(|limit| format!("limit_req {limit};\n")).collect();
    let server = format!(
        "server_name site; location = {FREE} {{ proxy_pass http://{upstream}; }} location / {{ {limits} proxy_pass http://{upstream}; }}"
    );
    Nginx::start(&zones.iter().map(zone).collect::<String>(), &server)
}

fn agree(nginx: &Nginx, stage: &Stage, schedule: &str) {
    let volleys = [nginx.address, stage.weir.address].map(|server| Volley::prepare(server, schedule));
    let (begun, mut processes) = (Instant::now(), [nginx.worker(), stage.weir.pid()].into_iter());
    let firing = volleys.map(|volley| {
        let process = processes.next().expect("one for each");
        thread::spawn(move || volley.fire(begun, process))
    });
    let [theirs, ours] = firing.map(|volley| volley.join().expect("no panic"));
    assert_eq!(verdicts(&ours), verdicts(&theirs), "weir: {ours:?}\nnginx: {theirs:?}");
}

fn agree_on(rate: &str, nginx_rule: &str, rule: &str, schedule: &str) {
    let nginx = nginx(&[("ip", "$binary_remote_addr", rate)], &[&format!("zone=ip {nginx_rule}")]);
    agree(&nginx, &limited(rate, rule), schedule);
}

#[test]
fn a() {
    let schedule = "1, pause 100ms, 1, pause 500ms, 1, pause 800ms, 1, pause 100ms, 1";
    agree_on("1r/s", "", "burst: 0", schedule);
}

#[test]
fn b() {
    agree_on("10r/s", "burst=20", "burst: 20", "30 at once");
}

#[test]
fn b_nodelay() {
    agree_on("10r/s", "burst=20 nodelay", "burst: 20, nodelay: true", "30 at once, pause 2200ms, 25 at once");
}

#[test]
fn b_delay_8() {
    agree_on("10r/s", "burst=20 delay=8", "burst: 20, delay: 8", "30 at once");
}

#[test]
fn c() {
    agree_on("5r/s", "burst=12 delay=8", "burst: 12, delay: 8", "15 at once");
}

#[test]
fn d() {
    agree_on("30r/m", "burst=2 delay=1", "burst: 2, delay: 1", "4 at once");
}

#[test]
fn e() {
    let zones = [("ip", "$binary_remote_addr", "1r/s"), ("site", "$server_name", "10r/s")];
    let nginx = nginx(&zones, &["zone=ip burst=5 nodelay", "zone=site burst=10"]);
    let zones = [("ip", "client_ip", "1r/s"), ("site", "global", "10r/s")];
    let stage = stage(&zones, "{ zone: ip, burst: 5, nodelay: true }, { zone: site, burst: 10 }");
    agree(&nginx, &stage, "9 at once");
}
