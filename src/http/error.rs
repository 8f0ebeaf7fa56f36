//! Error of a request: side at fault, kind in the terms of RFC 9209, and cause.
//!
//! Guarantee: one table maps a kind to its status, and the word of the kind is the same in the log
//! and in `Proxy-Status`.

use std::{error::Error as StdError, fmt, sync::Arc};

use http::StatusCode;

/// Side at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// weir or its configuration.
    Proxy,
    /// The upstream.
    Upstream,
}

impl Side {
    /// Word used in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Upstream => "upstream",
        }
    }
}

/// Kind of error. The words are the proxy error types of RFC 9209, section 2.3, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The name of the endpoint did not resolve.
    DnsError,
    /// No route takes the request.
    NoRoute,
    /// A route takes it, but not with that method.
    MethodNotAllowed,
    /// The endpoint refused the connection.
    ConnectionRefused,
    /// The endpoint cannot be reached.
    DestinationIpUnroutable,
    /// Opening the connection took too long.
    ConnectionTimeout,
    /// Every endpoint has as many requests as it may have.
    ConnectionLimitReached,
    /// The endpoint closed the connection before or within a response.
    ConnectionTerminated,
    /// The endpoint was silent for too long.
    ConnectionReadTimeout,
    /// The certificate of the endpoint is not trusted.
    TlsCertificateError,
    /// The endpoint violates the TLS protocol.
    TlsProtocolError,
    /// The endpoint refused the TLS handshake.
    TlsAlertReceived,
    /// The response of the endpoint was cut short.
    HttpResponseIncomplete,
    /// The response of the endpoint is not valid HTTP, or does not fit its request.
    HttpProtocolError,
    /// The request is malformed.
    HttpRequestError,
    /// The route refuses the network of the client.
    RequestDenied,
    /// The request has no valid credentials.
    Unauthenticated,
    /// weir has no room to verify the credentials now.
    Overloaded,
    /// The request is for a host that this connection was not opened for.
    MisdirectedRequest,
    /// The request target is too long.
    TargetTooLong,
    /// The header fields of the request are too large or too many.
    HeadersTooLarge,
    /// The request body is larger than the route allows.
    BodyTooLarge,
    /// The client was too slow.
    RequestTimeout,
    /// The client took nothing of its response for too long.
    WriteTimeout,
    /// The client left before its response was complete.
    ClientGone,
    /// The request has passed weir too often.
    ProxyLoopDetected,
    /// There is no file for the path.
    FileNotFound,
    /// The file may not be read.
    FileForbidden,
    /// The disk fails, or does not respond.
    FileUnreadable,
    /// The process is stopping.
    ShuttingDown,
    /// Internal error of weir.
    ProxyInternalError,
}

impl Kind {
    /// Word used in logs and in `Proxy-Status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsError => "dns_error",
            Self::NoRoute => "destination_not_found",
            Self::ConnectionRefused => "connection_refused",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpProtocolError => "http_protocol_error",
            Self::HttpRequestError
            | Self::MethodNotAllowed
            | Self::MisdirectedRequest
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::BodyTooLarge => "http_request_error",
            Self::RequestDenied | Self::Unauthenticated => "http_request_denied",
            Self::RequestTimeout => "request_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::ClientGone => "client_gone",
            Self::ProxyLoopDetected => "proxy_loop_detected",
            Self::FileNotFound => "file_not_found",
            Self::FileForbidden => "file_forbidden",
            Self::FileUnreadable => "file_unreadable",
            Self::ShuttingDown | Self::Overloaded => "destination_unavailable",
            Self::ProxyInternalError => "proxy_internal_error",
        }
    }

    /// Status of the response. 499 is nginx's and never sent, as the client is gone.
    #[must_use]
    pub fn status(self) -> StatusCode {
        let code = match self {
            Self::NoRoute | Self::FileNotFound => 404,
            Self::FileForbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::HttpRequestError => 400,
            Self::TargetTooLong => 414,
            Self::Unauthenticated => 401,
            Self::RequestDenied => 403,
            Self::MisdirectedRequest => 421,
            Self::HeadersTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::RequestTimeout | Self::WriteTimeout => 408,
            Self::ClientGone => 499,
            Self::ShuttingDown | Self::Overloaded | Self::ConnectionLimitReached => 503,
            Self::ConnectionTimeout | Self::ConnectionReadTimeout => 504,
            Self::FileUnreadable | Self::ProxyInternalError => 500,
            Self::ProxyLoopDetected => 508,
            Self::DnsError
            | Self::ConnectionRefused
            | Self::DestinationIpUnroutable
            | Self::ConnectionTerminated
            | Self::TlsCertificateError
            | Self::TlsProtocolError
            | Self::TlsAlertReceived
            | Self::HttpResponseIncomplete
            | Self::HttpProtocolError => 502,
        };
        // Every code of the table is valid. The default only avoids a panic.
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn side(self) -> Side {
        match self {
            Self::HttpRequestError
            | Self::MethodNotAllowed
            | Self::RequestDenied
            | Self::Unauthenticated
            | Self::MisdirectedRequest
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::BodyTooLarge
            | Self::RequestTimeout
            | Self::WriteTimeout
            | Self::ClientGone => Side::Client,
            Self::NoRoute
            | Self::FileNotFound
            | Self::FileForbidden
            | Self::FileUnreadable
            | Self::Overloaded
            | Self::ConnectionLimitReached
            | Self::ShuttingDown
            | Self::ProxyLoopDetected
            | Self::ProxyInternalError => Side::Proxy,
            Self::DnsError
            | Self::ConnectionRefused
            | Self::DestinationIpUnroutable
            | Self::ConnectionTimeout
            | Self::ConnectionTerminated
            | Self::ConnectionReadTimeout
            | Self::TlsCertificateError
            | Self::TlsProtocolError
            | Self::TlsAlertReceived
            | Self::HttpResponseIncomplete
            | Self::HttpProtocolError => Side::Upstream,
        }
    }
}

/// Error with its cause, which clones share.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    detail: &'static str,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error without a cause; `detail` describes it for an operator.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(kind: Kind, detail: &'static str) -> Self {
        Self { kind, detail, source: None }
    }

    /// Creates an error with a cause.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn caused(
        kind: Kind,
        detail: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, detail, source: Some(source.into().into()) }
    }

    /// Kind of the error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Side at fault.
    #[must_use]
    pub fn side(&self) -> Side {
        self.kind.side()
    }

    /// Description in a few words.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
