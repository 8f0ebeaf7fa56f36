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

impl<'h, 't> RoutedRequest<'h, 't> {
    /// Request of this client.
    #[must_use]
    pub fn of(
        client: IpAddr,
        method: &'h Method,
        target: &'t Target,
        headers: &'h HeaderList,
    ) -> Self {
        Self { client, method, target, headers }
    }
}
