//! Upstream side: endpoints of a route's requests, and the connections to them.

pub mod address;
pub mod address_pools;
pub mod background;
pub mod balance;
pub mod body;
pub mod capacity;
pub mod connect;
pub mod connection_auth;
pub mod dns;
pub mod endpoints;
pub mod failure;
pub mod forward;
pub mod health;
pub mod hold;
pub mod http1;
pub mod http2;
pub mod http2_io;
mod pinned_certificate;
pub mod pool;
pub mod probe;
pub mod proxy_header;
pub mod remote;
pub mod replay;
pub mod retry;
pub mod retry_budget;
pub mod send;
pub mod settings;
pub mod silent_close;
pub mod sticky;
pub mod tls;
pub mod upload;

pub use forward::Upstream;
