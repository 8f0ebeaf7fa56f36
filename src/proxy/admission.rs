//! Limits of a request: the gate of its route, the wait of a delayed one, and their log record.

use std::{rc::Rc, sync::Arc};

use super::{
    Proxy,
    context::RequestContext,
    park::{Left, Parking, park},
    served_route::Route,
    stop::Stop,
};
use crate::{
    http::error::{Error, Kind},
    limit::{Decision, Judgement, Millis, Parked, Reason, Subject, Verdict},
    log::{entry::LimitStory, record::Record},
};

impl Proxy {
    /// Asks the gate of the route, and holds the request if it is delayed.
    pub(super) async fn admit(
        &self,
        route: &Rc<Route>,
        subject: &Subject<'_>,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<(), Stop> {
        let mut judgement = route.gate.decide(subject, Millis::cut(visit.began));
        let mut verdict = judgement.verdict;
        record_verdict(route, &judgement, subject, record);
        if !judgement.reservations.is_empty() {
            record.reserve(std::mem::take(&mut judgement.reservations));
        }
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
            // Boxed, so that a request without such a limit has no memory for it.
            _ if !route.concurrency.is_empty() => {
                Box::pin(self.enter(route, subject, visit, record)).await
            }
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
        let slot =
            park(parked, &parking, visit.line, &self.drain).await.map_err(|left| match left {
                Left::ClientGone => None,
                Left::Draining => Some(Reason::Draining),
            })?;
        Ok(slot.since(arrival))
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
    record.entry.dry_run =
        dry_run.and_then(|verdict| story(route, verdict, key, subject)).map(Box::new);
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
