//! The same tables against a real nginx: what the bench says of it is what is documented of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{TABLE_A, burst, holds};
use crate::nginx::Nginx;

/// Starts one that serves a page under these `limit_req_zone`s and `limit_req`s, and waits until it
/// serves.
fn nginx(zones: &[&str], limits: &[&str]) -> Nginx {
    let lines = |name: &str, all: &[&str]| {
        all.iter().map(|one| format!("{name} {one};\n")).collect::<String>()
    };
    let limits = lines("limit_req", limits);
    let server = format!("root .; location = /ready {{ }} location / {{ {limits} }}");
    let nginx = Nginx::start(&lines("limit_req_zone", zones), &server);
    let mut first = TcpStream::connect(nginx.address).expect("a connection");
    first.write_all(b"HEAD /ready HTTP/1.0\r\n\r\n").expect("a request");
    first.read_to_end(&mut Vec::new()).expect("an nginx that serves");
    nginx
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
