//! `migrate` against a real PostgreSQL: the workflow, and every trap found in practice.

#[path = "../support/bench.rs"]
mod bench;
#[path = "../support/postgres.rs"]
mod postgres;

mod addresses;
mod asking;
mod crashes;
mod locks;
mod psql_script;
mod refusals;
mod transactions;
mod workflow;

/// The program under test, and what stands before its arguments.
const PROGRAM: &[&str] = &[env!("CARGO_BIN_EXE_migrate")];
