//! Handling of malformed requests.
//!
//! Guarantee: the response names the flaw, and the request counts against the limits of its route
//! as far as its target can be read: malformed requests are not free.

use super::{Proxy, context::RequestContext, stop::Stop};
use crate::{
    http::{error::Error, framing::field_list::Unfit, message::RequestParts, target::Target},
    limit::{Decision, normal_form},
    log::{entry::Asked, record::Record},
};
use std::rc::Rc;

impl Proxy {
    /// Returns the outcome of a malformed request: a reject by the rules of its route, or else its
    /// flaw.
    pub(super) async fn refuse(
        &self,
        unfit: Unfit,
        head: &RequestParts,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Stop {
        let Unfit { flaw, target } = unfit;
        if let Some(target) = target {
            record.entry.path = Some(Asked::Other(target));
        }
        match self.charge(head, visit, record).await {
            Err(stop @ Stop::Rejected(..)) => stop,
            Ok(()) | Err(_) => Stop::Failed(Error::from(flaw)),
        }
    }

    /// Charges it to the rules of its route, if it has one.
    async fn charge(
        &self,
        head: &RequestParts,
        visit: &RequestContext<'_>,
        record: &mut Record,
    ) -> Result<(), Stop> {
        let target = Target::of(head, &visit.peer.last_host)?;
        record.entry.host = Some(Rc::clone(&target.host));
        if self.trust.is_trusted(visit.peer.address) {
            self.believe(head, visit.peer, record)?;
        }
        let (method, client) = (normal_form::method(&head.method), record.entry.client);
        let (route, path) = self.route(&method, &target, &head.headers, record)?;
        route.admit_network(client)?;
        let subject = route.subject(client, &target, &path, &method, &head.headers);
        let (mut verdict, parked) = self.judge(&route, &subject, visit, record);
        if let Some(parked) = parked {
            verdict = self.hold(verdict, parked, visit, record).await?;
        }
        match verdict.decision {
            Decision::Reject => Err(Stop::Rejected(route, verdict)),
            Decision::Pass | Decision::Delay | Decision::Exempt => Ok(()),
        }
    }
}
