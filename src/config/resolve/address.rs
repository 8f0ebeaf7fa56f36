//! Addresses of listeners and endpoints.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use crate::{
    downstream::listen_address::ListenAddress, runtime::hint::Hinted, upstream::settings::Endpoint,
};

/// Error of a text that is not an address to listen on or connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The kind of listener cannot be used for this.
    #[error("`{0}`: {1} cannot be used here")]
    Listener(String, &'static str),
    /// The path of a socket cannot be used.
    #[error("`{0}` is not the path of a socket")]
    SocketPath(String),
    /// The name of an inherited socket cannot be used.
    #[error("`{0}` is not the name of an inherited socket")]
    Inherited(String),
    /// The kind of endpoint is not supported.
    #[error("`{0}`: {1} is not supported yet")]
    Scheme(String, &'static str),
    /// Unix socket behind a scheme.
    #[error("`{0}` is not the address of a socket")]
    Unix(String, String),
    /// The text has more than a host and a port behind the scheme.
    #[error("`{0}` has a path")]
    Path(String, String),
    /// The port is missing.
    #[error("`{0}` has no port")]
    NoPort(String, u16),
    /// The host is missing.
    #[error("`{0}` has no host")]
    OnlyPort(String),
    /// The host of a listener is not an address.
    #[error("`{0}` is not an IP address and a port")]
    Socket(String),
    /// Host and port of an endpoint cannot be parsed.
    #[error("`{0}` is not a host and a port")]
    Endpoint(String),
}

impl Hinted for AddressError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Listener(..) => "listen on host:port, like `0.0.0.0:8080`",
            Self::SocketPath(_) => {
                "write an absolute path of at most 107 bytes, like `unix:/run/weir/http.sock`"
            }
            Self::Inherited(_) => {
                "write the `FileDescriptorName` of the `.socket` unit, like `fd:web`"
            }
            Self::Scheme(..) => "use `http://host:port` or `https://host:port`",
            Self::Unix(_, path) => return Some(format!("write `{path}`, without a scheme")),
            Self::Path(_, kept) => {
                return Some(format!(
                    "write only `{kept}`; the path of the request is forwarded as received"
                ));
            }
            Self::NoPort(host, port) => return Some(format!("write `{host}:{port}`")),
            Self::OnlyPort(port) => {
                return Some(format!("write `:{port}` for every address, or `127.0.0.1:{port}`"));
            }
            Self::Socket(_) => "like `0.0.0.0:8080`, `127.0.0.1:8080`, `[::]:8080` or `:8080`",
            Self::Endpoint(_) => "like `http://127.0.0.1:8000` or `auth:8000`",
        };
        Some(text.to_owned())
    }

    fn rule(&self) -> Option<&'static str> {
        Some(match self {
            Self::Listener(..) | Self::OnlyPort(_) | Self::Socket(_) => {
                "write an address and a port, like `0.0.0.0:8080` or `:8080`"
            }
            Self::SocketPath(_) => "write an absolute path, like `unix:/run/weir/http.sock`",
            Self::Inherited(_) => "write the name of a socket, like `fd:web`",
            Self::Scheme(..)
            | Self::Unix(..)
            | Self::Path(..)
            | Self::NoPort(..)
            | Self::Endpoint(_) => {
                "write a host and a port, like `http://127.0.0.1:8000` or `auth:8000`"
            }
        })
    }
}

/// Returns true if the address of a listener is a port alone: every address of both families.
#[must_use]
pub fn is_port_alone(text: &str) -> bool {
    text.starts_with(':')
}

/// Longest path of a Unix socket, without the byte that ends it (`unix(7)`).
const SOCKET_PATH: usize = 107;
/// Longest name of an inherited socket (`sd_listen_fds(3)`).
const SOCKET_NAME: usize = 255;

/// Parses the address of a listener: `host:port`, `unix:/path` or `fd:NAME`.
///
/// # Errors
/// When it is something else.
pub fn listen(text: &str) -> Result<ListenAddress, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path)
            .map(ListenAddress::Unix)
            .ok_or_else(|| AddressError::SocketPath(text.to_owned()));
    }
    let Some(name) = text.strip_prefix("fd:") else {
        return listener(text).map(ListenAddress::Tcp);
    };
    let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.is_empty() || name.len() > SOCKET_NAME || !name.bytes().all(is_name) {
        return Err(AddressError::Inherited(text.to_owned()));
    }
    Ok(ListenAddress::Inherited(name.into()))
}

/// Path of a Unix socket, if it can be one.
fn socket_path(text: &str) -> Option<Arc<Path>> {
    // Relative ones would lead elsewhere from another working directory.
    let fits = text.starts_with('/') && !text.ends_with('/') && text.len() <= SOCKET_PATH;
    (fits && !text.contains('\0')).then(|| Path::new(text).into())
}

/// Parses `host:port` to listen on. No host means every IPv4 address, and by [`is_port_alone`]
/// every IPv6 one too; port 0 is any free one.
///
/// # Errors
/// When it is something else.
pub fn listener(text: &str) -> Result<SocketAddr, AddressError> {
    for (prefix, kind) in [("unix:", "unix sockets"), ("fd:", "inherited sockets")] {
        if text.starts_with(prefix) {
            return Err(AddressError::Listener(text.to_owned(), kind));
        }
    }
    // A port alone does not say whether other machines may connect.
    if text.parse::<u16>().is_ok() {
        return Err(AddressError::OnlyPort(text.to_owned()));
    }
    let wrong = || AddressError::Socket(text.to_owned());
    match text.rsplit_once(':') {
        // Names are not resolved: a listener must not depend on a name server.
        Some((host @ ("" | "localhost"), port)) => {
            let address = if host.is_empty() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
            Ok((address, port.parse().map_err(|_| wrong())?).into())
        }
        _ => text.parse().map_err(|_| wrong()),
    }
}

/// Parses `http://host:port`, `https://host:port` or `host:port`, or `unix:/path`; behind a scheme
/// the port is optional and defaults to 80 or 443.
///
/// # Errors
/// When it is something else.
pub fn endpoint(text: &str) -> Result<Endpoint, AddressError> {
    let (scheme, authority) = text.split_once("://").unwrap_or(("", text));
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path)
            .map(Endpoint::on_socket)
            .ok_or_else(|| AddressError::SocketPath(text.to_owned()));
    }
    // nginx writes `http://unix:/run/app.sock`, also with a colon behind the path.
    if authority.starts_with("unix:/") {
        // With a path of the request behind a second colon, as nginx has it.
        let path = authority["unix:".len()..].split(':').next().unwrap_or_default();
        return Err(AddressError::Unix(text.to_owned(), format!("unix:{path}")));
    }
    match scheme.to_ascii_lowercase().as_str() {
        "" | "http" | "https" => {}
        _ => return Err(AddressError::Scheme(text.to_owned(), "this scheme")),
    }
    if let Some(end) = authority.find(['/', '?', '#']) {
        let kept = text[..text.len() - authority.len() + end].to_owned();
        return Err(AddressError::Path(text.to_owned(), kept));
    }
    let tls = scheme.eq_ignore_ascii_case("https");
    let wrong = || AddressError::Endpoint(text.to_owned());
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            (host, port.strip_prefix(':').or(none(port)))
        }
        Some(_) => return Err(wrong()),
        // The first colon: an IPv6 address without brackets has more, and is refused as a port.
        None => {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        }
    };
    if bracketed.is_none() && !is_host(host) {
        return Err(wrong());
    }
    let port = match port {
        Some("") | None if scheme.is_empty() => {
            return Err(AddressError::NoPort(authority.to_owned(), 8000));
        }
        Some("") | None => {
            if tls {
                443
            } else {
                80
            }
        }
        // Port 0 means any free port, to which no one can connect.
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
    };
    Ok(Endpoint { tls, ..Endpoint::at(host.to_owned(), port) })
}

/// Text behind a bracket that is not a port is passed on, and refused later.
fn none(rest: &str) -> Option<&str> {
    Some(rest).filter(|rest| !rest.is_empty())
}

/// Returns true if a text is the name of a host.
#[must_use]
pub fn is_host(host: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use crate::{config::resolve::address::*, runtime::hint::one_line};

    #[test]
    fn listeners_are_addresses_with_a_port() {
        let of = |text| {
            listen(text).map(|address| address.to_string()).map_err(|error| one_line(&error))
        };
        assert_eq!(of(":8080").as_deref(), Ok("0.0.0.0:8080"));
        assert_eq!(of("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(of("localhost:80").as_deref(), Ok("127.0.0.1:80"));
        assert_eq!(of("[::]:8080").as_deref(), Ok("[::]:8080"));
        assert!(of("8080").is_err_and(|error| error.contains("write `:8080`")));
        assert_eq!(of("unix:/run/x").as_deref(), Ok("unix:/run/x"));
        assert_eq!(of("fd:web").as_deref(), Ok("fd:web"));
        let long = format!("unix:/{}", "x".repeat(107));
        for text in ["unix:", "unix:x", "unix:/run/", "unix:/a\0b", &*long, "fd:", "fd:a:b"] {
            assert!(of(text).is_err(), "{text}");
        }
        assert!(listener("unix:/run/x").is_err() && listener("fd:web").is_err());
        assert!(of("example.com:80").is_err_and(|error| error.contains("not an IP address")));
        assert!(of(":65536").is_err());
        assert!(of("").is_err());
    }

    #[test]
    fn endpoints_are_hosts_with_a_port() {
        let of = |text| {
            endpoint(text).map(|endpoint| endpoint.to_string()).map_err(|error| one_line(&error))
        };
        assert_eq!(of("http://auth:8000").as_deref(), Ok("auth:8000"));
        assert_eq!(of("auth:8000").as_deref(), Ok("auth:8000"));
        assert_eq!(of("HTTP://auth").as_deref(), Ok("auth:80"));
        assert_eq!(of("[::1]:80").as_deref(), Ok("[::1]:80"));
        assert_eq!(of("http://[::1]").as_deref(), Ok("[::1]:80"));
        assert!(of("auth").is_err_and(|error| error.contains("write `auth:8000`")));
        assert!(of("http://a:80/x").is_err_and(|error| error.contains("write only `http://a:80`")));
        assert_eq!(of("https://a").as_deref(), Ok("a:443"));
        assert_eq!(of("unix:/run/app.sock").as_deref(), Ok("unix:/run/app.sock"));
        for text in ["http://unix:/run/app.sock", "http://unix:/run/app.sock:/"] {
            assert!(of(text).is_err_and(|error| error.contains("write `unix:/run/app.sock`")));
        }
        assert!(
            of("ftp://a").is_err_and(|error| error.contains("this scheme is not supported yet"))
        );
        for text in [
            "",
            "http://",
            "user@a:80",
            "a:0",
            "a:65536",
            "a:b",
            "[::1]x",
            "[a]:80",
            "a b:80",
            "::1:80",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
