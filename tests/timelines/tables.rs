//! Tables A to E on routes of one weir, all at once: by the client's clock and by the upstream's.

use std::time::{Duration, Instant};

use weir::tools::burst::Shot;
use weir_test::{
    limit::{Delay, Exempt, Pass, Reject},
    worked_tables::{self, TableRule, WorkedTable},
};

use crate::{
    http1::Client,
    machine::Machine,
    process::Weir,
    simultaneous::{FREE, Stopped, Volley},
    upstream::{Log, noting},
};

/// Fires at once what is described, and forgets what made the connections ready.
fn burst(stage: &Stage, schedule: &str) -> (Instant, Vec<Shot>) {
    let volley = Volley::prepare(stage.weir.address, schedule);
    stage.log.lock().expect("no panic").clear();
    let begun = Instant::now();
    (begun, volley.fire(begun, stage.weir.pid()))
}

pub struct Stage {
    pub weir: Weir,
    pub log: Log,
}

/// A weir with these zones (`name: key, rate`) and limits, and an upstream that notes what comes.
/// It has one worker, so that the order of arrival is the order of sending.
pub fn stage(zones: &[(&str, &str, &str)], limits: &str) -> Stage {
    stage_with("1", zones, limits)
}

fn stage_with(workers: &str, zones: &[(&str, &str, &str)], limits: &str) -> Stage {
    let (upstream, log) = noting();
    let zone = |(name, key, rate): &(&str, &str, &str)| {
        format!("  {name}: {{ key: {key}, rate: {rate} }}\n")
    };
    let weir = Weir::run(&format!(
        "zones:\n{}routes:\n- {{ path_exact: {FREE}, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /, upstream: \"http://{upstream}\", limits: [ {limits} ] }}\n\
         workers: {workers}\naccess_log: {{ to: none }}\n",
        zones.iter().map(zone).collect::<String>()
    ));
    Stage { weir, log }
}

/// The rules of a table, on zones `zone0`, `zone1`, ...
pub fn staged(table: &WorkedTable) -> Stage {
    let names: Vec<_> = (0..table.rules.len()).map(|number| format!("zone{number}")).collect();
    let rules = || names.iter().map(String::as_str).zip(table.rules);
    let zone = |(name, rule): (_, &TableRule)| {
        (name, if rule.global { "global" } else { "client_ip" }, rule.rate)
    };
    let limit = |(name, rule): (&str, &TableRule)| format!("{{ zone: {name}, {} }}", rule.keys());
    let zones: Vec<_> = rules().map(zone).collect();
    stage(&zones, &rules().map(limit).collect::<Vec<_>>().join(", "))
}

/// One limit on the client's address, like `burst: 20`.
pub fn limited(rate: &str, rule: &str) -> Stage {
    stage(&[("ip", "client_ip", rate)], &format!("{{ zone: ip, {rule} }}"))
}

/// What is expected of one request: a slot in milliseconds after the first was sent, or a reject.
type Expected = Option<u64>;

/// That of each request of a table.
fn expected(table: &WorkedTable) -> Vec<Expected> {
    let verdicts = table.verdicts().into_iter();
    verdicts
        .map(|verdict| match verdict {
            Pass | Exempt => Some(0),
            Delay(wait_ms) => Some(wait_ms),
            Reject(_) => None,
        })
        .collect()
}

/// Verdict and order exactly; never early by more than the millisecond the limiter counts in; late
/// within reason.
fn holds(shots: &[Shot], expected: &[Expected], machine: &Machine) {
    assert_eq!(shots.len(), expected.len());
    let mut late = Vec::new();
    for (number, (shot, expected)) in shots.iter().zip(expected).enumerate() {
        let status = if expected.is_some() { 200 } else { 503 };
        assert_eq!(shot.status(), Some(status), "request {number}: {shots:?}");
        let (took, slot) = (shot.took_us(), expected.unwrap_or(0) * 1000);
        assert!(
            took + 1000 >= slot,
            "request {number} took {took} us, its slot is {slot}: {shots:?}"
        );
        late.push(Duration::from_micros(took.saturating_sub(slot)));
    }
    machine.forgives(late);
}

/// A weir with the rules of a table, against that table.
fn holds_table(table: &WorkedTable) {
    let (stage, expected, machine) = (staged(table), expected(table), Machine::watched());
    let (_, shots) = burst(&stage, &table.schedule());
    holds(&shots, &expected, &machine);
    let served = expected.iter().filter(|slot| slot.is_some()).count();
    assert_eq!(
        stage.log.lock().expect("no panic").len(),
        served,
        "a reject never reaches the upstream"
    );
}

#[test]
fn table_a_one_a_second_without_burst() {
    holds_table(&worked_tables::A_ON_REAL_CLOCK);
}

#[test]
fn b_thirty_at_once() {
    holds_table(&worked_tables::B);
}

#[test]
fn b_nodelay() {
    holds_table(&worked_tables::B_NODELAY);
}

#[test]
fn b_delay_8() {
    holds_table(&worked_tables::B_DELAY_8);
}

#[test]
fn c_fifteen_at_five_a_second() {
    holds_table(&worked_tables::C);
}

#[test]
fn d_thirty_a_minute() {
    holds_table(&worked_tables::D);
}

#[test]
fn e_two_limits_on_one_route() {
    holds_table(&worked_tables::E);
}

/// By the upstream's own clock: the k-th that was sent has the k-th slot.
#[test]
fn b_reaches_the_upstream_as_one_and_twenty_spaced_by_a_tenth_of_a_second() {
    let (stage, machine) = (limited("10r/s", "burst: 20"), Machine::watched());
    let (begun, shots) = burst(&stage, "30 at once");
    let statuses: Vec<_> = shots.iter().filter_map(Shot::status).collect();
    assert_eq!(statuses, [vec![200; 21], vec![503; 9]].concat());
    let sent = begun + Duration::from_micros(shots[0].sent_us);
    let seen = stage.log.lock().expect("no panic");
    assert_eq!(seen.len(), 21);
    let mut late = Vec::new();
    for number in 0..21 {
        let target = format!("/{number}");
        let seen =
            seen.iter().find(|seen| seen.head.second() == target).expect("the first twenty-one");
        let (came, slot) = (seen.at - sent, Duration::from_millis(100) * number);
        // The limiter counts whole milliseconds.
        assert!(
            came + Duration::from_millis(1) >= slot,
            "request {number} came {came:?} after it was sent"
        );
        late.push(came.saturating_sub(slot));
    }
    machine.forgives(late);
}

/// New connections on all workers: who is first among them is the kernel's to say, how many and
/// when is not.
#[test]
fn b_over_new_connections_and_several_workers() {
    let machine = Machine::watched();
    let stage = stage_with("2", &[("ip", "client_ip", "10r/s")], "{ zone: ip, burst: 20 }");
    let stopped = Stopped::new(stage.weir.pid());
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect(stage.weir.address)).collect();
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("an open connection");
    }
    let begun = Instant::now();
    drop(stopped);
    let mut statuses: Vec<u16> =
        clients.iter_mut().map(|client| client.answer("GET").expect("an answer").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 21], vec![503; 9]].concat());
    let seen = stage.log.lock().expect("no panic");
    let mut late = Vec::new();
    for (slot, seen) in (0..).map(|number| Duration::from_millis(100) * number).zip(seen.iter()) {
        let came = seen.at - begun;
        assert!(came + Duration::from_millis(1) >= slot, "{came:?} for {slot:?}");
        late.push(came.saturating_sub(slot));
    }
    machine.forgives(late);
}
