//! weir: a reverse proxy with a rate limiter built in.

pub mod burst;
pub mod cli;
pub mod client;
pub mod config;
pub mod limit;
pub mod observe;
pub mod rescue;
pub mod route;
pub mod server;
pub mod upstream;
