//! Parts of HTTP messages: targets, fields, framing, errors.

pub mod basic_credentials;
pub mod condition;
pub mod error;
pub mod fields;
pub mod forwarded;
pub mod forwarding_names;
pub mod framing;
pub mod header_list;
pub mod known_name;
pub mod message;
pub mod request_id;
pub mod target;
