//! Life of one request: client address, route, limits, forwarding, response, log record.

use std::{borrow::Cow, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    request::Parts,
};
use http_body::Body;
use http_body_util::{Either, Full};

use self::{
    header_edits::{EditContext, Edits},
    park::{Left, Parking, park},
    reply::RejectSettings,
    route::{NoRoute, PathMatching, Reading, RouteTable},
};
use crate::{
    compress::{self, EncodingPreference, body::Coded, negotiate::Coding, permits::EncoderPermits},
    downstream::{
        client_state::WaitingFor,
        collected_body::BodyMemory,
        drain::Drain,
        request_body::IncomingBody,
        request_channel::RequestChannel,
        tls::TlsInfo,
        tunnel::Tunnel,
        upload::{RequestBody, UploadState},
    },
    http::{
        error::{Error, Kind, Side},
        fields::{
            accepts_upgrade, address_value, has_looped, id_of, is_grpc, last_hop, looks_counted,
            prepare_response, upgrade_of, wants_trailers, write_upgrade,
        },
        forwarded::{Fields, ForwardedFields, Identity, Outbound},
        framing::field_list::Unfit,
        request_id::RequestIds,
        target::{LastHost, Target},
    },
    limit::{
        Decision, Gate, Judgement, Millis, Mode, Parked, Part, Queue, Reason, Rule, Subject,
        Verdict,
        client_ip::Trust,
        normal_form::{self, PathError},
    },
    log::{
        access::AccessLogger,
        entry::{LimitStory, UpstreamStory},
        gateway::Watch,
        record::{LoggedBody, Record},
    },
    runtime::{clock::Clock, coarse_timer::Deadline, io::Switched, release_timer::ReleaseTimer},
    upstream::{
        Upstream,
        body::UpstreamBody,
        pool::{Caller, Private},
        settings::{Protocol, UpstreamSettings},
    },
};

pub mod header_edits;
mod malformed;
pub mod park;
pub mod reply;
pub mod route;

/// Response body: weir's own, or an upstream's.
pub type ResponseBody = Either<Full<Bytes>, Coded<UpstreamBody<RequestBody>>>;

/// Route: destination of its requests, with limits and edits.
pub struct Route {
    /// Name in logs and keys.
    pub name: Arc<str>,
    /// Rules of the route.
    pub gate: Gate,
    /// Header fields that the rules count by.
    pub counted: Vec<HeaderName>,
    /// Upstream to forward to.
    pub upstream: Rc<Upstream<RequestBody>>,
    /// Form of rejects.
    pub reject: RejectSettings,
    /// Limit on the request body, in bytes.
    pub max_body: Option<u64>,
    /// Size up to which a body of unknown length is collected.
    pub buffer: usize,
    /// Edits of requests.
    pub request_edits: Edits,
    /// Edits of responses.
    pub response_edits: Edits,
    /// Offered response codings.
    pub compress: Vec<Coding>,
}

fn enforced(gate: &Gate) -> impl Iterator<Item = &Rule> {
    gate.rules().iter().filter(|rule| rule.settings().mode == Mode::Enforce)
}

/// Header fields by which the enforced rules of a gate count.
#[must_use]
pub fn counted_by(gate: &Gate) -> Vec<HeaderName> {
    let parts = enforced(gate).flat_map(|rule| &rule.zone().settings().key.parts);
    let fields = parts
        .filter_map(|part| if let Part::Header(name) = part { Some(name.clone()) } else { None });
    fields.collect()
}

/// Returns true if each enforced rule of `other` also counts a request that takes `chosen`: by the
/// same zone, in the same bucket, and with no larger burst. A key with the path uses the same
/// bucket only if the paths are equal, which `same_path` says.
fn guards_as(chosen: &Rc<Route>, other: &Rc<Route>, same_path: impl Fn() -> bool) -> bool {
    enforced(&other.gate).all(|rule| {
        let counted = |own: &Rule| {
            Arc::ptr_eq(own.zone(), rule.zone()) && own.settings().burst <= rule.settings().burst
        };
        let same_part = |part: &Part| match part {
            Part::Route => Rc::ptr_eq(chosen, other),
            Part::Path => same_path(),
            _ => true,
        };
        enforced(&chosen.gate).any(counted)
            && rule.zone().settings().key.parts.iter().all(same_part)
    })
}

fn refused(error: PathError) -> Error {
    Error::new(Kind::HttpRequestError, error.detail())
}

/// State of a worker for responding to requests.
pub struct Proxy {
    /// Clock of the process.
    pub clock: Clock,
    /// Trusted proxies and the forwarding field they set.
    pub trust: Trust,
    /// The routes.
    pub routes: RouteTable<Rc<Route>>,
    /// Form of a path that routes and keys see.
    pub path_matching: PathMatching,
    /// Limit on parked requests.
    pub queue: Arc<Queue>,
    /// Release timer of parked requests.
    pub releases: Rc<ReleaseTimer>,
    /// Permits to encode responses.
    pub coders: EncoderPermits,
    /// Memory for collected bodies.
    pub collected: BodyMemory,
    /// Access log.
    pub journal: Rc<AccessLogger>,
    /// Generator of request ids.
    pub ids: RequestIds,
    /// Detects clients hidden behind a gateway.
    pub gateway: Watch,
    /// Drain state of the process.
    pub drain: Drain,
}

/// Peer of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address; an IPv4-mapped address as IPv4.
    pub address: IpAddr,
    /// Address as a field value.
    pub value: HeaderValue,
    /// Host of its last request.
    pub last_host: LastHost,
    /// Transport of the connection.
    pub transport: Transport,
    /// Endpoint connection that this client may have authenticated.
    pub private: Rc<Private<RequestBody>>,
}

/// Transport of a connection.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain {
        /// Port of the `https` redirect for every request, if any.
        redirect: Option<u16>,
    },
    /// TLS.
    Tls(TlsInfo),
}

impl Transport {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "http",
            Self::Tls(_) => "https",
        }
    }
}

impl Peer {
    /// Creates a peer with this address.
    #[must_use]
    pub fn new(address: IpAddr, transport: Transport) -> Self {
        let address = address.to_canonical();
        let (value, last_host) = (address_value(address), LastHost::default());
        Self { address, value, last_host, transport, private: Rc::default() }
    }
}

/// Request in the context of its connection.
struct RequestContext<'a> {
    line: &'a RequestChannel,
    peer: &'a Peer,
    began: Duration,
    upload: Rc<UploadState>,
    body: Option<RequestBody>,
    /// Endpoint side of an accepted tunnel.
    far: Option<(Switched, Deadline)>,
}

impl RequestContext<'_> {
    /// Identity that an upstream sees, for a client with this address.
    fn caller(&self, client: IpAddr) -> Caller<'_, RequestBody> {
        Caller { address: client, private: self.line.conn.is_some().then_some(&self.peer.private) }
    }
}

/// Reason why a request was not forwarded, or got no response.
enum Stop {
    /// An error occurred.
    Failed(Error),
    /// No route takes its method; these methods are allowed.
    MethodNotAllowed(HeaderValue),
    /// A rule rejected it.
    Rejected(Rc<Route>, Verdict),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The connection is to be closed without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without a response")]
pub struct Closed;

impl Proxy {
    /// Responds to one request, which may be known to be malformed. It never fails otherwise.
    ///
    /// # Errors
    /// [`Closed`], for a reject status of 444 and a client that left.
    pub async fn serve(
        &self,
        line: &RequestChannel,
        peer: &Peer,
        request: Request<IncomingBody>,
        unfit: Option<Unfit>,
    ) -> Result<Response<LoggedBody<ResponseBody>>, Closed> {
        line.turn.expect(WaitingFor::Nothing);
        let began = self.clock.now();
        let (mut head, incoming) = request.into_parts();
        let (body, upload) = RequestBody::new(incoming, line);
        let mut visit = RequestContext { line, peer, began, upload, body: Some(body), far: None };
        let mut record = Record::begin(&self.journal, peer.address, self.ids.next(), began);
        record.set_observer(Rc::clone(&visit.upload) as _);
        record.asks(&head);

        let handled = match unfit {
            None => self.handle(&mut head, &mut visit, &mut record).await,
            Some(unfit) => Err(self.refuse(unfit, &head, &visit, &mut record).await),
        };
        let mut response = match handled {
            Ok(response) => response,
            Err(stop) => {
                let answer = rescue(stop, head.headers.get(header::ACCEPT), &mut record)?;
                let grpc = line.conn.is_none() && is_grpc(&head.headers);
                if grpc { reply::grpc(answer, record.key_fault()) } else { answer }
                    .map(Either::Left)
            }
        };
        if let (Some((far, silence)), Some(conn)) = (visit.far.take(), &line.conn) {
            record.switches();
            conn.become_tunnel(Tunnel { record, far, silence, drain: self.drain.clone() });
            return Ok(response.map(LoggedBody::unlogged));
        }
        // The end of an HTTP/2 stream needs no connection close.
        if line.conn.is_none() {
            response.headers_mut().remove(header::CONNECTION);
        } else if let Some(body) = visit.body.take().filter(|body| !body.is_end_stream()) {
            leave(body, head.headers.contains_key(header::EXPECT), &mut response);
        }
        if head.version == Version::HTTP_10 {
            respond_http_1_0(&mut response);
        }
        Clock::set_date(response.headers_mut());
        Ok(record.follow(response))
    }

    /// Steps of a request, in order.
    async fn handle(
        &self,
        head: &mut Parts,
        visit: &mut RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Stop> {
        let target = Target::of(head, &visit.peer.last_host)?;
        record.entry.host = Some(Rc::clone(&target.host));
        if let Some(answer) = self.respond_locally(head, &target)? {
            return Ok(answer.map(Either::Left));
        }
        if let Some(answer) = elsewhere(&target, &visit.peer.transport)? {
            return Ok(answer.map(Either::Left));
        }
        let trusted = self.trust.is_trusted(visit.peer.address);
        if trusted {
            self.believe(head, visit.peer, record);
        }
        let client = record.entry.client;
        self.gateway.see(client);
        let method = normal_form::method(&head.method);
        let (route, path) = self.route(&method, &target)?;
        record.entry.route = Some(Arc::clone(&route.name));

        let subject = Subject {
            client,
            host: &target.host,
            path: &path,
            query: target.path_and_query.query(),
            method: &method,
            route: &route.name,
            headers: &head.headers,
        };
        let upgrade = checked(head, &route, visit)?;
        self.admit(&route, &subject, visit, record).await?;

        let body = self.body(&route, visit).await?;
        let default_authority = default_authority(&target, route.upstream.settings())?;
        let identity = Identity {
            peer: &visit.peer.value,
            client: (client != visit.peer.address).then_some(client),
            trusted,
            authority: &target.authority,
            default_authority: &default_authority,
            version: head.version,
            scheme: visit.peer.transport.scheme(),
            request_id: &record.entry.id,
        };
        let crossing = crossing(&head.headers, &identity, upgrade.as_ref(), &route)?;
        let fields =
            edited(crossing, &route.request_edits, &facts(&target.host, &route, visit, record))?;
        let preference = EncodingPreference::of(&route.compress, &head.method, &head.headers);
        let outbound = Outbound { method: &head.method, target: &target.path_and_query, fields };
        let name = Some(Arc::clone(&route.upstream.settings().name));
        let story =
            record.entry.upstream.insert(UpstreamStory { name, ..UpstreamStory::default() });
        let answer = route
            .upstream
            .forward(&outbound, body, visit.caller(client), &visit.upload.progress, story)
            .await;
        let response = answer.map_err(|error| attribute_failure(error, &visit.upload))?;
        let mut response = answered(response, upgrade.as_ref(), visit)?;
        route
            .response_edits
            .apply(response.headers_mut(), &facts(&target.host, &route, visit, record))?;
        Ok(compress::code(response, preference.as_ref(), &self.coders).map(Either::Right))
    }

    /// Body to forward, collected if the route wants that.
    async fn body(
        &self,
        route: &Route,
        visit: &mut RequestContext<'_>,
    ) -> Result<RequestBody, Error> {
        let mut body = visit.body.take().unwrap_or_default();
        let collected = body.collect(route.buffer, &self.collected).await;
        collected.map_err(|error| attribute_failure(error, &visit.upload))?;
        Ok(body)
    }

    /// Takes over the client address and request id that a trusted proxy sent.
    fn believe(&self, head: &Parts, peer: &Peer, record: &mut Record) {
        record.entry.client = self.trust.client(peer.address, &head.headers);
        if let Some(id) = id_of(&head.headers) {
            // A copy: the received value would keep its whole read buffer alive.
            record.entry.id = HeaderValue::from_bytes(id.as_bytes()).unwrap_or_else(|_| id.clone());
        }
    }

    /// Returns the route of a request, and its path as keys see it.
    fn route<'a>(
        &self,
        method: &Method,
        target: &'a Target,
    ) -> Result<(Rc<Route>, Cow<'a, str>), Stop> {
        let (host, path) = (&*target.host, self.path(target)?);
        let found = self.routes.entry(host, &path, method);
        let (pattern, route) = found.map_err(|nearest| match nearest {
            NoRoute::NotFound => {
                Stop::Failed(Error::new(Kind::NoRoute, "no route matches this host and path"))
            }
            NoRoute::MethodNotAllowed => {
                Stop::MethodNotAllowed(method_list(self.routes.methods(host, &path).iter()))
            }
        })?;
        // Only a path that was not in its normal form has other readings.
        if let Cow::Owned(normal) = &path {
            let mut readings =
                normal_form::other_readings(target.path_and_query.path()).map_err(refused)?;
            let strays = |reading: Cow<'_, str>| {
                let same_path = || normal_form::path(&reading).is_ok_and(|form| form == *normal);
                match self.routes.read(pattern, host, &reading, method) {
                    Reading::Above(other) => !guards_as(route, other, same_path),
                    Reading::Beside => true,
                    Reading::Nowhere => false,
                }
            };
            if readings.any(strays) {
                return Err(Error::new(Kind::HttpRequestError, "ambiguous path").into());
            }
        }
        Ok((Rc::clone(route), path))
    }

    /// Path of a request as routes and keys see it.
    fn path<'a>(&self, target: &'a Target) -> Result<Cow<'a, str>, Error> {
        let received = target.path_and_query.path();
        match self.path_matching {
            PathMatching::Raw => Ok(Cow::Borrowed(received)),
            PathMatching::Normal => normal_form::path(received).map_err(refused),
        }
    }

    /// Responses that weir gives itself: `OPTIONS *`, and `Max-Forwards: 0` (RFC 9110, sections
    /// 7.6.2 and 9.3.7).
    fn respond_locally(
        &self,
        head: &mut Parts,
        target: &Target,
    ) -> Result<Option<Response<Full<Bytes>>>, Stop> {
        let counted = head.method == Method::OPTIONS || head.method == Method::TRACE;
        let last = counted && last_hop(&mut head.headers);
        if target.path_and_query.as_str() == "*" {
            return Ok(Some(reply::empty(StatusCode::OK)));
        }
        if !last {
            return Ok(None);
        }
        let methods = self.routes.methods(&target.host, &self.path(target)?);
        let methods = method_list(methods.iter().filter(|method| *method != Method::TRACE));
        if head.method == Method::TRACE {
            return Err(Stop::MethodNotAllowed(methods));
        }
        let mut answer = reply::empty(StatusCode::OK);
        answer.headers_mut().insert(header::ALLOW, methods);
        Ok(Some(answer))
    }

    /// Asks the gate of the route, and holds the request if it is delayed.
    async fn admit(
        &self,
        route: &Rc<Route>,
        subject: &Subject<'_>,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<(), Stop> {
        let mut judgement = route.gate.decide(subject, Millis::cut(visit.began));
        let mut verdict = judgement.verdict;
        record_verdict(route, &judgement, subject, record);
        if let Some(parked) = judgement.parked.take() {
            match self.hold(parked, visit).await {
                Ok(waited) => verdict.wait = waited,
                Err(Some(reason)) => verdict = verdict.rejected(reason, verdict.wait),
                Err(None) => {
                    return Err(Error::new(
                        Kind::ClientGone,
                        "the client left while it was parked",
                    )
                    .into());
                }
            }
            if let Some(limit) = &mut record.entry.limit {
                limit.verdict = verdict;
                limit.is_parked = false;
            }
        }
        match verdict.decision {
            Decision::Reject => Err(Stop::Rejected(Rc::clone(route), verdict)),
            Decision::Pass | Decision::Delay | Decision::Exempt => Ok(()),
        }
    }

    /// Parks a request until its release and returns the actual wait.
    ///
    /// # Errors
    /// The reason of a reject, or none when the client left.
    async fn hold(
        &self,
        parked: Parked,
        visit: &RequestContext<'_>,
    ) -> Result<Millis, Option<Reason>> {
        let arrival = Millis::cut(visit.began);
        let Some(_seat) = self.queue.enter(parked.zone()) else {
            parked.leave(arrival);
            return Err(Some(Reason::QueueFull));
        };
        let late = Millis::not_before(visit.began).since(arrival);
        let parking = Parking { clock: self.clock, releases: &self.releases, late };
        let turn =
            park(parked, &parking, visit.line, &self.drain).await.map_err(|left| match left {
                Left::ClientGone => None,
                Left::Draining => Some(Reason::Draining),
            })?;
        Ok(turn.since(arrival))
    }
}

/// Formats methods as a value of `Allow` (RFC 9110, section 10.2.1).
fn method_list<'a>(methods: impl Iterator<Item = &'a Method>) -> HeaderValue {
    let methods: Vec<&str> = methods.map(Method::as_str).collect();
    // Methods are tokens; an empty list means that no method is allowed.
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// Header fields of the request that cross to the upstream, before the route edits them.
fn crossing<'a>(
    received: &'a HeaderMap,
    identity: &Identity<'_>,
    upgrade: Option<&HeaderValue>,
    route: &Route,
) -> Result<ForwardedFields<'a>, Error> {
    let mut crossing = ForwardedFields::of(received, identity)?;
    if let Some(protocols) = upgrade {
        crossing.add_upgrade(protocols);
    }
    if route.upstream.settings().protocol == Protocol::Http2 && wants_trailers(received) {
        crossing.add(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(crossing)
}

/// Fields of the request after the edits of the route.
fn edited<'a>(
    crossing: ForwardedFields<'a>,
    edits: &Edits,
    facts: &EditContext<'_>,
) -> Result<Fields<'a>, Error> {
    if edits.is_empty() {
        return Ok(Fields::Crossing(crossing));
    }
    let mut fields = crossing.to_map();
    edits.apply(&mut fields, facts)?;
    Ok(Fields::Edited(fields))
}

/// Host sent to an upstream when an HTTP/1.0 request names none: that of the upstream. HTTP/2
/// requires one, and HTTP/1.1 servers refuse an empty one.
fn default_authority(target: &Target, upstream: &UpstreamSettings) -> Result<HeaderValue, Error> {
    let Some(first) = upstream.endpoints.first().filter(|_| target.authority.is_empty()) else {
        return Ok(HeaderValue::from_static(""));
    };
    let name = upstream.secure.as_ref().and_then(|secure| secure.server_name.clone());
    HeaderValue::from_str(&name.unwrap_or_else(|| first.to_string())).map_err(|cause| {
        Error::caused(
            Kind::ProxyInternalError,
            "the endpoint's host is not a valid header value",
            cause,
        )
    })
}

/// Values of the placeholders of edits.
fn facts<'a>(
    host: &'a str,
    route: &'a Route,
    visit: &RequestContext<'_>,
    record: &'a Record,
) -> EditContext<'a> {
    EditContext {
        client: record.entry.client,
        host,
        request_id: &record.entry.id,
        route: &route.name,
        scheme: visit.peer.transport.scheme(),
    }
}

/// Refuses, before it is charged or waits, a request whose head alone is wrong; returns the
/// protocols of an upgrade offer.
fn checked(
    head: &Parts,
    route: &Route,
    visit: &mut RequestContext<'_>,
) -> Result<Option<HeaderValue>, Error> {
    if has_looped(&head.headers) {
        return Err(Error::new(
            Kind::ProxyLoopDetected,
            "forwarding loop: `Via` names weir too often",
        ));
    }
    if looks_counted(&head.headers, &route.counted) {
        return Err(Error::new(
            Kind::HttpRequestError,
            "a header's name resembles one that a key \
            counts",
        ));
    }
    let body = visit.body.get_or_insert_default();
    body.limit(route.max_body)?;
    Ok(upgrade(head, body))
}

/// Protocols that a request offers to switch to. Beside a body the offer is ignored, as a server
/// may do (RFC 9110, section 7.8): otherwise servers could disagree about where the body ends and
/// the new protocol begins.
fn upgrade(head: &Parts, body: &RequestBody) -> Option<HeaderValue> {
    let offers = head.version == Version::HTTP_11 && head.headers.contains_key(header::UPGRADE);
    if offers && body.is_end_stream() { upgrade_of(&head.headers) } else { None }
}

/// Protocol to which an endpoint switches, if it was offered.
fn agreed<B>(response: &Response<B>, wanted: Option<&HeaderValue>) -> Result<HeaderValue, Error> {
    let wanted = wanted.filter(|wanted| accepts_upgrade(response.headers(), wanted));
    let protocol = wanted.and_then(|_| response.headers().get(header::UPGRADE).cloned());
    protocol.ok_or_else(|| {
        Error::new(Kind::HttpProtocolError, "the endpoint switched protocols without a request to")
    })
}

/// Response of an endpoint as it goes to the client.
fn answered(
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

/// Responses that send the client elsewhere: to TLS, or to a connection of its own.
fn elsewhere(
    target: &Target,
    transport: &Transport,
) -> Result<Option<Response<Full<Bytes>>>, Error> {
    match transport {
        Transport::Plain { redirect: None } => Ok(None),
        Transport::Plain { redirect: Some(_) } if target.host.is_empty() => {
            Err(Error::new(Kind::HttpRequestError, "no Host to redirect to"))
        }
        Transport::Plain { redirect: Some(port) } => {
            reply::redirect(&target.host, *port, &target.path_and_query).map(Some)
        }
        Transport::Tls(secured) if secured.misdirects(&target.host) => Err(Error::new(
            Kind::MisdirectedRequest,
            "the host belongs to another certificate than the connection",
        )),
        Transport::Tls(_) => Ok(None),
    }
}

/// Records the verdict of the limits.
fn record_verdict(
    route: &Route,
    judgement: &Judgement,
    subject: &Subject<'_>,
    record: &mut Record,
) {
    let (verdict, dry_run, key) = (judgement.verdict, judgement.dry_run, judgement.key);
    record.entry.limit = story(route, verdict, key, subject);
    record.entry.dry_run = dry_run.and_then(|verdict| story(route, verdict, key, subject));
}

fn story(
    route: &Route,
    mut verdict: Verdict,
    key: u64,
    subject: &Subject<'_>,
) -> Option<LimitStory> {
    let zone = route.gate.rules().get(verdict.rule?)?.zone().settings();
    let mut fault = None;
    if verdict.reason.is_some_and(Reason::is_for_good) {
        fault = zone.key.fault(subject);
        // Waiting does not help against a faulty key.
        verdict.retry = Millis::ZERO;
    }
    Some(LimitStory {
        zone: Arc::clone(&zone.name),
        verdict,
        key,
        fault,
        is_parked: verdict.decision == Decision::Delay,
    })
}

/// Attributes an upload that broke on the client side to the client, although it looks like a
/// failed upstream.
fn attribute_failure(error: Error, upload: &UploadState) -> Error {
    match upload.fault.get() {
        Some(kind) => Error::caused(kind, "the request's body failed or is too large", error),
        None => error,
    }
}

/// Response to a request that was stopped.
fn rescue(
    stop: Stop,
    accept: Option<&HeaderValue>,
    record: &mut Record,
) -> Result<Response<Full<Bytes>>, Closed> {
    match stop {
        Stop::Failed(error) => {
            record.fails(&error);
            if error.kind() == Kind::ClientGone {
                return Err(Closed);
            }
            let mut response = reply::failure(&error, accept);
            if error.side() == Side::Client {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
        Stop::MethodNotAllowed(methods) => {
            let error = Error::new(Kind::MethodNotAllowed, "no route matches this method");
            record.fails(&error);
            let mut response = reply::failure(&error, accept);
            response.headers_mut().insert(header::ALLOW, methods);
            Ok(response)
        }
        Stop::Rejected(route, verdict) => {
            let rule = verdict.rule.and_then(|index| route.gate.rules().get(index));
            reply::reject(&route.reject, &verdict, (rule, record.key_fault()), accept).ok_or_else(
                || {
                    record.closes(
                        StatusCode::from_u16(route.reject.status)
                            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                    );
                    Closed
                },
            )
        }
    }
}

/// Adapts a response for HTTP/1.0: one of unknown length ends with its connection. hyper would add
/// `keep-alive` beside our `close` unless the response has the version that it sends.
fn respond_http_1_0(response: &mut Response<ResponseBody>) {
    if response.body().size_hint().exact().is_none() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.headers().contains_key(header::CONNECTION) {
        *response.version_mut() = Version::HTTP_10;
    }
}

/// Handles a body that was not read: a short one is read and discarded, otherwise the connection
/// ends with this response.
fn leave(body: RequestBody, expects: bool, response: &mut Response<ResponseBody>) {
    if body.is_drainable() && !expects {
        tokio::task::spawn_local(body.drain());
    } else {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
