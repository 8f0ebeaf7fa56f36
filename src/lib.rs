//! weir: a reverse proxy with a rate limiter built in.
//!
//! The decision engine stands alone in [`limit`]; everything else is the proxy around it.

pub mod admin;
pub mod alarm;
pub mod app;
pub mod burst;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compress;
pub mod config;
pub mod demo;
pub mod edit;
pub mod error;
pub mod framing;
pub mod header;
pub mod limit;
pub mod message;
pub mod observe;
pub mod pem;
pub mod proxy;
pub mod record;
pub mod release;
pub mod request_id;
pub mod rescue;
pub mod route;
pub mod server;
pub mod state;
pub mod stream;
pub mod sys;
pub mod upstream;
