//! Asking the addresses of an upstream, now and then, whether they are well: once for the whole process.
//!
//! Guarantees: every address is asked at its own moment of the interval; a few answers in a row decide, not one; an address that
//! leaves is asked no more.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tower::BoxError;

use super::{
    balance::address_hash,
    connect::{self, Connector},
    group::{Address, Group},
    settings::ActiveSettings,
};

/// Probes every address the group has, for as long as it is polled.
pub async fn run(group: Arc<Group>, active: ActiveSettings, connector: Connector) {
    let (mut known, mut probes) = (group.known(), JoinSet::new());
    let mut probed: Vec<Weak<Address>> = Vec::new();
    loop {
        let now: Vec<_> = known.borrow_and_update().addresses.iter().map(Arc::downgrade).collect();
        for new in now.iter().filter(|new| !probed.iter().any(|old| Weak::ptr_eq(old, new))) {
            probes.spawn(watch(Arc::clone(&group), Weak::clone(new), active.clone(), connector.clone()));
        }
        probed = now;
        while probes.try_join_next().is_some() {}
        if known.changed().await.is_err() {
            return;
        }
    }
}

/// Probes one address until it is gone.
async fn watch(group: Arc<Group>, address: Weak<Address>, active: ActiveSettings, connector: Connector) {
    let Some(hash) = address.upgrade().map(|address| address_hash(address.socket())) else { return };
    let interval = u64::try_from(active.interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let start = Instant::now() + std::time::Duration::from_millis(hash % interval);
    let mut ticks = interval_at(start, active.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // It is up until something else is known.
    let (mut up, mut against) = (true, 0);
    loop {
        ticks.tick().await;
        let Some(address) = address.upgrade() else { return };
        let outcome = timeout(active.timeout, ask(connector.clone(), &address, &active))
            .await
            .unwrap_or_else(|late| Err(late.into()));
        against = if outcome.is_ok() == up { 0 } else { against + 1 };
        if against >= if up { active.unhealthy } else { active.healthy } {
            (up, against) = (!up, 0);
            group.probed(&address, outcome);
        }
    }
}

/// One question on a connection of its own: any answer of 200 to 399 is a good one.
async fn ask(connector: Connector, address: &Arc<Address>, active: &ActiveSettings) -> Result<(), BoxError> {
    let stream = connect::connect(&connector, address).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = active.path.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&address.endpoint().to_string())?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("weir"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let driven = async {
        // Its end ends the wait for an answer too, with the reason.
        let _ = driver.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = sender.send_request(request) => judge(answer?.status()),
        never = driven => match never {},
    }
}

fn judge(status: StatusCode) -> Result<(), BoxError> {
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("it answers {status}").into()) }
}
