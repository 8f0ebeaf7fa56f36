//! Active health probes of the addresses of an upstream, once for the whole process.
//!
//! Guarantees: every address is probed at its own moment of the interval. A number of results in a
//! row decides, not one. A removed address is no longer probed.

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, uri::PathAndQuery};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tower::BoxError;

use super::{
    address::Address,
    balance::address_hash,
    connect::{self, BoxedIo, Connector},
    endpoints::EndpointGroup,
    http1::{Http1Conn, ResponseError, is_interim},
    http2,
    replay::Replay,
    settings::{ActiveSettings, Protocol},
};
use crate::http::{
    fields::check_response,
    forwarded::{Fields, Outbound},
    framing::{HeaderLimits, response::check_size},
    header_list::HeaderList,
    known_name::KnownName,
};

/// Probes every address of the group, for as long as it is polled.
pub async fn run(group: Arc<EndpointGroup>, active: ActiveSettings, connector: Connector) {
    let (mut known, mut probes) = (group.known(), JoinSet::new());
    let mut probed: Vec<Weak<Address>> = Vec::new();
    loop {
        let now: Vec<_> = known.borrow_and_update().addresses.iter().map(Arc::downgrade).collect();
        for new in now.iter().filter(|new| !probed.iter().any(|old| Weak::ptr_eq(old, new))) {
            probes.spawn(watch(
                Arc::clone(&group),
                Weak::clone(new),
                active.clone(),
                connector.clone(),
            ));
        }
        probed = now;
        // Tasks of removed addresses have ended. Their results are taken, or the set would grow.
        while probes.try_join_next().is_some() {}
        if known.changed().await.is_err() {
            return;
        }
    }
}

/// Probes one address until it is removed.
async fn watch(
    group: Arc<EndpointGroup>,
    address: Weak<Address>,
    active: ActiveSettings,
    connector: Connector,
) {
    let Some(hash) = address.upgrade().map(|address| address_hash(address.remote())) else {
        return;
    };
    let interval = u64::try_from(active.interval.as_millis()).unwrap_or(u64::MAX).max(1);
    // By the hash of the address, so probes of many addresses are spread over the interval.
    let start = Instant::now() + std::time::Duration::from_millis(hash % interval);
    let mut ticks = interval_at(start, active.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // It counts as up until probes say otherwise.
    let (mut up, mut against) = (true, 0);
    loop {
        ticks.tick().await;
        // Neither the list of addresses nor a pool holds it any longer, so it was removed.
        let Some(address) = address.upgrade() else { return };
        let outcome =
            timeout(active.timeout, ask(&group, connector.clone(), &address, &active.path))
                .await
                .unwrap_or_else(|late| Err(late.into()));
        against = if outcome.is_ok() == up { 0 } else { against + 1 };
        // One lost probe, or one lucky one, must not change the verdict.
        if against >= if up { active.unhealthy } else { active.healthy } {
            (up, against) = (!up, 0);
            group.probed(&address, outcome);
        }
    }
}

/// Sends one probe on a connection of its own, by the code that sends requests: any status from 200
/// to 399 is a success.
async fn ask(
    group: &EndpointGroup,
    connector: Connector,
    address: &Arc<Address>,
    path: &PathAndQuery,
) -> Result<(), BoxError> {
    // A connection of its own also tests that the endpoint accepts new ones.
    let stream = connect::connect(&connector, address).await?;
    let mut fields = HeaderList::default();
    fields.set_text(KnownName::Host, address.endpoint().authority().as_bytes())?;
    fields.set_static(KnownName::UserAgent, "weir");
    fields.set_static(KnownName::Connection, "close");
    let request = Outbound { method: &Method::GET, target: path, fields: Fields::Edited(fields) };
    let status = match group.settings().protocol {
        Protocol::Http1 => {
            ask_http1(Http1Conn::new(stream, group.settings().response_limits), &request).await?
        }
        Protocol::Http2 => {
            let request = http2::translate(&request, Empty::new(), group.settings().scheme())?;
            ask_http2(stream, request, group.settings().response_limits).await?
        }
    };
    judge(status)
}

async fn ask_http1(
    mut connection: Box<Http1Conn<Empty<Bytes>>>,
    request: &Outbound<'_>,
) -> Result<StatusCode, ResponseError> {
    connection.begin(request, &mut Replay::new(Empty::<Bytes>::new()));
    loop {
        let head = poll_fn(|context| connection.poll_head(context)).await?;
        if !is_interim(head.status) {
            return Ok(head.status);
        }
    }
}

async fn ask_http2(
    stream: BoxedIo,
    request: Request<Empty<Bytes>>,
    limits: HeaderLimits,
) -> Result<StatusCode, BoxError> {
    let (mut sender, driver) =
        // Probes do not run on a worker, so hyper's tasks need not be local.
        http2::builder(TokioExecutor::new(), limits).handshake(TokioIo::new(stream)).await?;
    let driven = async {
        // Its end also ends the wait for a response, with the reason.
        let _ = driver.await;
        std::future::pending::<Infallible>().await
    };
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer?.into_parts().0,
        never = driven => match never {},
    };
    // The same checks as for requests: an endpoint that they refuse is not healthy.
    let headers = HeaderList::from(&answer.headers);
    check_response(answer.status, &headers)?;
    check_size(&headers, limits)?;
    Ok(answer.status)
}

fn judge(status: StatusCode) -> Result<(), BoxError> {
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("status {status}").into())
    }
}
