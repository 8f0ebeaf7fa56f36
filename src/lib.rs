//! weir: a reverse proxy with a rate limiter built in.

pub mod limit;
