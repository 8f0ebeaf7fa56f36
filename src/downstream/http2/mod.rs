//! HTTP/2 connections of clients.

pub mod allowance;
pub mod connection;
pub mod metered_io;
pub mod ping;
pub mod response;
pub mod scheduler;
pub mod unread;

/// Receive window of a stream.
const STREAM_WINDOW: u32 = 256 * 1024;
