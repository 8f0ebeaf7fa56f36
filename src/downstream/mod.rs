//! Client side: listeners, connections and their limits.

pub mod client_conn;
pub mod client_state;
pub mod collected_body;
pub mod connection_limits;
pub mod drain;
pub mod fair_queue;
pub mod http1;
pub mod http2;
pub mod listen_address;
pub mod listen_socket;
pub mod listener;
pub mod paced_body;
pub mod proxy_protocol;
pub mod relay;
pub mod request_body;
pub mod request_channel;
mod resumed;
pub mod settings;
pub mod tls;
pub mod tunnel;
pub mod upload;
pub mod watchdog;
