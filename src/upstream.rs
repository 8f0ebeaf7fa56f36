//! The upstream side: where a route's requests go and how they get there.

pub mod settings;
