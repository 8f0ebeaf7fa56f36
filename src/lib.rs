//! weir: a reverse proxy with a rate limiter built in.
//!
//! The decision engine is a package of its own, [`limit`]; the rest is the proxy around it. A
//! module imports only from modules above it in this list.

pub use weir_limit as limit;

pub mod demo;
pub mod runtime;

pub mod http;

pub mod access;
pub mod compress;
pub mod log;

pub mod downstream;
pub mod files;
pub mod upstream;

pub mod proxy;

pub mod config;

pub mod process;
pub mod tools;

pub mod cli;
