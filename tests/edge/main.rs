//! The data path over pipes in memory and under paused time: what the limits of LIMITS promise
//! holds to the millisecond.

#[path = "../dsl/decode.rs"]
mod decode;
#[path = "../dsl/frames.rs"]
mod frames;
#[path = "../dsl/http2_endpoint.rs"]
mod http2_endpoint;
#[path = "../dsl/pki.rs"]
mod pki;

mod any_blocks;
mod any_frames;
mod blocks;
mod buffer;
mod bytes;
mod claims;
mod compress;
mod connection;
mod connections;
mod duties;
mod edits;
mod endpoint;
mod endpoint_http2;
mod examples;
mod faults;
mod first_byte;
mod flapping;
mod framing;
mod framing_chunks;
mod framing_length;
mod framing_lines;
mod framing_order;
mod gateway;
mod grpc;
mod habit;
mod harness;
mod health;
mod http2;
mod http2_abuse;
mod http2_allowance;
mod http2_bodiless;
mod http2_faults;
mod http2_fields;
mod http2_flow;
mod http2_interim;
mod http2_limits;
mod http2_slow;
mod http2_tls;
mod http2_uploads;
mod http2_waits;
mod http2_whole;
mod keys;
mod leaving;
mod lines;
mod lingering;
mod loops;
mod loss;
mod names;
mod patience;
mod private;
mod recorder;
mod response_limits;
mod retries;
mod secure;
mod spellings;
mod tables;
mod tls;
mod upgrade;
mod watchdog;
