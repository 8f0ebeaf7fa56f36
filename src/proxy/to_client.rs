//! Response as it goes to the client.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{context::RequestContext, upgrade::agreed};
use crate::{
    compress::body::Coded,
    downstream::upload::RequestBody,
    files::body::FileBody,
    http::{
        error::Error,
        fields::{prepare_response, write_upgrade},
        header_list::HeaderList,
        known_name::KnownName,
        message::Response,
    },
    runtime::clock::Clock,
    upstream::body::UpstreamBody,
};

/// Response body.
pub enum ResponseBody {
    /// A few bytes of weir's own.
    Own(Full<Bytes>),
    /// A file.
    File(Box<Coded<FileBody>>),
    /// That of an upstream.
    Upstream(Coded<Box<UpstreamBody<RequestBody>>>),
    /// One of them at the rate of its route. Its type is not named, so that the others are compiled
    /// without a recursion.
    Paced(Box<AnyBody>),
}

/// Response body of any kind.
type AnyBody = dyn Body<Data = Bytes, Error = Box<dyn StdError + Send + Sync>> + Unpin;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::File(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Upstream(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Paced(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::File(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Paced(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::File(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
            Self::Paced(body) => body.size_hint(),
        }
    }
}

/// Response of weir's own as it goes to the client.
pub fn own(response: Response<Full<Bytes>>) -> Response<ResponseBody> {
    response.map(ResponseBody::Own)
}

/// Response of an endpoint as it goes to the client.
pub fn passed_on(
    mut response: Response<Box<UpstreamBody<RequestBody>>>,
    upgrade: Option<&HeaderValue>,
    visit: &mut RequestContext<'_>,
) -> Result<Response<Box<UpstreamBody<RequestBody>>>, Error> {
    let (status, headers) = (response.head.status, &mut response.head.headers);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = if switches { Some(agreed(headers, upgrade)?) } else { None };
    // A 426 must name the protocols (RFC 9110, section 15.5.22).
    let required = status == StatusCode::UPGRADE_REQUIRED && visit.line.conn.is_some();
    let required = headers.get(KnownName::Upgrade).filter(|_| required);
    let required = required.and_then(|protocols| HeaderValue::from_bytes(protocols).ok());
    prepare_response(headers);
    if status == StatusCode::NO_CONTENT {
        // The response has no content (RFC 9110, section 8.6).
        headers.remove(KnownName::ContentLength);
    }
    if let Some(protocols) = required {
        write_upgrade(headers, &protocols);
    }
    if visit.line.conn.is_some() {
        if response.body.is_early() {
            headers.set_static(KnownName::Connection, "close");
        }
        response.body.end_with_length();
    }
    if let Some(protocol) = protocol {
        write_upgrade(headers, &protocol);
        visit.far = response.body.switch();
    }
    Ok(response)
}

/// Handles a body that was not read: a short one is read and discarded, otherwise the connection
/// ends with this response.
#[cold]
pub fn leave_body(body: RequestBody, expects: bool, response: &mut Response<ResponseBody>) {
    if body.is_drainable() && !expects {
        tokio::task::spawn_local(body.drain());
    } else {
        response.head.headers.set_static(KnownName::Connection, "close");
    }
}

/// Sets `Date` on a response that has none (RFC 9110, section 6.6.1).
pub fn set_date(headers: &mut HeaderList) {
    if !headers.contains(KnownName::Date) {
        // Without a clock that can be trusted a response has no date.
        let _ = Clock::date(|date| headers.set_valid(KnownName::Date, date.as_bytes()));
    }
}
