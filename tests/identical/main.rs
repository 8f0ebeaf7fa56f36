//! weir in front of servers nobody here wrote: whatever they send arrives as if weir were not
//! there.
//!
//! Each request goes to the server itself and through weir; status, end-to-end fields and every
//! byte of the body must be the same. Together the tests make more than 1,000 requests.

#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/http.rs"]
mod http;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../peers/nginx.rs"]
mod nginx;
#[path = "../peers/python.rs"]
mod python;
#[allow(dead_code, reason = "each binary uses its part of the peers")]
#[path = "../dsl/weir.rs"]
mod weir;

mod both;
mod echo;
mod files;
