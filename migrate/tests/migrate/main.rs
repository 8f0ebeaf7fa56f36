//! `migrate` against a real PostgreSQL: the workflow, and every trap found in practice.

mod bench;
#[path = "../support/postgres.rs"]
mod postgres;

mod addresses;
mod asking;
mod crashes;
mod locks;
mod psql_script;
mod refusals;
mod revisions;
mod transactions;
mod workflow;
