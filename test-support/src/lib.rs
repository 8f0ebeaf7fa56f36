//! Helpers that the tests, the benches and the fuzz targets of all packages share.
//!
//! Without features there are the words of the limiter's tests, so that these compile no proxy.
//! `servers` adds private servers and other programs, `proxy` what knows weir.

#![allow(missing_docs, reason = "helpers of tests are named after what they do")]
#![allow(clippy::new_without_default, reason = "a new authority makes keys and files")]

pub mod bucket;
pub mod limit;
pub mod line_model;
pub mod worked_tables;

#[cfg(feature = "servers")]
pub mod call;
#[cfg(feature = "servers")]
pub mod chromium;
#[cfg(feature = "servers")]
pub mod migrations;
#[cfg(feature = "servers")]
pub mod nginx;
#[cfg(feature = "servers")]
pub mod pgbouncer;
#[cfg(feature = "servers")]
pub mod postgres;
#[cfg(feature = "servers")]
pub mod programs;
#[cfg(feature = "servers")]
pub mod python;
#[cfg(feature = "servers")]
pub mod redis;

#[cfg(feature = "proxy")]
pub mod accepted;
#[cfg(feature = "proxy")]
pub mod certificates;
#[cfg(feature = "proxy")]
pub mod decode;
#[cfg(feature = "proxy")]
pub mod frames;
#[cfg(feature = "proxy")]
pub mod harness;
#[cfg(feature = "proxy")]
pub mod http1;
#[cfg(feature = "proxy")]
pub mod http2_endpoint;
#[cfg(feature = "proxy")]
pub mod judge;
#[cfg(feature = "proxy")]
pub mod process;
#[cfg(feature = "proxy")]
pub mod recorder;
#[cfg(feature = "proxy")]
pub mod upstream;

/// Path of a program of the package under test: as cargo says it, or beside the folder of the test
/// where that is run by hand.
#[cfg(feature = "servers")]
pub fn program(name: &str) -> std::path::PathBuf {
    let beside = || {
        let test = std::env::current_exe().expect("the path of this test");
        test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join(name)
    };
    std::env::var_os(format!("CARGO_BIN_EXE_{name}")).map_or_else(beside, Into::into)
}
