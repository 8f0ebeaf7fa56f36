//! Route as a worker serves it, and the comparison of its limits with those of another.

use std::{net::IpAddr, ptr, rc::Rc, sync::Arc};

use http::{HeaderName, Method, header, uri::PathAndQuery};

use super::{
    action::Action, concurrency::ConcurrencyRule, guard::Guard, header_edits::Edits,
    refusal::Refusal, reject::Reject, rewrite::Rewrite, to_client::ResponseBody,
};
use crate::{
    access::networks::NetworkVerdict,
    compress::negotiate::Coding,
    downstream::{
        paced_body::{PacedBody, ResponseRate},
        request_channel::RequestChannel,
        upload::RequestBody,
    },
    files::FileServer,
    http::{error::Error, header_list::HeaderList, message::Response, target::Target},
    limit::{Gate, Mode, Part, Rule, Subject},
    log::{record::Record, settings::RouteLog},
    upstream::{Upstream, settings::UpstreamSettings},
};

/// Route: destination of its requests, with limits and edits.
pub struct Route {
    /// Name in logs and keys.
    pub name: Arc<str>,
    /// Rules of the route.
    pub gate: Gate,
    /// Statuses of penalties by rule, where these differ from the other rejects; empty if none do.
    pub penalty_statuses: Vec<Option<u16>>,
    /// Rules of concurrency, in the order in which they are checked.
    pub concurrency: Vec<ConcurrencyRule>,
    /// Conditions for passing, if it has any.
    pub guard: Option<Box<Guard>>,
    /// Access lines of its requests.
    pub log: RouteLog,
    /// Header fields that the rules count by.
    pub counted: Vec<HeaderName>,
    /// Action, after the limits.
    pub action: Action<Rc<Upstream<RequestBody>>, FileServer>,
    /// Change of the path that is forwarded.
    pub rewrite: Option<Box<Rewrite>>,
    /// Form of rejects.
    pub reject: Reject,
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
    /// Rate of responses, if it is limited.
    pub response_rate: Option<ResponseRate>,
}

impl Route {
    /// Records that it takes a request.
    pub fn begin_record(&self, record: &mut Record) {
        record.entry.route = Some(Arc::clone(&self.name));
        if self.log == RouteLog::Off {
            record.silence();
        }
    }

    /// Body of a response at the rate of the route.
    #[inline]
    #[must_use]
    pub fn paced(
        &self,
        response: Response<ResponseBody>,
        line: &RequestChannel,
    ) -> Response<ResponseBody> {
        let Some(rate) = self.response_rate else { return response };
        let paced = |body| ResponseBody::Paced(Box::new(PacedBody::new(body, rate, &line.state)));
        response.map(paced)
    }

    /// Judges a client by its network.
    ///
    /// # Errors
    /// When it may not pass.
    pub fn admit_network(&self, client: IpAddr) -> Result<NetworkVerdict, Refusal> {
        self.guard
            .as_ref()
            .map_or(Ok(NetworkVerdict::default()), |guard| guard.admit_network(client))
    }

    /// Request as the limits of this route see it.
    #[must_use]
    pub fn subject<'a>(
        &'a self,
        client: IpAddr,
        target: &'a Target,
        path: &'a str,
        method: &'a Method,
        headers: &'a HeaderList,
    ) -> Subject<'a> {
        let (host, query) = (&*target.host, target.path_and_query.query());
        Subject { client, host, path, query, method, route: &self.name, headers }
    }
}

impl Route {
    /// Target that is forwarded in place of the received one, if the route rewrites it.
    ///
    /// # Errors
    /// When the result could be read in several ways.
    #[inline(always)]
    pub fn rewritten(
        &self,
        target: &Target,
        path: &str,
    ) -> Result<Option<Box<PathAndQuery>>, Error> {
        let Some(rewrite) = &self.rewrite else { return Ok(None) };
        Ok(Some(Box::new(rewrite.target(&target.path_and_query, path)?)))
    }

    /// Gives the fields of a response the way back, if the route rewrites paths.
    pub fn restore(&self, headers: &mut HeaderList, upstream: &UpstreamSettings, target: &Target) {
        if let Some(rewrite) = &self.rewrite {
            rewrite.restore(headers, upstream, target);
        }
    }
}

fn enforced(gate: &Gate) -> impl Iterator<Item = &Rule> {
    gate.rules().iter().filter(|rule| rule.settings().mode == Mode::Enforce)
}

/// Header fields by which enforced rules count, by a whole field or a cookie.
#[must_use]
pub fn counted_by(gate: &Gate, concurrency: &[ConcurrencyRule]) -> Vec<HeaderName> {
    let by_concurrency = limiting(concurrency).map(|rule| &rule.zone.settings().key);
    let keys = enforced(gate).map(|rule| &rule.zone().settings().key).chain(by_concurrency);
    let parts = keys.flat_map(|key| &key.parts);
    let fields = parts.filter_map(|part| match part {
        Part::Header(name) => Some(name.clone()),
        Part::Cookie(_) => Some(header::COOKIE),
        Part::BasicUser => Some(header::AUTHORIZATION),
        _ => None,
    });
    fields.collect()
}

fn limiting(concurrency: &[ConcurrencyRule]) -> impl Iterator<Item = &ConcurrencyRule> {
    concurrency.iter().filter(|rule| rule.settings.mode == Mode::Enforce)
}

/// Returns true if `chosen` guards a request as `other` would: `other` refuses nothing by its action,
/// the request meets its conditions, and each enforced rule of it also counts a request that takes
/// `chosen`, by the same zone, in the same bucket, and with no larger burst. A key with the path uses
/// the same bucket only if the paths are equal, which `same_path` says.
pub fn guards_as(chosen: &Rc<Route>, other: &Rc<Route>, same_path: impl Fn() -> bool) -> bool {
    if other.action.refuses() && !Rc::ptr_eq(chosen, other) {
        return false;
    }
    let meets = |guard: &Guard| chosen.guard.as_deref().is_some_and(|own| own.asks_as(guard));
    if !other.guard.as_deref().is_none_or(meets) {
        return false;
    }
    // The same bucket for a part of a key: that of the path only if the paths are equal.
    let same_part = |part: &Part| match part {
        Part::Route => Rc::ptr_eq(chosen, other),
        Part::Path => same_path(),
        _ => true,
    };
    let limits_as = |rule: &ConcurrencyRule| {
        limiting(&chosen.concurrency).any(|own| own.guards_as(rule))
            && rule.zone.settings().key.parts.iter().all(same_part)
    };
    limiting(&other.concurrency).all(limits_as)
        && enforced(&other.gate).all(|rule| {
            let counted = |own: &Rule| {
                Arc::ptr_eq(own.zone(), rule.zone())
                    && own.settings().burst <= rule.settings().burst
                    && covers_all_of(own, rule)
                    && counts_all_of(own, rule)
                    && (rule.penalty().is_none() || own.penalty() == rule.penalty())
            };
            enforced(&chosen.gate).any(counted)
                && rule.zone().settings().key.parts.iter().all(same_part)
        })
}

/// Returns true if a rule applies to all requests that `other` applies to.
fn covers_all_of(rule: &Rule, other: &Rule) -> bool {
    match (rule.scope(), other.scope()) {
        (None, _) => true,
        // The addresses alone, as pointers to trait objects of one value may differ.
        (Some(one), Some(other)) => ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other)),
        (Some(_), None) => false,
    }
}

/// Returns true if a rule counts all that `other` counts: requests, or responses of its statuses.
fn counts_all_of(rule: &Rule, other: &Rule) -> bool {
    let is_dearer = rule.settings().cost >= other.settings().cost;
    is_dearer
        && match (rule.statuses(), other.statuses()) {
            (None, _) => true,
            (Some(own), Some(others)) => others.iter().all(|status| own.contains(status)),
            (Some(_), None) => false,
        }
}
