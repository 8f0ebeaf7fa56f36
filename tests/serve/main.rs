//! The real binary over real sockets: what it lets through, what it holds, how it starts and how it
//! stops.

#[allow(dead_code, reason = "each binary uses its part of the decoders")]
#[path = "../dsl/decode.rs"]
mod decode;
#[allow(dead_code, reason = "each binary uses its part of the frames")]
#[path = "../dsl/frames.rs"]
mod frames;
#[path = "../dsl/http.rs"]
mod http;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/nginx.rs"]
mod nginx;
#[allow(dead_code, reason = "each binary uses its part of the certificates")]
#[path = "../dsl/pki.rs"]
mod pki;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/weir.rs"]
mod weir;

mod abuse;
mod admin;
mod clock;
mod commands;
mod faults;
mod goaway;
mod handover;
mod idle;
mod keepalive;
mod leaving;
mod listeners;
mod load;
mod log;
mod memory;
mod reload;
mod restarts;
mod scarce;
mod slow;
mod start;
mod state;
mod stop;
mod streams;
mod stuck;
mod tls;
