//! Head of a request or response, and a response with its body.

use http::{Method, StatusCode, Uri, Version, request, response};

use super::header_list::HeaderList;

/// Head of a request.
#[derive(Clone, Debug)]
pub struct RequestParts {
    /// Method.
    pub method: Method,
    /// Target.
    pub uri: Uri,
    /// Version in which it was received.
    pub version: Version,
    /// Header fields.
    pub headers: HeaderList,
}

/// Head of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseParts {
    /// Status.
    pub status: StatusCode,
    /// Reason phrase, if it is not the usual one of the status.
    pub reason: Option<Box<[u8]>>,
    /// Header fields.
    pub headers: HeaderList,
}

/// Response with its body.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// Status and fields.
    pub head: ResponseParts,
    /// Body.
    pub body: B,
}

impl From<request::Parts> for RequestParts {
    fn from(head: request::Parts) -> Self {
        let request::Parts { method, uri, version, headers, .. } = head;
        Self { method, uri, version, headers: HeaderList::from(&headers) }
    }
}

impl From<response::Parts> for ResponseParts {
    fn from(head: response::Parts) -> Self {
        Self { status: head.status, reason: None, headers: HeaderList::from(&head.headers) }
    }
}

impl ResponseParts {
    /// Head in the form that the HTTP/2 server takes.
    #[must_use]
    pub fn to_http2(&self) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.headers.to_map();
        response
    }

    /// Head with this status and no fields.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        Self { status, ..Self::default() }
    }
}

impl<B> Response<B> {
    /// Puts another body in the place of this one.
    pub fn map<T>(self, change: impl FnOnce(B) -> T) -> Response<T> {
        Response { head: self.head, body: change(self.body) }
    }
}
