//! `auth migrate` and the revisions it carries, against a real PostgreSQL.

#[path = "../../../migrate/tests/support/bench.rs"]
mod bench;
#[path = "../../../migrate/tests/support/postgres.rs"]
mod postgres;

mod built_in;
mod revisions;

/// The program under test, and what stands before its arguments.
const PROGRAM: &[&str] = &[env!("CARGO_BIN_EXE_auth"), "migrate"];
