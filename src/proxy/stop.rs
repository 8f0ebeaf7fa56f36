//! Request that is not forwarded, or got no response: the reason, and the response to it.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;

use super::{
    concurrency::RETRY,
    refusal::{Refusal, refused},
    reject::{self, CLOSE, Denial},
    reply,
    served_route::Route,
};
use crate::{
    downstream::upload::UploadState,
    http::{
        error::{Error, Kind, Side},
        known_name::KnownName,
        message::Response,
    },
    limit::{Reason, Verdict},
    log::record::Record,
};

/// Reason why a request was not forwarded, or got no response.
pub enum Stop {
    /// An error occurred.
    Failed(Error),
    /// No route takes its method; these methods are allowed.
    MethodNotAllowed(HeaderValue),
    /// The route closes the connection without a response.
    Closed,
    /// It does not meet the conditions of its route.
    Refused(Refusal),
    /// A rule rejected it.
    Rejected(Rc<Route>, Verdict),
    /// The rule of concurrency with this index rejected it.
    Crowded(Rc<Route>, usize),
}

impl From<Error> for Stop {
    #[cold]
    #[inline(never)]
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Stop {
    #[cold]
    #[inline(never)]
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The connection is to be closed without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without a response")]
pub struct Closed;

/// Attributes an upload that broke on the client side to the client, although it looks like a
/// failed upstream.
#[cold]
pub fn attribute_failure(error: Error, upload: &UploadState) -> Error {
    match upload.fault.get() {
        Some(kind) => Error::caused(kind, "the request's body failed or is too large", error),
        None => error,
    }
}

/// Response to a request that was stopped.
pub fn rescue(
    stop: Stop,
    accept: Option<&[u8]>,
    record: &mut Record,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (route, verdict) = match stop {
        Stop::Rejected(route, verdict) if verdict.reason != Some(Reason::Penalty) => {
            (route, verdict)
        }
        // Apart, as only rejects come in floods.
        stop => return respond(stop, accept, record),
    };
    let (rules, fault) = (route.gate.rules(), record.key_fault());
    let response = route.reject.response(&verdict, rules, fault, accept);
    response.ok_or_else(|| {
        record.closes(route.reject.status());
        Closed
    })
}

fn respond(
    stop: Stop,
    accept: Option<&[u8]>,
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
                response.head.headers.set_static(KnownName::Connection, "close");
            }
            Ok(response)
        }
        Stop::MethodNotAllowed(methods) => {
            let error = Error::new(Kind::MethodNotAllowed, "no route matches this method");
            record.fails(&error);
            let mut response = reply::failure(&error, accept);
            response.head.headers.set(KnownName::Allow, &methods);
            Ok(response)
        }
        Stop::Closed => {
            record.closes(reject::status(CLOSE));
            Err(Closed)
        }
        Stop::Refused(Refusal::Failed(error)) => respond(Stop::Failed(error), accept, record),
        Stop::Refused(Refusal::Verdict(response)) => Ok(*response),
        Stop::Refused(Refusal::Network) => Ok(refused(None, accept, record)),
        Stop::Refused(Refusal::Challenged(challenge)) => {
            Ok(refused(Some(&challenge), accept, record))
        }
        Stop::Rejected(route, verdict) => penalize(&route, &verdict, accept, record),
        Stop::Crowded(route, index) => {
            let rule = &route.concurrency[index];
            let fault = record.key_fault().cloned();
            let denial = Denial {
                zone: &rule.zone.settings().name,
                code: rule.settings.status.unwrap_or(route.reject.status().as_u16()),
                detail: "too many requests at the same time; retry later",
                retry: RETRY,
                fault: fault.as_ref(),
            };
            deny(&route, &denial, accept, record)
        }
    }
}

/// Response to a request of a key that is shut out.
fn penalize(
    route: &Route,
    verdict: &Verdict,
    accept: Option<&[u8]>,
    record: &mut Record,
) -> Result<Response<Full<Bytes>>, Closed> {
    let own = verdict.rule.and_then(|rule| *route.penalty_statuses.get(rule)?);
    let rule = verdict.rule.and_then(|rule| route.gate.rules().get(rule));
    let denial = Denial {
        zone: rule.map_or("none", |rule| &rule.zone().settings().name),
        code: own.unwrap_or(route.reject.status().as_u16()),
        detail: "rejected too often; retry later",
        retry: verdict.retry,
        fault: None,
    };
    deny(route, &denial, accept, record)
}

fn deny(
    route: &Route,
    denial: &Denial<'_>,
    accept: Option<&[u8]>,
    record: &mut Record,
) -> Result<Response<Full<Bytes>>, Closed> {
    route.reject.denied(denial, accept).ok_or_else(|| {
        record.closes(reject::status(denial.code));
        Closed
    })
}
