//! What takes too long for every run: `scripts/test.sh --slow` runs it, in release mode. The tests
//! of `tests/real` with over a million requests, and a quiet that outlasts the patience of gRPC
//! servers.

#[allow(dead_code, reason = "each binary uses its part of the readers")]
#[path = "../dsl/http.rs"]
mod http;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each binary uses its part of the process")]
#[path = "../dsl/weir.rs"]
mod weir;

/// How many times as long as in `tests/real` its tests are here.
const SCALE: u32 = 25;

#[path = "../real/grpc.rs"]
mod grpc;
#[path = "../real/haproxy.rs"]
mod haproxy;
#[path = "../real/node.rs"]
mod node;
#[allow(dead_code, reason = "each binary uses its part of the programs")]
#[path = "../real/programs.rs"]
mod programs;

mod load;
mod quiet;
