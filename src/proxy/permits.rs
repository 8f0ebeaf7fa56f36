//! Concurrency of a request: a permit of each rule of its route, or a wait for one.
//!
//! Guarantees: the permits are kept in the record of the request, so they are given back exactly
//! when it ends, in whatever way: its response was sent or broke, its client left, its tunnel
//! closed, weir failed (`tests/edge/concurrency.rs`). A request that waits holds the permits of the
//! rules before, and no upstream; its body is not read.

use std::{future::poll_fn, rc::Rc, time::Duration};

use super::{
    Proxy,
    concurrency::{ConcurrencyRule, RETRY},
    context::RequestContext,
    served_route::Route,
    stop::Stop,
};
use crate::{
    downstream::drain::Drain,
    http::error::{Error, Kind},
    limit::{
        ConcurrencyPermit, Decision, Entered, Millis, Mode, Reason, Subject, Verdict,
        concurrency::ConcurrencyTicket, zone::Standing,
    },
    log::record::Record,
};

impl Proxy {
    /// Takes a permit of each rule of the route, and waits for those that are not free.
    pub(super) async fn enter(
        &self,
        route: &Rc<Route>,
        subject: &Subject<'_>,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<(), Stop> {
        for (index, rule) in route.concurrency.iter().enumerate() {
            if !rule.covers(subject) {
                continue;
            }
            let entered = match rule.zone.standing(subject) {
                Standing::Exempt | Standing::Outside => continue,
                Standing::Counted(key) => self.enter_one(rule, key, visit, record).await?,
                Standing::Missing => Err((Reason::MissingKey, 0)),
                Standing::Repeated => Err((Reason::RepeatedKey, 0)),
            };
            let Err((reason, key)) = entered else { continue };
            let retry = if reason.is_for_good() { Millis::ZERO } else { RETRY };
            let mut story = rule.story(Verdict::EXEMPT.rejected(reason, retry), key);
            if rule.settings.mode == Mode::DryRun {
                record.entry.dry_run.get_or_insert(Box::new(story));
                continue;
            }
            if reason.is_for_good() {
                story.fault = rule.zone.settings().key.fault(subject);
            }
            record.entry.limit = Some(story);
            return Err(Stop::Crowded(Rc::clone(route), index));
        }
        Ok(())
    }

    /// Takes the permit of one rule. The inner error is a reject with its reason and key.
    async fn enter_one(
        &self,
        rule: &ConcurrencyRule,
        key: u64,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Result<(), (Reason, u64)>, Stop> {
        let mut limit = rule.settings.limit;
        if rule.settings.mode == Mode::DryRun {
            limit.queue = 0;
        }
        let ticket = match rule.zone.enter(key, limit) {
            Entered::Now(permit) => {
                record.keep(permit);
                return Ok(Ok(()));
            }
            Entered::Full => return Ok(Err((Reason::Concurrency, key))),
            Entered::Waiting(ticket) => ticket,
        };
        let began = self.clock.now();
        match self.wait(ticket, rule.settings.max_wait, visit).await {
            Ok(permit) => {
                record.keep(permit);
                let waited = Millis::cut(self.clock.now().saturating_sub(began));
                note_wait(rule, key, waited, record);
                Ok(Ok(()))
            }
            Err(Some(reason)) => Ok(Err((reason, key))),
            Err(None) => {
                let detail = "the client left while its request waited for another to end";
                Err(Error::new(Kind::ClientGone, detail).into())
            }
        }
    }

    /// Waits until the request is admitted.
    ///
    /// # Errors
    /// The reason of a reject, or none when the client left. The place in line is free then, as it
    /// is when this future is dropped.
    async fn wait(
        &self,
        mut ticket: ConcurrencyTicket,
        max_wait: Duration,
        visit: &RequestContext<'_>,
    ) -> Result<ConcurrencyPermit, Option<Reason>> {
        let Some(_seat) = self.queue.enter_common() else { return Err(Some(Reason::QueueFull)) };
        let end = self.clock.at(self.clock.now() + max_wait);
        tokio::select! {
            biased;
            permit = poll_fn(|context| ticket.poll_admitted(context)) => Ok(permit),
            () = visit.line.departed() => Err(None),
            () = self.releases.until(end) => Err(Some(Reason::Concurrency)),
            () = self.too_late(self.drain.clone()) => Err(Some(Reason::Draining)),
        }
    }

    /// Completes when the process will stop so soon that the response would be cut.
    async fn too_late(&self, mut drain: Drain) {
        let last_release = drain.last_release().await;
        self.releases.until(last_release).await;
    }
}

/// Records the wait of a request that was admitted, if no rate limit held it longer.
fn note_wait(rule: &ConcurrencyRule, key: u64, wait: Millis, record: &mut Record) {
    let longest = record.entry.limit.as_ref().map_or(Millis::ZERO, |limit| limit.verdict.wait);
    if wait > longest {
        let verdict = Verdict { decision: Decision::Delay, wait, ..Verdict::EXEMPT };
        record.entry.limit = Some(rule.story(verdict, key));
    }
}
