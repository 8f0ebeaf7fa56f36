//! The worked tables over real sockets, and the same timelines fired at a real nginx: same
//! verdicts, same order, nothing early.

#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/http.rs"]
mod http;
#[path = "../peers/nginx.rs"]
mod nginx;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/weir.rs"]
mod weir;

mod machine;
mod pipelined;
mod side_by_side;
mod tables;
mod volley;
