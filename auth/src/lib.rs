//! Sign-up, login and tokens on Postgres and Redis, and the migrations of its database.

pub mod allowance;
pub mod app;
pub mod argon;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod cursor;
pub mod http;
pub mod metrics;
pub mod password;
pub mod person;
pub mod revisions;
pub mod service;
pub mod settings;
pub mod store;
pub mod text;
pub mod token;

pub use weir_migrate::{self as migrate, database};
