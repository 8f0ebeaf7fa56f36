//! Forward authentication: a service judges each request of a route before it is forwarded.
//!
//! Guarantees: a request passes only with a 2xx of the service, which it may have given to the same
//! question within `cache`. Fields that the service sets never cross from a client, in no spelling
//! that a server may take for theirs. The service is asked behind the limits, and before the body is
//! read or asked for.

use std::{cell::RefCell, future::poll_fn, net::IpAddr, pin::Pin, rc::Rc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use http_body::Body;
use tokio::time::{Instant, timeout};

use super::{
    asking::{Asking, identity},
    context::RequestContext,
    refusal::Refusal,
    reply,
    verified_fields::VerifiedFields,
};
use crate::{
    access::{
        expiring_map::ExpiringMap,
        keyed_digest::{Digest, DigestKey, NoRandomness},
    },
    downstream::upload::RequestBody,
    http::{
        error::{Error, Kind},
        fields::{self, alike, hides_counted, is_grpc, looks_counted},
        forwarded::{Fields, ForwardedFields, Outbound},
        header_list::{FieldLine, HeaderList},
        known_name::KnownName,
        message::{RequestParts, Response},
    },
    log::{
        entry::{AuthStory, UpstreamStory},
        record::Record,
    },
    runtime::io::Progress,
    upstream::{Upstream, body::UpstreamBody, pool::Caller},
};

/// Verdicts that a worker remembers.
pub const REMEMBERED: usize = 4_096;
/// Most bytes of the fields of a verdict that is remembered.
pub const VERDICT_BYTES: usize = 2_048;
/// Bytes of the body of a verdict that are read to keep its connection.
const DRAIN_BYTES: usize = 64 * 1024;
/// Time limit for that.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Response of the service, or of an upstream.
type UpstreamResponse = Response<Box<UpstreamBody<RequestBody>>>;

/// Settings of a route whose requests a service judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuthSettings {
    /// Index of its upstream in `Config::upstreams`.
    pub upstream: usize,
    /// Path and query that are requested.
    pub target: PathAndQuery,
    /// `Host` of the question.
    pub host: HeaderValue,
    /// Fields of a verdict that are forwarded; the first one names the user.
    pub pass: Vec<HeaderName>,
    /// Fields of a request that identify its sender.
    pub credentials: Vec<HeaderName>,
    /// Time for which a verdict is remembered; zero for never.
    pub cache: Duration,
}

/// Remembered verdicts of one worker.
pub struct VerdictMemory {
    key: DigestKey,
    passed: RefCell<ExpiringMap<Rc<VerifiedFields>>>,
}

/// Service that judges the requests of one route.
pub struct ForwardAuth {
    settings: ForwardAuthSettings,
    upstream: Rc<Upstream<RequestBody>>,
    memory: Rc<VerdictMemory>,
    /// Number of the route, since another route may pass other fields.
    route: usize,
}

/// Verdict of the service.
pub enum Verdict {
    /// The request passes, with these fields.
    Passed(Rc<VerifiedFields>),
    /// The response of the service goes back to the client.
    Refused(UpstreamResponse),
}

impl VerdictMemory {
    /// Creates a memory of nothing.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, NoRandomness> {
        let passed = RefCell::new(ExpiringMap::with_room(REMEMBERED));
        Ok(Self { key: DigestKey::random()?, passed })
    }
}

impl ForwardAuth {
    /// Service of the route of this number.
    #[must_use]
    pub fn new(
        settings: &ForwardAuthSettings,
        upstream: &Rc<Upstream<RequestBody>>,
        memory: &Rc<VerdictMemory>,
        route: usize,
    ) -> Self {
        let (upstream, memory) = (Rc::clone(upstream), Rc::clone(memory));
        Self { settings: settings.clone(), upstream, memory, route }
    }

    /// Returns true if both ask the same, and let the same requests pass.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// User that a verdict names.
    fn user(&self, verified: &VerifiedFields) -> Option<Box<str>> {
        verified.text(self.settings.pass.first()?)
    }

    /// Names of the fields that only the service sets.
    #[must_use]
    pub fn passes(&self) -> &[HeaderName] {
        &self.settings.pass
    }

    /// Removes the fields that only the service sets from those of a client.
    pub fn strip(&self, headers: &mut HeaderList) {
        let pass = &self.settings.pass;
        headers.retain(|_, field| {
            !pass.iter().any(|name| alike(field.name, name.as_str().as_bytes()))
        });
    }

    /// Asks the service about a request.
    ///
    /// # Errors
    /// When the request can be read in two ways, or there is no verdict.
    pub async fn judge(
        &self,
        head: &RequestParts,
        asking: &Asking<'_>,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Verdict, Refusal> {
        self.check(&head.headers)?;
        let question = self.question(head, asking, visit, record);
        let key = self.cache_key(&head.headers, &question);
        let story = record.entry.auth.insert(Box::default());
        if let Some(fields) = key.as_ref().and_then(|key| self.remembered(key)) {
            story.is_cached = true;
            story.user = self.user(&fields);
            return Ok(Verdict::Passed(fields));
        }
        let response = self.ask(question, asking.client, story).await?;
        let (status, fields) = (response.head.status, &response.head.headers);
        if status.is_success() {
            let verified = Rc::new(VerifiedFields::of(&self.settings.pass, fields));
            story.user = self.user(&verified);
            if let Some(key) = key.filter(|_| may_be_remembered(fields, &verified)) {
                self.remember(key, &verified);
            }
            discard(response.body);
            return Ok(Verdict::Passed(verified));
        }
        let retries =
            status == StatusCode::SERVICE_UNAVAILABLE && fields.contains(KnownName::RetryAfter);
        if status.is_redirection() || status.is_client_error() || retries {
            return refused(response, visit, &head.headers);
        }
        discard(response.body);
        let detail = "the authentication service gave no verdict";
        Err(Error::new(Kind::HttpProtocolError, detail).into())
    }

    /// Refuses credentials that the upstream may read in another way than the service.
    fn check(&self, headers: &HeaderList) -> Result<(), Error> {
        let credentials = &self.settings.credentials;
        let flaw = if looks_counted(headers, credentials) {
            "a header's name resembles one with credentials"
        } else if hides_counted(headers, credentials) {
            "`Connection` names a header with credentials"
        } else if headers.get_all(KnownName::Authorization).nth(1).is_some() {
            "more than one `Authorization`"
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::HttpRequestError, flaw))
    }

    /// Header fields of the question: everything that the service may judge by.
    fn question(
        &self,
        head: &RequestParts,
        asking: &Asking<'_>,
        visit: &RequestContext<'_>,
        record: &Record,
    ) -> HeaderList {
        let mut told = HeaderList::with_room();
        for field in head.headers.iter().filter(|field| self.tells(field)) {
            told.append_line(&field);
        }
        let identity = identity(head.version, asking, &self.settings.host, visit, &record.entry.id);
        let mut question = ForwardedFields::of(&told, &identity, None).to_list();
        // Those of the request, whatever a trusted proxy made of them.
        let part = |name| question.get(name).unwrap_or_default();
        let (scheme, host) = (part(KnownName::XForwardedProto), part(KnownName::XForwardedHost));
        let path = asking.target.path_and_query.as_str().as_bytes();
        // Only a request of HTTP/1.0 names no host: there is no URL.
        let url = if host.is_empty() { Vec::new() } else { [scheme, b"://", host, path].concat() };
        question.set(KnownName::Host, &self.settings.host);
        for (name, value) in [
            ("x-forwarded-method", head.method.as_str().as_bytes()),
            ("x-forwarded-uri", path),
            ("x-original-method", head.method.as_str().as_bytes()),
            ("x-original-uri", path),
            ("x-original-url", &url),
        ] {
            // A target and a host that were accepted are valid values.
            if let Ok(value) = HeaderValue::from_bytes(value)
                && !value.is_empty()
            {
                question.set_any(&HeaderName::from_static(name), &value);
            }
        }
        question
    }

    /// Returns true if the service gets this field of a request.
    fn tells(&self, field: &FieldLine<'_>) -> bool {
        let is_context = matches!(
            field.known,
            Some(
                KnownName::Accept
                    | KnownName::UserAgent
                    | KnownName::Via
                    | KnownName::XForwardedFor
                    | KnownName::XForwardedHost
                    | KnownName::XForwardedProto
            )
        );
        is_context
            || field.name.eq_ignore_ascii_case(b"x-requested-with")
            || self.is_credential(field)
    }

    fn is_credential(&self, field: &FieldLine<'_>) -> bool {
        let credentials = &self.settings.credentials;
        credentials.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_str().as_bytes()))
    }

    /// Key of a question for the memory; none if its verdict is not remembered.
    fn cache_key(&self, headers: &HeaderList, question: &HeaderList) -> Option<Digest> {
        let is_wanted = !self.settings.cache.is_zero();
        if !is_wanted || !headers.iter().any(|field| self.is_credential(&field)) {
            return None;
        }
        // The whole question but the number of the request: a verdict is never that of another one.
        let mut told = Vec::new();
        question.write_each(&mut told, |_, field| field.known != Some(KnownName::XRequestId));
        let parts =
            [&self.route.to_le_bytes()[..], self.settings.target.as_str().as_bytes(), &told];
        Some(self.memory.key.digest(&parts))
    }

    fn remembered(&self, key: &Digest) -> Option<Rc<VerifiedFields>> {
        self.memory.passed.borrow().get(key, Instant::now()).cloned()
    }

    fn remember(&self, key: Digest, fields: &Rc<VerifiedFields>) {
        let now = Instant::now();
        let until = now + self.settings.cache;
        self.memory.passed.borrow_mut().insert(key, Rc::clone(fields), until, now);
    }

    async fn ask(
        &self,
        question: HeaderList,
        client: IpAddr,
        story: &mut AuthStory,
    ) -> Result<UpstreamResponse, Error> {
        let outbound = Outbound {
            method: &Method::GET,
            target: &self.settings.target,
            fields: Fields::Edited(question),
        };
        let story = story.service.insert(UpstreamStory::of(&self.upstream.settings().name));
        // Never the connection that the client has authenticated: that is one to its upstream.
        let caller =
            Caller { address: client, port: 0, is_secure: false, sticky: None, private: None };
        let (mut body, progress) = (RequestBody::default(), Progress::default());
        let asked = self.upstream.ask(&outbound, &mut body, caller, &progress, story).await;
        asked.map_err(|error| {
            let detail = "the authentication service did not respond";
            Error::caused(error.kind(), detail, error)
        })
    }
}

/// Returns true if a verdict may be given again without the service.
fn may_be_remembered(fields: &HeaderList, verified: &VerifiedFields) -> bool {
    let forbids = |directive: &[u8]| {
        ["no-store", "no-cache"].iter().any(|it| directive.eq_ignore_ascii_case(it.as_bytes()))
    };
    let mut directives = fields.get_all(KnownName::CacheControl).flat_map(fields::tokens);
    !directives.any(forbids)
        && fields.values("set-cookie").next().is_none()
        && verified.bytes() <= VERDICT_BYTES
}

/// Refusal of the service, as it goes back.
fn refused(
    response: UpstreamResponse,
    visit: &RequestContext<'_>,
    asked_with: &HeaderList,
) -> Result<Verdict, Refusal> {
    // A client of gRPC reads a status in a field, and follows no redirect.
    if visit.line.conn.is_some() || !is_grpc(asked_with) {
        return Ok(Verdict::Refused(response));
    }
    let status = response.head.status;
    let status = if status.is_redirection() { StatusCode::UNAUTHORIZED } else { status };
    let mut own = reply::empty(status);
    if let Some(time) = response.head.headers.get(KnownName::RetryAfter) {
        own.head.headers.set_valid(KnownName::RetryAfter, time);
    }
    discard(response.body);
    Err(Refusal::Verdict(Box::new(own)))
}

/// Reads the rest of a body, so that its connection can be used again.
fn discard(mut body: Box<UpstreamBody<RequestBody>>) {
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(timeout(DRAIN_TIME, async move {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) else {
                return;
            };
            left = rest;
        }
    }));
}
