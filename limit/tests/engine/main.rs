//! The decision engine: worked tables, nginx's arithmetic over millions of arrivals, a rational
//! model, lines, threads, snapshots and the tower layer.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn tasks and read a seed; the engine does not"
)]

mod cost;
mod gate;
mod layer;
mod line;
mod model;
mod oracle;
mod penalty;
mod reserved;
mod snapshot;
mod threads;
