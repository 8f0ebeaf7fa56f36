//! The same tables against a real nginx: what the bench says of it is what is documented of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use weir_test::worked_tables::{self, WorkedTable};

use super::{burst, holds_table};
use crate::nginx::Nginx;

/// Starts one that serves a page under the limits of a table, and waits until it serves.
fn limited(table: &WorkedTable) -> Nginx {
    let (mut zones, mut limits) = (String::new(), String::new());
    for (number, rule) in table.rules.iter().enumerate() {
        let key = if rule.global { "$server_port" } else { "$binary_remote_addr" };
        zones += &format!("limit_req_zone {key} zone=zone{number}:1m rate={};\n", rule.rate);
        limits += &format!("limit_req zone=zone{number} {};\n", rule.words());
    }
    let server = format!("root .; location = /ready {{ }} location / {{ {limits} }}");
    let nginx = Nginx::start(&zones, &server);
    let mut first = TcpStream::connect(nginx.address).expect("a connection");
    first.write_all(b"HEAD /ready HTTP/1.0\r\n\r\n").expect("a request");
    first.read_to_end(&mut Vec::new()).expect("an nginx that serves");
    nginx
}

async fn nginx_holds(table: &WorkedTable) {
    let nginx = limited(table);
    holds_table(nginx.address, table).await;
}

#[tokio::test]
async fn table_a() {
    nginx_holds(&worked_tables::A_ON_REAL_CLOCK).await;
}

#[tokio::test]
async fn table_b() {
    nginx_holds(&worked_tables::B).await;
}

#[tokio::test]
async fn table_b_nodelay() {
    nginx_holds(&worked_tables::B_NODELAY).await;
}

#[tokio::test]
async fn table_b_delay_8() {
    nginx_holds(&worked_tables::B_DELAY_8).await;
}

#[tokio::test]
async fn table_c() {
    nginx_holds(&worked_tables::C).await;
}

#[tokio::test]
async fn table_d() {
    nginx_holds(&worked_tables::D).await;
}

#[tokio::test]
async fn table_e_two_limits() {
    let table = worked_tables::E;
    let nginx = limited(&table);
    let report = burst(nginx.address, &table.schedule(), None).await;
    let (counts, (pass, wait, reject)) = (report.counts(), table.counts());
    assert_eq!((counts.forwarded(), counts.reject), (pass + wait, reject));
    let mut ends_us: Vec<u64> =
        report.trace.iter().filter(|shot| !shot.rejected(503)).map(|shot| shot.end_us).collect();
    ends_us.sort_unstable();
    for (place, end_us) in ends_us.into_iter().enumerate() {
        assert!(end_us + 1_000 >= 100_000 * place as u64, "{place}: {end_us}");
    }
}
