//! `migrate` against a real PostgreSQL: the workflow, and every trap found in practice.

mod addresses;
mod asking;
mod crashes;
mod locks;
mod psql_script;
mod refusals;
mod transactions;
mod workflow;
