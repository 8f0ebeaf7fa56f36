//! Life of one request: client address, route, limits, forwarding, response, log record.

use std::{net::IpAddr, ops::ControlFlow, rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue};
use http_body::Body;

use self::{
    action::Action,
    asking::{Asking, identity},
    context::RequestContext,
    guard::Passage,
    header_edits::EditContext,
    peer::Peer,
    redirect::{Elsewhere, elsewhere},
    route::{PathMatching, RouteTable},
    served_route::Route,
    stop::{Closed, Stop, attribute_failure, rescue},
    to_client::{ResponseBody, leave_body, own, passed_on, set_date},
    to_upstream::{crossing, default_host, edited, facts},
    verified_fields::VerifiedFields,
};
use crate::{
    access::networks::NetworkVerdict,
    compress::{self, EncodingPreference, permits::EncoderPermits},
    downstream::{
        client_state::WaitingFor, collected_body::BodyMemory, drain::Drain,
        request_body::IncomingBody, request_channel::RequestChannel, tunnel::Tunnel,
        upload::RequestBody,
    },
    http::{
        error::{Error, Kind},
        fields::{alike, has_looped, hides_counted, id_of, is_grpc, looks_counted},
        forwarded::Outbound,
        framing::field_list::Unfit,
        header_list::HeaderList,
        known_name::KnownName,
        message::{RequestParts, Response},
        request_id::{RequestId, RequestIds},
        target::Target,
    },
    limit::{Decision, Queue, client_ip::Trust, normal_form},
    log::{
        access::AccessLogger,
        entry::UpstreamStory,
        gateway::Watch,
        record::{LoggedBody, Record},
    },
    runtime::{clock::Clock, rare::boxed, release_timer::ReleaseTimer},
    upstream::body::UpstreamBody,
};

pub mod action;
mod admission;
mod asking;
pub mod basic_auth;
pub mod concurrency;
mod context;
pub mod forward_auth;
pub mod guard;
pub mod header_edits;
mod malformed;
pub mod park;
pub mod peer;
mod permits;
mod redirect;
pub mod refusal;
pub mod reject;
pub mod reply;
pub mod rewrite;
pub mod route;
mod routed_request;
mod routing;
mod serve_files;
pub mod served_route;
pub mod stop;
pub mod to_client;
mod to_upstream;
mod upgrade;
pub mod verified_fields;

/// State of a worker for responding to requests.
pub struct Proxy {
    /// Clock of the process.
    pub clock: Clock,
    /// Trusted proxies and the forwarding field they set.
    pub trust: Trust,
    /// Field of `trust`, if it is not known anyway that only a trusted proxy may send it.
    pub claim: Option<Rc<HeaderName>>,
    /// Fields that tell endpoints of the certificate of a client: no client may send them.
    pub certificate_fields: Option<Rc<[HeaderName]>>,
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

impl Proxy {
    /// Responds to one request, which may be known to be malformed. It never fails otherwise.
    ///
    /// # Errors
    /// [`Closed`], for a reject status of 444 and a client that left.
    pub async fn serve(
        &self,
        line: &RequestChannel,
        peer: &Peer,
        mut head: Box<RequestParts>,
        incoming: IncomingBody,
        unfit: Option<Unfit>,
    ) -> Result<Response<LoggedBody<ResponseBody>>, Closed> {
        line.state.expect(WaitingFor::Nothing);
        let began = self.clock.now();
        let (body, upload) = RequestBody::new(incoming, line);
        let mut visit = RequestContext { line, peer, began, upload, body: Some(body), far: None };
        let mut record = Record::begin(&self.journal, peer.address, self.ids.next(), began);
        record.set_observer(Rc::clone(&visit.upload) as _);
        record.set_request(&head, peer.transport.scheme());

        let handled = match unfit {
            None => self.handle(&mut head, &mut visit, &mut record).await,
            // Boxed, so that a good request has no memory for it.
            Some(unfit) => Err(boxed(self.refuse(unfit, &head, &visit, &mut record)).await),
        };
        let mut response = match handled {
            Ok(response) => response,
            Err(stop) => {
                let answer = rescue(stop, head.headers.get(KnownName::Accept), &mut record)?;
                let grpc = line.conn.is_none() && is_grpc(&head.headers);
                own(if grpc { reply::grpc(answer, record.key_fault()) } else { answer })
            }
        };
        record.settle(response.head.status);
        if let (Some((far, silence)), Some(conn)) = (visit.far.take(), &line.conn) {
            record.switches();
            conn.become_tunnel(Tunnel { record, far, silence, drain: self.drain.clone() });
            return Ok(response.map(LoggedBody::unlogged));
        }
        // The end of an HTTP/2 stream needs no connection close.
        if line.conn.is_none() {
            response.head.headers.remove(KnownName::Connection);
        } else if let Some(body) = visit.body.take().filter(|body| !body.is_end_stream()) {
            leave_body(body, head.headers.contains(KnownName::Expect), &mut response);
        }
        set_date(&mut response.head.headers);
        Ok(record.follow(response))
    }

    /// Steps of a request, in order.
    async fn handle(
        &self,
        head: &mut RequestParts,
        visit: &mut RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Stop> {
        let target = Target::of(head, &visit.peer.last_host)?;
        record.entry.host = Some(Rc::clone(&target.host));
        if let Some(early) = self.respond_early(head, &target, visit)? {
            return Ok(own(boxed(early.response(self.clock.now())).await?));
        }
        let trusted = self.identify(head, visit.peer, record)?;
        let client = record.entry.client;
        let method = normal_form::method(&head.method);
        let (route, path) = self.route(&method, &target, &head.headers, record)?;
        // Before the limits: a client that may not pass spends nothing that others share.
        let network = route.admit_network(client)?;
        let subject = route.subject(client, &target, &path, &method, &head.headers);
        let upgrade = checked(head, &route, visit)?;
        let rewritten = route.rewritten(&target, &path)?;
        // What few requests need is boxed: the others have no memory for it.
        let (mut verdict, parked) = self.judge(&route, &subject, visit, record);
        if let Some(parked) = parked {
            verdict = boxed(self.hold(verdict, parked, visit, record)).await?;
        }
        if verdict.decision == Decision::Reject {
            return Err(Stop::Rejected(route, verdict));
        }
        if !route.concurrency.is_empty() {
            boxed(self.enter(&route, &subject, visit, record)).await?;
        }
        let asking = self.asking(network, client, &target, trusted);
        let mut verified = None;
        if route.guard.is_some() {
            match boxed(self.pass(asking, &route, head, visit, record)).await? {
                ControlFlow::Continue(fields) => verified = fields,
                ControlFlow::Break(response) => return Ok(response),
            }
        }
        let Action::Forward(upstream) = &route.action else {
            let facts = facts(&target, &route, visit, record).of_target(rewritten.as_deref());
            let response = boxed(self.respond_itself(&route, head, &path, &facts)).await?;
            return Ok(route.paced(response, visit.line));
        };

        let mut body = visit.body.take().unwrap_or_default();
        if !body.is_end_stream() {
            self.collect(&mut body, &route, visit).await?;
        }
        let settings = upstream.settings();
        let default = default_host(&target, settings)?;
        let host = default.as_ref().unwrap_or(&target.authority);
        let identity = identity(head.version, &asking, host, visit, &record.entry.id);
        let crossing = crossing(&head.headers, &identity, upgrade.as_ref(), settings);
        let values = || facts(&target, &route, visit, record);
        let fields = edited(crossing, verified.as_deref(), &route.request_edits, values)?;
        let preference = EncodingPreference::of(&route.compress, &head.method, &head.headers);
        let forwarded = rewritten.as_deref().unwrap_or(&target.path_and_query);
        let outbound = Outbound { method: &head.method, target: forwarded, fields };
        let story = record.entry.upstream.insert(UpstreamStory::of(&settings.name));
        let (caller, progress) = (visit.caller(client), &visit.upload.progress);
        let sent = upstream.forward(&outbound, &mut body, caller, progress, story).await;
        let mut response = sent.map_err(|error| attribute_failure(error, &visit.upload))?;
        route.restore(&mut response.head.headers, settings, &target);
        let response = returned(response, upgrade.as_ref(), &target, &route, visit, record)?;
        let response = compress::code(response, preference.as_ref(), &self.coders);
        Ok(route.paced(response.map(ResponseBody::Upstream), visit.line))
    }

    /// Responds to a request for which no route is chosen; from others it removes the fields that no
    /// client may send.
    fn respond_early<'a, 'v: 'a>(
        &self,
        head: &mut RequestParts,
        target: &'a Target,
        visit: &mut RequestContext<'v>,
    ) -> Result<Option<Elsewhere<'a>>, Stop> {
        if let Some(names) = &self.certificate_fields {
            withhold(names, head, visit);
        }
        match self.respond_locally(head, target)? {
            None => {
                let peer: &'v Peer = visit.peer;
                Ok(elsewhere(target, &head.method, &peer.transport)?)
            }
            Some(answer) => Ok(Some(Elsewhere::Response(answer))),
        }
    }

    /// Request as its route asks about it.
    fn asking<'a>(
        &'a self,
        network: NetworkVerdict,
        client: IpAddr,
        target: &'a Target,
        trusted: bool,
    ) -> Asking<'a> {
        Asking { network, client, target, trusted, claim: self.claim.as_deref() }
    }

    /// Finds out the client, and returns true if its peer is a trusted proxy.
    fn identify(
        &self,
        head: &RequestParts,
        peer: &Peer,
        record: &mut Record,
    ) -> Result<bool, Error> {
        let trusted = self.trust.is_trusted(peer.address);
        if trusted {
            self.believe(head, peer, record)?;
        }
        self.gateway.see(record.entry.client);
        Ok(trusted)
    }

    /// Asks for the conditions of a route that are judged behind the limits. Returns the fields that a
    /// service has set, or its refusal.
    async fn pass(
        &self,
        asking: Asking<'_>,
        route: &Route,
        head: &mut RequestParts,
        visit: &mut RequestContext<'_>,
        record: &mut Record,
    ) -> Result<ControlFlow<Response<ResponseBody>, Option<Rc<VerifiedFields>>>, Stop> {
        let Some(guard) = &route.guard else { return Ok(ControlFlow::Continue(None)) };
        match guard.admit_user(asking, head, visit, record).await? {
            Passage::Through(verified) => Ok(ControlFlow::Continue(verified)),
            Passage::Refused(response) => {
                let response = returned(response, None, asking.target, route, visit, record)?;
                let response = compress::code(response, None, &self.coders);
                let response = response.map(ResponseBody::Upstream);
                let response = route.paced(response, visit.line);
                Ok(ControlFlow::Break(response))
            }
        }
    }

    /// Removes from the trailers what claims to be the client address, and collects a body if the
    /// route wants that.
    async fn collect(
        &self,
        body: &mut RequestBody,
        route: &Route,
        visit: &RequestContext<'_>,
    ) -> Result<(), Error> {
        self.claim.iter().for_each(|claim| body.remove_claim(claim));
        let collected = body.collect(route.buffer, &self.collected).await;
        collected.map_err(|error| attribute_failure(error, &visit.upload))
    }

    /// Response of an action that needs no upstream.
    async fn respond_itself(
        &self,
        route: &Route,
        head: &RequestParts,
        path: &str,
        facts: &EditContext<'_>,
    ) -> Result<Response<ResponseBody>, Stop> {
        let mut response = match &route.action {
            Action::Redirect(redirect) => redirect.response(facts)?,
            Action::Respond(respond) => respond.response(facts)?,
            Action::Files(files) => return self.serve_file(files, route, head, path, facts).await,
            Action::Close | Action::Forward(_) => return Err(Stop::Closed),
        };
        route.response_edits.apply(&mut response.head.headers, facts)?;
        Ok(own(response))
    }

    /// Takes over the client address and request id that a trusted proxy sent.
    ///
    /// # Errors
    /// When the field with the address has more than one, or anything else.
    fn believe(&self, head: &RequestParts, peer: &Peer, record: &mut Record) -> Result<(), Error> {
        if let Some(Ok(id)) = id_of(&head.headers).map(HeaderValue::from_bytes) {
            record.entry.id = RequestId::Received(id);
        }
        let client = self.trust.client(peer.address, &head.headers);
        record.entry.client = client.map_err(|error| {
            let detail = "the field with the client address is not one address";
            Error::caused(Kind::HttpRequestError, detail, error)
        })?;
        Ok(())
    }
}

/// Removes fields that a client may not send, in any spelling that a server may take for them.
#[cold]
fn withhold(names: &Rc<[HeaderName]>, head: &mut RequestParts, visit: &mut RequestContext<'_>) {
    head.headers
        .retain(|_, field| !names.iter().any(|name| alike(field.name, name.as_str().as_bytes())));
    visit.body.get_or_insert_default().withhold(names);
}

/// Response of an endpoint as it goes to the client, after the edits of the route.
#[inline]
fn returned(
    response: Response<Box<UpstreamBody<RequestBody>>>,
    upgrade: Option<&HeaderValue>,
    target: &Target,
    route: &Route,
    visit: &mut RequestContext<'_>,
    record: &Record,
) -> Result<Response<Box<UpstreamBody<RequestBody>>>, Error> {
    let mut response = passed_on(response, upgrade, visit)?;
    if !route.response_edits.is_empty() {
        let facts = facts(target, route, visit, record);
        route.response_edits.apply(&mut response.head.headers, &facts)?;
    }
    Ok(response)
}

/// Refuses, before it is charged or waits, a request whose head alone is wrong; returns the
/// protocols of an upgrade offer.
fn checked(
    head: &RequestParts,
    route: &Route,
    visit: &mut RequestContext<'_>,
) -> Result<Option<HeaderValue>, Error> {
    if has_looped(&head.headers) {
        return Err(Error::new(
            Kind::ProxyLoopDetected,
            "forwarding loop: `Via` names weir too often",
        ));
    }
    if !route.counted.is_empty() {
        show_counted(&head.headers, &route.counted)?;
    }
    let body = visit.body.get_or_insert_default();
    body.limit(route.max_body)?;
    Ok(upgrade::offered(head, body))
}

/// Refuses fields that hide from a limit what the endpoint reads, or the reverse.
fn show_counted(headers: &HeaderList, counted: &[HeaderName]) -> Result<(), Error> {
    let detail = if looks_counted(headers, counted) {
        "a header's name resembles one that a key counts"
    } else if hides_counted(headers, counted) {
        "`Connection` names a header that a key counts"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::HttpRequestError, detail))
}
