//! The upstream side: where a route's requests go and how they get there.

pub mod balance;
pub mod body;
pub mod connect;
pub mod exchange;
pub mod forward;
pub mod group;
pub mod habit;
pub mod health;
pub mod hold;
pub mod http2_io;
pub mod loss;
pub mod pool;
pub mod private;
pub mod probe;
pub mod replay;
pub mod resolve;
pub mod retry;
pub mod secure;
pub mod settings;
pub mod shared;
pub mod tend;

pub use forward::Upstream;
