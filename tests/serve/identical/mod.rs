//! weir before servers of other projects: what they send arrives as if weir were not there.
//!
//! Each request goes to the server itself and through weir; status, end-to-end fields and every
//! byte of the body must be the same. Together the tests make more than 1,000 requests.

mod both;
mod echo;
mod files;
