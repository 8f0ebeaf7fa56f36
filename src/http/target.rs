//! Target and host of a request, parsed without changing a byte of what is forwarded.
//!
//! Guarantee: an accepted request names exactly one host (RFC 9110, section 7.2; RFC 3986, section
//! 3.2.2) and one path that begins with `/`. Everything else is an error that the sender gets.

use std::{cell::RefCell, rc::Rc};

use http::{
    HeaderValue, Method, Version,
    uri::{Authority, PathAndQuery},
};

use super::{known_name::KnownName, message::RequestParts};
use crate::{
    http::error::{Error, Kind},
    limit::normal_form,
};

/// Longest accepted request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// Destination of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host with its port as received, forwarded as `Host`.
    pub authority: HeaderValue,
    /// Host alone in its normal form, for routes, keys and logs. Empty if an HTTP/1.0 request names
    /// none.
    pub host: Rc<str>,
    /// Path and query as received.
    pub path_and_query: PathAndQuery,
}

/// Authority as it is forwarded, and its host alone.
type Resolved = (HeaderValue, Rc<str>);

/// Last host requested on a connection: nearly always the next request has the same. Where there is
/// none yet, that of the last request on a new connection of the worker.
#[derive(Clone, Debug, Default)]
pub struct LastHost {
    own: RefCell<Option<Resolved>>,
    latest: LatestHost,
}

/// Last host that was new to a connection of the worker.
#[derive(Clone, Debug, Default)]
pub struct LatestHost(Rc<RefCell<Option<Resolved>>>);

impl LastHost {
    /// No host yet, on a connection of this worker.
    #[must_use]
    pub fn new(latest: &LatestHost) -> Self {
        Self { own: RefCell::default(), latest: latest.clone() }
    }

    /// Returns an authority as it is forwarded, and its host alone; none if it is not a host with
    /// an optional port.
    ///
    /// The result is a copy: a received value would keep its whole read buffer alive.
    fn resolve(&self, authority: &[u8]) -> Option<Resolved> {
        // Only a value that is equal byte for byte: the check of its host was made for these bytes.
        let same = |known: &RefCell<Option<Resolved>>| {
            known.borrow().as_ref().filter(|(value, _)| value.as_bytes() == authority).cloned()
        };
        let LatestHost(latest) = &self.latest;
        if let Some(known) = same(&self.own) {
            return Some(known);
        }
        if let Some(known) = same(latest) {
            self.own.replace(Some(known.clone()));
            return Some(known);
        }
        let host = normal_form::host(host_of(authority)?)?;
        let resolved = Some((HeaderValue::from_bytes(authority).ok()?, host.into()));
        self.own.replace(resolved.clone());
        latest.replace(resolved.clone());
        resolved
    }
}

impl Target {
    /// Parses the target and `Host` of a request.
    ///
    /// # Errors
    /// [`Kind::HttpRequestError`] for a target or host that is malformed or ambiguous,
    /// [`Kind::TargetTooLong`].
    pub fn of(head: &RequestParts, last: &LastHost) -> Result<Self, Error> {
        let RequestParts { method, uri, version, headers } = head;
        let malformed = |detail| Err(Error::new(Kind::HttpRequestError, detail));
        if *method == Method::CONNECT {
            return malformed("CONNECT is not served");
        }
        let Some(path_and_query) = uri.path_and_query() else {
            return malformed("the target has no path");
        };
        let path_and_query =
            with_path(path_and_query, uri.authority().is_some() && *version != Version::HTTP_2)?;
        if path_and_query.as_str().len() > MAX_TARGET {
            return Err(Error::new(Kind::TargetTooLong, "the target is longer than 8 KiB"));
        }
        // Before the check for `/`: it is the only target without one.
        let asterisk = path_and_query.as_str() == "*";
        if asterisk && *method != Method::OPTIONS {
            return malformed("`*` is a target of OPTIONS only");
        }
        if !asterisk && !path_and_query.as_str().starts_with('/') {
            return malformed("the target does not begin with `/`");
        }
        let mut hosts = headers.get_all(KnownName::Host);
        let host = hosts.next();
        // Also two equal ones: a server behind may take either line.
        if hosts.next().is_some() {
            return malformed("more than one Host");
        }
        // HTTP/1.1 requires the field (RFC 9112, section 3.2). HTTP/2 may have
        // `:authority` instead.
        let needed = *version == Version::HTTP_11
            || (*version == Version::HTTP_2 && uri.authority().is_none());
        if host.is_none() && needed {
            return malformed("no Host");
        }
        // HTTP/2 has its own authority, and a second one must not differ (RFC 9113, section 8.3.1).
        let differs =
            |authority: &Authority| host.is_some_and(|host| host != authority.as_str().as_bytes());
        if *version == Version::HTTP_2 && uri.authority().is_some_and(differs) {
            return malformed("Host and `:authority` differ");
        }
        // HTTP/1.0, and HTTP/2 with an authority, do not need the field.
        let default_authority = || Some((HeaderValue::from_static(""), Rc::default()));
        let Some(mut named) = host.map_or_else(default_authority, |host| last.resolve(host)) else {
            return malformed("Host is not a host and a port");
        };
        // In absolute form the target takes precedence over the field (RFC 9112, section 3.2.2).
        if let Some(target) = uri.authority() {
            match last.resolve(target.as_str().as_bytes()) {
                Some(target) => named = target,
                None => return malformed("the target's authority is not a host and a port"),
            }
        }
        let (authority, host) = named;
        Ok(Self { authority, host, path_and_query })
    }
}

/// Path and query; an absolute target may leave out the path, which is `/` then (RFC 9112, section
/// 3.2.1).
fn with_path(path_and_query: &PathAndQuery, absolute: bool) -> Result<PathAndQuery, Error> {
    if !absolute || !path_and_query.as_str().starts_with('?') {
        return Ok(path_and_query.clone());
    }
    PathAndQuery::try_from(format!("/{}", path_and_query.as_str())).map_err(|cause| {
        Error::caused(Kind::HttpRequestError, "the target has no path that can be read", cause)
    })
}

/// Returns true if a text can be forwarded as `Host`.
#[must_use]
pub fn is_authority(text: &str) -> bool {
    host_of(text.as_bytes()).is_some_and(|host| normal_form::host(host).is_some())
}

/// Host of a `host[:port]`; none for any other text: no user, path, list, space, or percent sign,
/// which would be another spelling of the same host.
fn host_of(authority: &[u8]) -> Option<&str> {
    let authority = str::from_utf8(authority).ok()?;
    // Brackets, because the colons of an IPv6 address would be taken for that of the port.
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (&authority[..address.len() + 2], port)
        }
        None => {
            let colon = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(colon);
            // Without a percent sign: each encoded byte would be another spelling of one host.
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
            if host.is_empty() || !host.bytes().all(allowed) {
                return None;
            }
            (host, port)
        }
    };
    let digits = port.strip_prefix(':').or(port.is_empty().then_some(""))?;
    let port_fits = digits.is_empty()
        // `parse` would accept a plus sign.
        || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok());
    port_fits.then_some(host)
}

#[cfg(test)]
mod tests {
    use http::{Request, header};

    use crate::http::target::*;

    #[test]
    fn connections_share_the_latest_host_and_keep_their_own() {
        let latest = LatestHost::default();
        let [one, other] = [LastHost::new(&latest), LastHost::new(&latest)];
        let host = |last: &LastHost, authority: &str| {
            last.resolve(authority.as_bytes()).map(|(_, host)| host).expect("a host")
        };
        let first = host(&one, "A.test:80");
        assert!(&*first == "a.test" && Rc::ptr_eq(&first, &host(&other, "A.test:80")));
        assert_eq!(&*host(&other, "b.test"), "b.test");
        assert!(Rc::ptr_eq(&first, &host(&one, "A.test:80")), "its own stays");
        assert!(other.resolve(b"a b").is_none());
        assert_eq!(&*host(&other, "a.test:80"), "a.test", "another spelling is resolved anew");
    }

    fn target(method: &Method, uri: &str, hosts: &[&str]) -> Result<(String, String), String> {
        let request = hosts
            .iter()
            .fold(Request::builder(), |request, host| request.header(header::HOST, *host));
        let (head, ()) = request.method(method).uri(uri).body(()).expect("a request").into_parts();
        Target::of(&head.into(), &LastHost::default())
            .map(|target| (target.host.to_string(), target.path_and_query.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn host_is_in_its_normal_form_and_the_path_untouched() {
        let ok = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
        assert_eq!(
            target(&Method::GET, "/a//%2e?x=%20", &["A.Test:8080"]),
            ok("a.test", "/a//%2e?x=%20")
        );
        assert_eq!(target(&Method::GET, "/", &["A.test."]), ok("a.test", "/"));
        assert_eq!(target(&Method::GET, "/", &["a.test.:80"]), ok("a.test", "/"));
        assert_eq!(target(&Method::GET, "http://A.test./x/../p", &["b"]), ok("a.test", "/x/../p"));
        assert_eq!(target(&Method::GET, "/", &["[::1]:80"]), ok("[::1]", "/"));
        assert_eq!(target(&Method::GET, "/", &["[0:0::1]"]), ok("[::1]", "/"));
        assert_eq!(target(&Method::GET, "http://b.test/p", &["a.test"]), ok("b.test", "/p"));
        assert_eq!(target(&Method::OPTIONS, "*", &["a.test"]), ok("a.test", "*"));
        for (uri, path) in
            [("http://b.test", "/"), ("http://b.test?", "/?"), ("http://b.test?x=1&y", "/?x=1&y")]
        {
            assert_eq!(target(&Method::GET, uri, &["a.test"]), ok("b.test", path), "{uri}");
        }
    }

    #[test]
    fn connection_may_request_another_host_every_time() {
        let last = LastHost::default();
        for host in ["a.test", "A.test:80", "a.test", "b.test"] {
            let request =
                Request::builder().uri("/").header(header::HOST, host).body(()).expect("a request");
            let target = Target::of(&request.into_parts().0.into(), &last).expect("a target");
            let bare = host.to_lowercase().replace(":80", "");
            assert_eq!((target.authority.as_bytes(), &*target.host), (host.as_bytes(), &*bare));
        }
    }

    #[test]
    fn target_ambiguous_is_refused() {
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a,b"],
            &["a b"],
            &["u@a"],
            &["a/b"],
            &["a:x"],
            &["a:99999"],
            &["[::1"],
            &["a:1:2"],
            &["."],
            &["a.."],
            &["a..b"],
        ] {
            assert!(target(&Method::GET, "/", hosts).is_err(), "{hosts:?}");
        }
        assert!(target(&Method::CONNECT, "a.test:443", &["a.test"]).is_err());
        assert!(target(&Method::GET, "*", &["a.test"]).is_err());
        let long = format!("/{}", "x".repeat(MAX_TARGET));
        assert_eq!(
            target(&Method::GET, &long, &["a"]),
            Err("the target is longer than 8 KiB".to_owned())
        );
    }
}
