//! Sign-up, login and tokens on Postgres and Redis, and the migrations of its database.

pub mod cli;
pub mod database;
pub mod migrate;
