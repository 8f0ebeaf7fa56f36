//! Response as it goes to the client.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};

use super::{context::RequestContext, upgrade::agreed};
use crate::{
    compress::body::Coded,
    downstream::upload::RequestBody,
    http::{
        error::Error,
        fields::{prepare_response, write_upgrade},
    },
    upstream::body::UpstreamBody,
};

/// Response body: weir's own, or an upstream's.
pub type ResponseBody = Either<Full<Bytes>, Coded<UpstreamBody<RequestBody>>>;

/// Response of an endpoint as it goes to the client.
pub fn passed_on(
    mut response: Response<UpstreamBody<RequestBody>>,
    upgrade: Option<&HeaderValue>,
    visit: &mut RequestContext<'_>,
) -> Result<Response<UpstreamBody<RequestBody>>, Error> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = if switches { Some(agreed(&response, upgrade)?) } else { None };
    // A 426 must name the protocols (RFC 9110, section 15.5.22).
    let required = response.status() == StatusCode::UPGRADE_REQUIRED && visit.line.conn.is_some();
    let required = response.headers().get(header::UPGRADE).filter(|_| required).cloned();
    prepare_response(response.headers_mut());
    if response.status() == StatusCode::NO_CONTENT {
        // The response has no content (RFC 9110, section 8.6).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if let Some(protocols) = required {
        write_upgrade(response.headers_mut(), &protocols);
    }
    if visit.line.conn.is_some() {
        if response.body().is_early() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.body_mut().end_with_length();
    }
    if let Some(protocol) = protocol {
        write_upgrade(response.headers_mut(), &protocol);
        visit.far = response.body_mut().switch();
    }
    Ok(response)
}

/// Handles a body that was not read: a short one is read and discarded, otherwise the connection
/// ends with this response.
pub fn leave_body(body: RequestBody, expects: bool, response: &mut Response<ResponseBody>) {
    if body.is_drainable() && !expects {
        tokio::task::spawn_local(body.drain());
    } else {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
