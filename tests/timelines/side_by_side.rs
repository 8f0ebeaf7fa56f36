//! The same timelines, at the same time, at a real nginx and at weir: the same verdict for every
//! single request.

use std::{thread, time::Instant};

use weir::tools::burst::{Class, Limit, Shot, View, judge, judge::EARLY_US};
use weir_test::worked_tables::{self, TableRule, WorkedTable};

use crate::{
    nginx::Nginx,
    simultaneous::{FREE, Volley},
    tables::staged,
    upstream::noting,
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

/// nginx with the rules of a table, before an upstream of the same kind as weir's.
fn nginx(table: &WorkedTable) -> Nginx {
    let (upstream, _log) = noting();
    let (mut zones, mut limits) = (String::new(), String::new());
    for (number, rule) in table.rules.iter().enumerate() {
        let key = if rule.global { "$server_name" } else { "$binary_remote_addr" };
        zones += &format!("limit_req_zone {key} zone=zone{number}:1m rate={};\n", rule.rate);
        limits += &format!("limit_req zone=zone{number} {};\n", rule.words());
    }
    let server = format!(
        "server_name site; location = {FREE} {{ proxy_pass http://{upstream}; }} location / {{ {limits} proxy_pass http://{upstream}; }}"
    );
    Nginx::start(&zones, &server)
}

/// Fires a schedule at both at the same time; `limit` judges each.
fn agree_on(table: &WorkedTable, schedule: &str, limit: &TableRule) {
    let (nginx, stage) = (nginx(table), staged(table));
    let volleys =
        [nginx.address, stage.weir.address].map(|server| Volley::prepare(server, schedule));
    let (begun, mut processes) = (Instant::now(), [nginx.worker(), stage.weir.pid()].into_iter());
    let firing = volleys.map(|volley| {
        let process = processes.next().expect("one for each");
        thread::spawn(move || volley.fire(begun, process))
    });
    let [theirs, ours] = firing.map(|volley| volley.join().expect("no panic"));
    let rate = limit.rate.parse().expect("a rate");
    let limit = Limit::new(rate, limit.burst, limit.delay).expect("a limit");
    assert_eq!(
        verdicts(&ours, &limit),
        verdicts(&theirs, &limit),
        "weir: {ours:?}\nnginx: {theirs:?}"
    );
}

fn agree(table: &WorkedTable) {
    agree_on(table, &table.schedule(), &table.rules[0]);
}

#[test]
fn table_a_matches_nginx() {
    agree(&worked_tables::A_ON_REAL_CLOCK);
}

#[test]
fn table_b_matches_nginx() {
    agree(&worked_tables::B);
}

#[test]
fn table_b_nodelay_matches_nginx() {
    let table = worked_tables::B_NODELAY;
    agree_on(&table, "30 at once, pause 3s, 25 at once", &table.rules[0]);
}

#[test]
fn table_b_delay_8_matches_nginx() {
    agree(&worked_tables::B_DELAY_8);
}

#[test]
fn table_c_matches_nginx() {
    agree(&worked_tables::C);
}

#[test]
fn table_d_matches_nginx() {
    agree(&worked_tables::D);
}

#[test]
fn table_e_matches_nginx() {
    // For one burst the two together are the site's rate with the client's places.
    let together = TableRule { rate: "10r/s", burst: 5, delay: 0, global: false };
    agree_on(&worked_tables::E, &worked_tables::E.schedule(), &together);
}
