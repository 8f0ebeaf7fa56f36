//! HTTP/1.1 connections of clients.

pub mod body;
pub mod connection;
pub mod interim;
pub mod lingering_close;
pub mod response_writer;
