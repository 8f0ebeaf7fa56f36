//! Clients and servers that other people wrote, before and behind the real binary: what they see is
//! what counts.

mod curl;
mod files;
mod grpc;
mod h2load;
mod haproxy;
mod import;
mod log_format;
mod nginx;
mod node;
mod quiet;
mod uploads;
mod uwsgi;

/// Factor of the requests of a test: `scripts/test.sh --slow` sets `WEIR_SLOW` for over a million.
fn scale() -> u32 {
    if std::env::var_os("WEIR_SLOW").is_some() { 25 } else { 1 }
}
