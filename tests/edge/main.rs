//! The data path over pipes in memory and under paused time: what the limits of LIMITS promise holds to the millisecond.

#[path = "../dsl/pki.rs"]
mod pki;

mod faults;
mod duties;
mod framing;
mod gateway;
mod framing_chunks;
mod framing_length;
mod framing_lines;
mod framing_order;
mod harness;
mod health;
mod leaving;
mod names;
mod patience;
mod recorder;
mod retries;
mod tables;
mod tls;
