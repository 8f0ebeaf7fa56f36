//! Limits of a request: the gate of its route, the wait of a delayed one, and their log record.

use std::sync::Arc;

use super::{
    Proxy,
    context::RequestContext,
    park::{Left, Parking, park},
    served_route::Route,
};
use crate::{
    http::error::{Error, Kind},
    limit::{Decision, Judgement, Millis, Parked, Reason, Subject, Verdict},
    log::{entry::LimitStory, record::Record},
};

impl Proxy {
    /// Asks the gate of the route. A delayed request comes with the places that it waits in.
    pub(super) fn judge(
        &self,
        route: &Route,
        subject: &Subject<'_>,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> (Verdict, Option<Parked>) {
        let judgement = route.gate.decide(subject, Millis::cut(visit.began));
        record_verdict(route, &judgement, subject, record);
        if let Some(reservations) = judgement.reservations {
            record.reserve(reservations);
        }
        (judgement.verdict, judgement.parked)
    }

    /// Holds a delayed request until its release, and returns the verdict of its end.
    ///
    /// # Errors
    /// When the client left.
    pub(super) async fn hold(
        &self,
        mut verdict: Verdict,
        parked: Parked,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Verdict, Error> {
        match self.wait_for_slot(parked, visit).await {
            Ok(waited) => verdict.wait = waited,
            Err(Some(reason)) => verdict = verdict.rejected(reason, verdict.wait),
            Err(None) => {
                return Err(Error::new(Kind::ClientGone, "the client left while it was parked"));
            }
        }
        if let Some(limit) = &mut record.entry.limit {
            limit.verdict = verdict;
            limit.is_parked = false;
        }
        Ok(verdict)
    }

    /// Parks a request until its release and returns the actual wait.
    ///
    /// # Errors
    /// The reason of a reject, or none when the client left.
    async fn wait_for_slot(
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
    if let Some(verdict) = dry_run {
        record.entry.dry_run = dry_run_story(route, verdict, key, subject);
    }
}

/// Apart, so that the other one is compiled into its only caller.
#[cold]
fn dry_run_story(
    route: &Route,
    verdict: Verdict,
    key: u64,
    subject: &Subject<'_>,
) -> Option<Box<LimitStory>> {
    story(route, verdict, key, subject).map(Box::new)
}

#[inline]
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
