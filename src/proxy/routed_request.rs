//! Request before its route is known.

use std::net::IpAddr;

use http::Method;

use crate::http::{header_list::HeaderList, target::Target};

/// Request as the choice of its route sees it.
#[derive(Clone, Copy)]
pub struct RoutedRequest<'h, 't> {
    /// Client address.
    pub client: IpAddr,
    /// Method in its normal form.
    pub method: &'h Method,
    /// Host, path and query.
    pub target: &'t Target,
    /// Header fields as received.
    pub headers: &'h HeaderList,
}
