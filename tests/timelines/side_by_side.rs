//! The same timelines, at the same time, at a real nginx and at weir: the same verdict for every
//! single request.

use std::{thread, time::Instant};

use weir::tools::burst::{Class, Limit, Shot, View, judge, judge::EARLY_US};

use crate::{
    nginx::Nginx,
    tables::{Stage, limited, stage},
    upstream::noting,
    volley::{FREE, Volley},
};

/// Pass, wait or reject for each request, from a trace that keeps the limit: none too many, none
/// rejected while a place was free, and each of those that are served, in the order they came, not
/// before its own slot.
fn verdicts(shots: &[Shot], limit: &Limit) -> Vec<Class> {
    let view = View { reject_status: 503, limit: Some(*limit), tolerance_us: 1_000_000 };
    let judgement = judge(shots, &view);
    assert_eq!(judgement.breaches, [], "{shots:?}");
    let mut slots: Vec<u64> = judgement.slots_us.into_iter().flatten().collect();
    slots.sort_unstable();
    let mut slots = slots.into_iter();
    let verdict = |shot: &Shot| match shot.status() {
        Some(503) => Class::Reject,
        _ => {
            let slot_us = slots.next().expect("a slot for each");
            assert!(shot.end_us + EARLY_US >= slot_us, "{shot:?} came before {slot_us}: {shots:?}");
            if slot_us > shot.sent_us { Class::Wait } else { Class::Pass }
        }
    };
    shots.iter().map(verdict).collect()
}

/// nginx before an upstream of the same kind as weir's.
fn nginx(zones: &[(&str, &str, &str)], limits: &[&str]) -> Nginx {
    let (upstream, _log) = noting();
    let zone = |(name, key, rate): &(&str, &str, &str)| {
        format!("limit_req_zone {key} zone={name}:1m rate={rate};\n")
    };
    let limits: String = limits.iter().map(|limit| format!("limit_req {limit};\n")).collect();
    let server = format!(
        "server_name site; location = {FREE} {{ proxy_pass http://{upstream}; }} location / {{ {limits} proxy_pass http://{upstream}; }}"
    );
    Nginx::start(&zones.iter().map(zone).collect::<String>(), &server)
}

/// `by` is rate, burst and delay.
fn agree(nginx: &Nginx, stage: &Stage, schedule: &str, by: (&str, u32, u32)) {
    let volleys =
        [nginx.address, stage.weir.address].map(|server| Volley::prepare(server, schedule));
    let (begun, mut processes) = (Instant::now(), [nginx.worker(), stage.weir.pid()].into_iter());
    let firing = volleys.map(|volley| {
        let process = processes.next().expect("one for each");
        thread::spawn(move || volley.fire(begun, process))
    });
    let [theirs, ours] = firing.map(|volley| volley.join().expect("no panic"));
    let limit = Limit::new(by.0.parse().expect("a rate"), by.1, by.2).expect("a limit");
    assert_eq!(
        verdicts(&ours, &limit),
        verdicts(&theirs, &limit),
        "weir: {ours:?}\nnginx: {theirs:?}"
    );
}

fn agree_on(by: (&str, u32, u32), nginx_rule: &str, rule: &str, schedule: &str) {
    let nginx = nginx(&[("ip", "$binary_remote_addr", by.0)], &[&format!("zone=ip {nginx_rule}")]);
    agree(&nginx, &limited(by.0, rule), schedule, by);
}

#[test]
fn a() {
    let schedule = "1, pause 100ms, 1, pause 500ms, 1, pause 800ms, 1, pause 100ms, 1";
    agree_on(("1r/s", 0, 0), "", "burst: 0", schedule);
}

#[test]
fn b() {
    agree_on(("10r/s", 20, 0), "burst=20", "burst: 20", "30 at once");
}

#[test]
fn b_nodelay() {
    agree_on(
        ("10r/s", 20, 20),
        "burst=20 nodelay",
        "burst: 20, nodelay: true",
        "30 at once, pause 3s, 25 at once",
    );
}

#[test]
fn b_delay_8() {
    agree_on(("10r/s", 20, 8), "burst=20 delay=8", "burst: 20, delay: 8", "30 at once");
}

#[test]
fn c() {
    agree_on(("5r/s", 12, 8), "burst=12 delay=8", "burst: 12, delay: 8", "15 at once");
}

#[test]
fn d() {
    agree_on(("30r/m", 2, 1), "burst=2 delay=1", "burst: 2, delay: 1", "4 at once");
}

#[test]
fn e() {
    let zones = [("ip", "$binary_remote_addr", "1r/s"), ("site", "$server_name", "10r/s")];
    let nginx = nginx(&zones, &["zone=ip burst=5 nodelay", "zone=site burst=10"]);
    let zones = [("ip", "client_ip", "1r/s"), ("site", "global", "10r/s")];
    let stage = stage(&zones, "{ zone: ip, burst: 5, nodelay: true }, { zone: site, burst: 10 }");
    // For one burst the two together are the site's rate with the client's places.
    agree(&nginx, &stage, "9 at once", ("10r/s", 5, 0));
}
