//! Service that judges the requests of a route.

use http::{HeaderName, HeaderValue, header, uri::PathAndQuery};

use super::{action::upstream, collector::Collector, edits, location::Location, names::Names};
use crate::{
    config::schema::{AuthSpec, RouteSpec},
    proxy::{forward_auth::ForwardAuthSettings, header_edits::Message},
    runtime::hint::{HintedError, hinted},
    upstream::settings::UpstreamSettings,
};

/// Place of the service, as written.
struct Asked<'a> {
    /// Upstream, or address of one.
    upstream: &'a str,
    target: &'a str,
    /// Keys they are written in.
    keys: (&'static str, &'static str),
}

/// Resolves the service of a route.
pub fn service(
    judge: &mut Collector<'_>,
    names: &mut Names<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
) -> Option<ForwardAuthSettings> {
    let written = route.auth.as_ref()?;
    if route.basic_auth.is_some() {
        let hint = "keep one: let the service ask for the password, or remove `auth`";
        judge.refuse(spot.name("auth"), hinted("both `basic_auth` and `auth`", hint));
    }
    let spot = spot.key("auth");
    let asked = asked(judge, spot, written)?;
    let index = upstream(judge, names, spot.key(asked.keys.0), asked.upstream);
    let target = judge.take(spot.key(asked.keys.1), path(asked.target));
    Some(ForwardAuthSettings {
        upstream: index,
        target: target.unwrap_or(PathAndQuery::from_static("/")),
        host: names.upstreams.get(index).map_or(HeaderValue::from_static(""), host),
        pass: fields(judge, spot.key("pass"), &written.pass, Message::Request),
        credentials: fields(judge, spot.key("credentials"), &written.credentials, Message::Request),
        cache: judge.duration(spot.key("cache"), &written.cache),
    })
}

fn asked<'a>(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &'a AuthSpec,
) -> Option<Asked<'a>> {
    let error = match (&written.url, &written.upstream, &written.path) {
        (Some(url), None, None) => match split(url) {
            Some((upstream, target)) => {
                return Some(Asked { upstream, target, keys: ("url", "url") });
            }
            None => {
                let hint = "write `http://host:port/path`; for a declared upstream use `upstream` \
                    and `path`";
                judge.refuse(spot.key("url"), hinted(format!("`{url}` is not a URL"), hint));
                return None;
            }
        },
        (None, Some(upstream), Some(target)) => {
            return Some(Asked { upstream, target, keys: ("upstream", "path") });
        }
        (None, None, None) => "no service to ask",
        (None, ..) => "`upstream` and `path` belong together",
        (Some(_), ..) => "both `url` and `upstream` or `path`",
    };
    let hint = "write `url: \"http://host:port/path\"`, or `upstream` and `path`";
    judge.refuse(spot, hinted(error, hint));
    None
}

/// Splits a URL into the address of its server, and its path with the query.
fn split(url: &str) -> Option<(&str, &str)> {
    let authority = url.find("://").map(|end| end + "://".len())?;
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |end| authority + end);
    let target = if end == url.len() { "/" } else { &url[end..] };
    Some((&url[..end], target))
}

fn path(text: &str) -> Result<PathAndQuery, HintedError> {
    // The parser also accepts a text that it changes.
    let path = text.parse::<PathAndQuery>().ok();
    let path = path.filter(|path| path.as_str() == text && text.starts_with('/'));
    path.ok_or_else(|| {
        hinted(format!("`{text}` cannot be requested"), "write a path, like `/verify`")
    })
}

/// `Host` of the question: the name in the certificates of the service, or its first endpoint.
fn host(upstream: &UpstreamSettings) -> HeaderValue {
    let of_tls = upstream.secure.as_ref().and_then(|secure| secure.server_name.clone());
    let endpoint = upstream.endpoints.first().map(|endpoint| {
        let is_usual = endpoint.port == if endpoint.tls { 443 } else { 80 };
        let text = endpoint.authority();
        match text.rsplit_once(':') {
            Some((host, _)) if is_usual => host.to_owned(),
            _ => text,
        }
    });
    // A host that was parsed is a valid value, and an upstream without endpoints was reported.
    let text = of_tls.or(endpoint).unwrap_or_default();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Names of fields about a user.
fn fields(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    texts: &[String],
    message: Message,
) -> Vec<HeaderName> {
    edits::listed(judge, spot, texts, message, |name| {
        let hint = "name the fields that say who it is";
        (*name == header::HOST).then(|| hinted("`host` is not a field of a user", hint))
    })
}
