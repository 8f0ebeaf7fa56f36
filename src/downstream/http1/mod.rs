//! HTTP/1.1 connections of clients.

pub mod connection;
pub mod framed_io;
pub mod lingering_close;
