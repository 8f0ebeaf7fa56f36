//! The upstream side: where a route's requests go and how they get there.

pub mod body;
pub mod connect;
pub mod forward;
pub mod pool;
pub mod settings;

pub use forward::Upstream;
