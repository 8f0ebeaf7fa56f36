//! Target of a burst: an `http://` URL and the bytes of one request.

use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method, Uri};

use crate::runtime::hint::Hinted;

/// Server with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstTarget {
    /// Host, without brackets.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Host and port as written: the `Host` field.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Error of a text that is not a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The text is not a URL.
    #[error("`{0}` is not an address to send to")]
    Shape(String),
    /// The URL has another scheme.
    #[error("`{0}` is not plain HTTP")]
    Scheme(String),
    /// The text is not a header field.
    #[error("`{0}` is not a header field")]
    Header(String),
}

impl Hinted for TargetError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Shape(_) => "write it like `http://127.0.0.1:8080/`",
            Self::Scheme(_) => "the burst bench speaks `http://` only, aim it at a plain listener",
            Self::Header(_) => "write it like `Accept: text/html`",
        };
        Some(text.to_owned())
    }
}

impl FromStr for BurstTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let shape = || TargetError::Shape(text.to_owned());
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = whole.parse().map_err(|_| shape())?;
        if uri.scheme_str() != Some("http") {
            return Err(TargetError::Scheme(text.to_owned()));
        }
        let authority = uri.authority().ok_or_else(shape)?;
        // User information would not be sent, and a port out of range would be ignored.
        if authority.port_u16().is_none() && authority.as_str() != authority.host()
            || authority.as_str().contains('@')
        {
            return Err(shape());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path,
        })
    }
}

/// Request as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTemplate {
    /// Bytes of the request.
    pub bytes: Vec<u8>,
    /// True if its responses have no body whatever they announce: the method is HEAD.
    pub answers_are_bare: bool,
}

impl RequestTemplate {
    /// Builds a request without a body; each of `headers` is `Name: value`.
    ///
    /// # Errors
    /// When one of the headers is invalid.
    pub fn new(
        target: &BurstTarget,
        method: &Method,
        headers: &[String],
    ) -> Result<Self, TargetError> {
        let mut text = format!("{method} {} HTTP/1.1\r\n", target.path);
        let own = headers.iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
        // A field of the caller replaces this one: two `Host` fields are malformed (RFC 9112,
        // section 3.2).
        if !own.iter().any(|(name, _)| *name == http::header::HOST) {
            text.push_str(&format!("host: {}\r\n", target.authority));
        }
        if !own.iter().any(|(name, _)| *name == http::header::USER_AGENT) {
            text.push_str(concat!("user-agent: weir-bench/", env!("CARGO_PKG_VERSION"), "\r\n"));
        }
        // A server may refuse these methods without a length, or wait for a body (RFC 9110, section
        // 8.6).
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            text.push_str("content-length: 0\r\n");
        }
        let mut bytes = text.into_bytes();
        for (name, value) in own {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(Self { bytes, answers_are_bare: *method == Method::HEAD })
    }
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), TargetError> {
    let wrong = || TargetError::Header(line.to_owned());
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    Ok((name.trim().parse().map_err(|_| wrong())?, value.trim().parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::target::*;

    fn target(text: &str) -> BurstTarget {
        text.parse().expect(text)
    }

    #[test]
    fn burst_target_is_host_port_and_path() {
        let of = |text| {
            let BurstTarget { host, port, authority, path } = target(text);
            (host, port, authority, path)
        };
        let expect = |host: &str, port, authority: &str, path: &str| {
            (host.to_owned(), port, authority.to_owned(), path.to_owned())
        };
        assert_eq!(of("http://a.test"), expect("a.test", 80, "a.test", "/"));
        assert_eq!(
            of("127.0.0.1:8080/x?y=1"),
            expect("127.0.0.1", 8080, "127.0.0.1:8080", "/x?y=1")
        );
        assert_eq!(of("http://[::1]:99/"), expect("::1", 99, "[::1]:99", "/"));
    }

    #[test]
    fn burst_target_error_says_what_to_write() {
        for (text, says) in [
            ("https://a.test", "`https://a.test` is not plain HTTP"),
            ("http://", "`http://` is not an address"),
            ("a b", "`a b` is not an address"),
            ("http://me@a.test/", "is not an address"),
            ("http://a.test:99999/", "is not an address"),
        ] {
            let error = text.parse::<BurstTarget>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn burst_request_has_no_body() {
        let of = |method: Method, headers: &[&str]| {
            let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
            let order = RequestTemplate::new(&target("http://a.test/x"), &method, &headers)
                .expect("an order");
            String::from_utf8(order.bytes).expect("text").replace(env!("CARGO_PKG_VERSION"), "V")
        };
        assert_eq!(
            of(Method::GET, &[]),
            "GET /x HTTP/1.1\r\nhost: a.test\r\nuser-agent: weir-bench/V\r\n\r\n"
        );
        assert_eq!(
            of(Method::POST, &["Host: b", "User-Agent:me", "X-A: 1"]),
            "POST /x HTTP/1.1\r\ncontent-length: 0\r\nhost: b\r\nuser-agent: me\r\nx-a: 1\r\n\r\n"
        );
        let wrong = RequestTemplate::new(&target("a"), &Method::GET, &["X-A".to_owned()]);
        assert_eq!(wrong, Err(TargetError::Header("X-A".to_owned())));
    }
}
