//! The service against a real PostgreSQL and a real Redis, over its own socket: the API as a
//! specification.

#[path = "../support/chromium.rs"]
mod chromium;
#[path = "../support/pgbouncer.rs"]
mod pgbouncer;
#[path = "../../../migrate/tests/support/postgres.rs"]
mod postgres;
#[path = "../support/redis.rs"]
mod redis;

mod bench;
mod call;

mod accounts;
mod admin;
mod browser;
mod cache;
mod described;
mod logins;
mod oauth;
mod outages;
mod pages;
mod pooler;
mod process;
mod refusals;
mod sessions;
mod tls;
