//! Action of a route: its upstream, or a response of weir's own.

use std::path::Path;

use bytes::Bytes;
use http::StatusCode;

use super::{
    address, collector::Collector, edits, files, location::Location, names::Names, upstream::inline,
};
use crate::{
    config::{
        nearest,
        schema::{RedirectSpec, RespondSpec, RouteSpec},
        small_file,
    },
    proxy::{
        action::{Action, Redirect, Respond},
        header_edits::{Edits, Message, Template},
        reject::CLOSE,
    },
    runtime::hint::{HintedError, hinted},
    upstream::settings::UpstreamSettings,
};

/// Keys that are actions, in the order of their description.
const ACTIONS: [&str; 5] = ["upstream", "redirect", "respond", "files", "close"];

/// Statuses of redirects.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Resolves the action of a route.
pub fn action(
    judge: &mut Collector<'_>,
    names: &mut Names<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
) -> Action<usize> {
    let is_there = |key: &&str| spot.has(key) && (*key != "close" || route.close);
    let mut written = ACTIONS.into_iter().filter(is_there);
    let first = written.next();
    if let Some((first, other)) = first.zip(written.next()) {
        let message = format!("both `{first}` and `{other}`");
        judge.refuse(spot.name(other), hinted(message, "a route has one action: keep one of them"));
    }
    let resolved = match (first, route) {
        (Some("upstream"), RouteSpec { upstream: Some(text), .. }) => {
            Some(Action::Forward(upstream(judge, names, spot.key("upstream"), text)))
        }
        (Some("redirect"), RouteSpec { redirect: Some(written), .. }) => {
            redirect(judge, spot.key("redirect"), written).map(Action::Redirect)
        }
        (Some("respond"), RouteSpec { respond: Some(written), .. }) => {
            Some(Action::Respond(respond(judge, spot.key("respond"), written)))
        }
        (Some("files"), RouteSpec { files: Some(written), .. }) => {
            Some(Action::Files(files::files(judge, spot.key("files"), written)))
        }
        (Some("close"), _) => Some(Action::Close),
        // A key whose value was removed has been reported.
        (Some(_), _) => None,
        (None, _) => {
            let hint = "add it, like `upstream: http://127.0.0.1:8000`, or another action: \
                `redirect`, `respond`, `files`, `close`";
            judge.refuse_at(spot.first(), hinted("an entry of `routes` has no `upstream`", hint));
            None
        }
    };
    // A stand-in: after an error no configuration is used.
    resolved.unwrap_or(Action::Close)
}

fn redirect(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &RedirectSpec,
) -> Option<Redirect> {
    if !REDIRECTS.contains(&written.status) {
        let message = format!("`{}` is not a redirect", written.status);
        judge.refuse(spot.key("status"), hinted(message, "use 301, 302, 303, 307 or 308"));
    }
    let to = judge.take(spot.key("to"), target(&written.to))?;
    let status = StatusCode::from_u16(written.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    Some(Redirect { status, to })
}

/// Parses the place of a redirect. A path at its beginning would let a client choose the host:
/// browsers take `//other.test/` for a URL without a scheme.
fn target(text: &str) -> Result<Template, HintedError> {
    let scheme = ["http://", "https://", "{scheme}://"];
    let host = scheme.iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/{");
    // Without a host of its own the URL would take one from the path: `https://{path}`.
    let is_host = |rest: &str| {
        let begins = rest.chars().next().is_some_and(|letter| letter.is_ascii_alphanumeric());
        begins || rest.starts_with("{host}") || rest.starts_with('[')
    };
    if !is_path && !host.is_some_and(is_host) {
        let hint =
            "begin with `https://` and a host, or with `/`, like `https://{host}{path}{query}`";
        return Err(hinted(format!("`{text}` is not a place to redirect to"), hint));
    }
    edits::template("location", text)
}

fn respond(judge: &mut Collector<'_>, spot: Location<'_>, written: &RespondSpec) -> Respond {
    if written.status == CLOSE {
        let hint = "write `close: true` in place of `respond`";
        judge.refuse(spot.key("status"), hinted("444 closes the connection in nginx", hint));
    }
    let status = StatusCode::from_u16(written.status).unwrap_or(StatusCode::OK);
    if written.body.is_some() && written.body_file.is_some() {
        let hint = "keep one of them";
        judge.refuse(spot.name("body_file"), hinted("both `body` and `body_file`", hint));
    }
    let body = match (&written.body, &written.body_file) {
        (_, Some(path)) => {
            let body = small_file::read(Path::new(path)).map_err(|error| {
                let hint = "name a readable file of at most 1 MiB; a relative path starts at the \
                    working directory";
                hinted(error, hint)
            });
            judge.take(spot.key("body_file"), body).unwrap_or_default().into()
        }
        (Some(text), None) => Bytes::from(text.clone()),
        (None, None) => Bytes::new(),
    };
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    if bodiless.contains(&status) && !body.is_empty() {
        let message = format!("a response of {} has no body", status.as_u16());
        judge.refuse(spot.key("status"), hinted(message, "remove the body, or use 200"));
    }
    let headers =
        edits::set_in(judge, spot.key("headers"), &written.headers, &[], Message::Response);
    let described =
        body.is_empty() || headers.iter().any(|(name, _)| name == http::header::CONTENT_TYPE);
    let media = Template::parse(media_of(written.body_file.as_deref())).ok().filter(|_| !described);
    let media = media.map(|media| (http::header::CONTENT_TYPE, media));
    Respond {
        status,
        body,
        headers: Edits::new(Vec::new(), media.into_iter().chain(headers).collect()),
    }
}

/// Content type of a body by the name of its file.
fn media_of(file: Option<&str>) -> &'static str {
    match file.and_then(|file| Path::new(file).extension()).and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// Upstream of a route: a name, or an endpoint instead.
pub fn upstream(
    judge: &mut Collector<'_>,
    names: &mut Names<'_>,
    spot: Location<'_>,
    text: &str,
) -> usize {
    let position = |upstreams: &[UpstreamSettings], name: &str| {
        upstreams.iter().position(|one| &*one.name == name)
    };
    if text.contains("://") || text.starts_with("unix:") {
        // Index 0 is a stand-in: after an error no configuration is used.
        let Some(endpoint) = judge.take(spot, address::endpoint(text)) else { return 0 };
        // Names have no colon, so no declared upstream has this one.
        let name = if endpoint.tls { format!("https://{endpoint}") } else { endpoint.to_string() };
        // Routes that name the same address share one upstream, with its pool and its health.
        return position(&names.upstreams, &name).unwrap_or_else(|| {
            names.upstreams.push(inline(&name, endpoint));
            names.upstreams.len() - 1
        });
    }
    if let Some(found) = names.file.upstreams.keys().position(|name| name == text) {
        return found;
    }
    // A declared upstream with a wrong value has been reported at its own place.
    if !names.is_written("upstreams", text) {
        let known: Vec<&str> = names.file.upstreams.keys().map(String::as_str).collect();
        let hint = match address::endpoint(text) {
            Ok(endpoint) => format!("did you mean `http://{endpoint}`?"),
            Err(_) if known.is_empty() => {
                "declare it under `upstreams`, or write `http://host:port`".to_owned()
            }
            Err(_) => nearest::hint(text, &known),
        };
        judge.refuse(spot, hinted(format!("there is no upstream `{text}`"), hint));
    }
    0
}
