//! The service against a real PostgreSQL and a real Redis, over its own socket: the API as a
//! specification.

mod accounts;
mod admin;
mod bench;
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
