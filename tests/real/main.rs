//! Clients and servers that other people wrote, before and behind the real binary: what they see is
//! what counts.

#[allow(dead_code, reason = "each binary uses its part of the readers")]
#[path = "../dsl/http.rs"]
mod http;
#[allow(dead_code, reason = "each binary uses its part of nginx")]
#[path = "../peers/nginx.rs"]
mod nginx_process;
#[allow(dead_code, reason = "each binary uses its part of the certificates")]
#[path = "../dsl/pki.rs"]
mod pki;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each binary uses its part of the process")]
#[path = "../dsl/weir.rs"]
mod weir;

/// How many times as long as here the same tests are in `tests/slow`.
const SCALE: u32 = 1;

mod curl;
mod grpc;
mod haproxy;
mod nginx;
mod node;
mod programs;
mod uploads;
mod uwsgi;
