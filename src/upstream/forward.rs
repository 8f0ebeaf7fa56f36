//! Forwarding of one request: address, connection, and retries (`retry.rs`).

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{StatusCode, header::SET_COOKIE};
use http_body::Body;
use tokio::time::Instant;

use super::{
    address_pools::{AddressPools, Choice},
    body::UpstreamBody,
    connect::Connector,
    connection_auth,
    endpoints::EndpointGroup,
    failure::{Failed, Loss, Original},
    pool::{Caller, EndpointPermit, Lease, Way},
    replay::Replay,
    retry::{Next, Retry},
    retry_budget::Budget,
    send::{Sending, Sent},
    settings::UpstreamSettings,
};
use crate::{
    http::{
        error::{Error, Kind},
        forwarded::Outbound,
        header_list::HeaderList,
        message::Response,
    },
    log::entry::UpstreamStory,
    runtime::{
        coarse_timer::CoarseTimer,
        io::{Progress, Repeat},
        rare::boxed,
    },
};

/// State of an upstream in one worker.
pub struct Upstream<B> {
    group: Arc<EndpointGroup>,
    pools: AddressPools<B>,
    budget: Budget,
    alarm: Rc<CoarseTimer>,
}

/// Request being forwarded.
struct Attempt<'a, B> {
    original: Original<'a, B>,
    /// True if its credentials authenticate the connection.
    binds: bool,
    caller: Caller<'a, B>,
    progress: &'a Progress,
    story: &'a mut UpstreamStory,
    retry: Retry,
    /// Body of the next try: a try takes it, and puts it back if there may be another.
    body: Replay<B>,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Default + Repeat + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Creates an upstream without connections.
    #[must_use]
    pub fn new(group: &Arc<EndpointGroup>, connector: &Connector, alarm: &Rc<CoarseTimer>) -> Self {
        Self {
            group: Arc::clone(group),
            pools: AddressPools::new(group, connector),
            budget: Budget::new(Instant::now()),
            alarm: Rc::clone(alarm),
        }
    }

    /// State shared by all workers.
    #[must_use]
    pub fn group(&self) -> &Arc<EndpointGroup> {
        &self.group
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        self.group.settings()
    }

    /// Closes connections that were idle for too long, and those to removed addresses.
    pub fn sweep(&self) {
        for pool in &*self.pools.present() {
            pool.sweep();
        }
    }

    /// Sends a request and waits for the head of its response. The body is taken.
    ///
    /// # Errors
    /// That of the last try, with its cause.
    pub fn forward(
        &self,
        outbound: &Outbound<'_>,
        body: &mut B,
        caller: Caller<'_, B>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> impl Future<Output = Result<Response<Box<UpstreamBody<B>>>, Error>> {
        self.forward_for::<0>(outbound, body, caller, progress, story)
    }

    /// Does the same for a request of weir's own. It is compiled apart, so that [`Self::forward`] has
    /// one caller and is compiled into it: every request runs through that one.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn ask(
        &self,
        outbound: &Outbound<'_>,
        body: &mut B,
        caller: Caller<'_, B>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> impl Future<Output = Result<Response<Box<UpstreamBody<B>>>, Error>> {
        self.forward_for::<1>(outbound, body, caller, progress, story)
    }

    async fn forward_for<const CALLER: u8>(
        &self,
        outbound: &Outbound<'_>,
        body: &mut B,
        caller: Caller<'_, B>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> Result<Response<Box<UpstreamBody<B>>>, Error> {
        // Once for each request, not for each try: tries must not pay for further tries.
        self.budget.earn();
        let mut attempt = Attempt {
            // Asked before any of the body is taken, because a body repeats only what is left of
            // it.
            original: Original { outbound, kept: body.again() },
            binds: connection_auth::has_credentials(&outbound.fields),
            caller: Caller { sticky: self.presented(outbound), ..caller },
            progress,
            story,
            retry: Retry::new(self.settings().hold),
            body: Replay::new(std::mem::take(body)),
        };
        loop {
            attempt.story.tries += 1;
            let sent = match self.lease(&mut attempt).await {
                Ok(lease) => self.send(lease, &mut attempt).await,
                Err(failed) => Err(failed),
            };
            match sent {
                // A service that weir asks itself is asked about a client, and not by it.
                Ok(mut response) if CALLER == 0 && self.settings().sticky.is_some() => {
                    self.lead_back(&mut response.head.headers, &attempt);
                    return Ok(response);
                }
                Ok(response) => return Ok(response),
                // Boxed, so that a request that does not fail has no memory for it.
                Err(failed) => boxed(self.try_again(failed, &mut attempt)).await?,
            }
        }
    }

    /// Connection or stream for the next try.
    async fn lease(&self, attempt: &mut Attempt<'_, B>) -> Result<Lease<B>, Box<Failed>> {
        // The client may have authenticated that connection.
        let bound = attempt.caller.take(&self.pools.present());
        if let Some(lease) = bound {
            attempt.story.endpoint = Some(Arc::clone(lease.address().label()));
            return Ok(lease);
        }
        // Waits only before the first result for a name, as after a start.
        self.pools.settle().await;
        let now = Instant::now();
        let (permit, now) = match self.pools.choose(&attempt.caller, &attempt.retry, now) {
            Choice::Permit(permit) => (permit, now),
            Choice::Full => {
                let waiting = boxed(self.pools.wait_for_room(&attempt.caller));
                (waiting.await.map_err(Failed::finally)?, Instant::now())
            }
            Choice::Nowhere => {
                // The name is resolved now, not at the next interval.
                self.group.doubt(None);
                let error = Error::new(Kind::DnsError, "the endpoint's name did not resolve");
                return Err(Failed::without_connection(error));
            }
        };
        attempt.story.endpoint = Some(Arc::clone(permit.address().label()));
        // A kept connection may turn out closed. Without credit such a loss could not be repaired.
        let may_use_kept = attempt.retry.may_use_kept() && self.budget.covers_one(now);
        let permit = if may_use_kept {
            permit.take(now, attempt.original.is_repeatable())
        } else {
            Err(permit)
        };
        match permit {
            Ok(lease) => Ok(lease),
            Err(permit) => {
                boxed(self.open(permit, attempt)).await.map_err(Failed::without_connection)
            }
        }
    }

    /// Prepares another try, after a pause if needed.
    async fn try_again(
        &self,
        failed: Box<Failed>,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<(), Error> {
        let Failed { error, again } = *failed;
        let Some(failure) = again else { return Err(error) };
        let has_untried = |retry: &Retry| self.pools.has_untried(retry);
        match attempt.retry.next(failure, self.settings(), has_untried) {
            Next::Now => {}
            Next::Other => {
                tracing::debug!(%error, "cannot open a connection; trying another address");
            }
            Next::Move => {
                tracing::debug!(%error, "the request was not processed; sending it on another \
                    connection");
            }
            Next::Try if self.budget.spend(Instant::now()) => {}
            Next::Try => {
                // The cause stays in the chain, so the line says both why it failed and why there
                // was no retry.
                return Err(Error::caused(error.kind(), "the retry budget is spent", error));
            }
            Next::Hold if !self.budget.spend(Instant::now()) => return Err(error),
            Next::Pause | Next::Hold => attempt.retry.pause(error, self.pools.known()).await?,
            Next::Never => return Err(error),
        }
        Ok(())
    }

    async fn open(
        &self,
        permit: EndpointPermit<B>,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<Lease<B>, Error> {
        let address = Arc::clone(permit.address());
        let start = Instant::now();
        let lease = permit.open(&attempt.caller).await;
        attempt.story.connect = Some(start.elapsed());
        if lease.is_err() {
            // A container that was replaced has another address, which its name already leads to.
            self.group.doubt(Some(address.endpoint()));
            self.group.unreachable(&address, Instant::now());
            // Connects are the slow part of moving on, so only their time bounds it.
            attempt.retry.not_opened(address, start.elapsed());
        }
        lease
    }

    /// Sends a request once.
    async fn send(
        &self,
        mut lease: Lease<B>,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<Response<Box<UpstreamBody<B>>>, Box<Failed>> {
        let start = Instant::now();
        // Bound before the request is sent. Afterwards the endpoint may already have
        // authenticated it.
        if attempt.binds {
            lease.bind(&attempt.caller);
        }
        let sending = Sending {
            original: &attempt.original,
            reused: lease.is_reused(),
            progress: attempt.progress,
            alarm: &self.alarm,
            settings: self.settings(),
        };
        let sent = match &mut lease.way {
            Way::Own(connection) => sending.on_http1(connection, &mut attempt.body).await,
            // Boxed, because it takes more memory than all else of a request.
            Way::Stream(stream) => {
                let sent = boxed(sending.on_http2(stream, &mut attempt.body)).await;
                sent.map_err(Failed::finally)?
            }
        };
        // Recorded for failed tries too: the line of a time-out shows how long it took.
        attempt.story.first_byte = Some(start.elapsed());
        match sent {
            Sent::Responded(response) => {
                self.group.answered(lease.address(), start);
                lease.has_response(&response.head.headers, &attempt.caller);
                let status = response.head.status;
                attempt.story.status = Some(status);
                if !self.settings().retry_statuses.is_empty()
                    && let Some(body) =
                        self.instead_of(status, &lease, &mut attempt.retry, &attempt.original)
                {
                    attempt.body = body;
                    return Err(Failed::unwanted());
                }
                sending.passed_on(response, lease).map_err(Failed::finally)
            }
            Sent::Lost(loss) => Err(self.lost(loss, &lease, &mut attempt.retry)),
            Sent::TimedOut => {
                // A time-out ejects like a lost connection, but the request may be in progress:
                // no repeat.
                self.group.failed(lease.address(), Instant::now());
                lease.timed_out(self.settings().first_byte_timeout);
                let detail = "the endpoint did not respond in time";
                Err(Failed::finally(Error::new(Kind::ConnectionReadTimeout, detail)))
            }
        }
    }

    /// Body of another try in place of a response with this status, if it is not wanted and there
    /// may be one at an address that the request has not tried.
    #[cold]
    fn instead_of(
        &self,
        status: StatusCode,
        lease: &Lease<B>,
        retry: &mut Retry,
        original: &Original<'_, B>,
    ) -> Option<Replay<B>> {
        let settings = self.settings();
        if !settings.retry_statuses.contains(&status) || !original.is_repeatable() {
            return None;
        }
        let (body, now) = (original.body()?, Instant::now());
        let may_try = retry.leaves_for_another(lease.address(), settings);
        // An address that is ejected would hardly respond better. The budget last: only a try that
        // is made is paid.
        let is_sent = may_try && self.pools.has_fit_untried(retry, now) && self.budget.spend(now);
        is_sent.then(|| Replay::new(body))
    }

    /// Sticky cookie that a client sent, if the upstream has one.
    fn presented<'a>(&self, outbound: &'a Outbound<'_>) -> Option<&'a [u8]> {
        self.group.sticky()?.presented(outbound.fields.unchanged())
    }

    /// Sets the cookie that leads the client back to the endpoint that served it, unless it has that
    /// one.
    #[cold]
    #[inline(never)]
    fn lead_back(&self, headers: &mut HeaderList, attempt: &Attempt<'_, B>) {
        let served = attempt.story.endpoint.as_ref();
        let id = served.and_then(|label| self.pools.sticky_id(label));
        let (Some(sticky), Some(id)) = (self.group.sticky(), id) else { return };
        if attempt.caller.sticky != Some(id.as_bytes())
            && let Some(cookie) = sticky.cookie(&id, attempt.caller.is_secure)
        {
            headers.append(&SET_COOKIE, &cookie);
        }
    }

    /// Records the loss of a connection.
    #[cold]
    fn lost(&self, loss: Loss, lease: &Lease<B>, retry: &mut Retry) -> Box<Failed> {
        // Otherwise normal closes of kept connections would eject a healthy address.
        if !loss.excused {
            self.group.failed(lease.address(), Instant::now());
        }
        if loss.was_closed {
            lease.was_closed();
        }
        if let Some(failure) = loss.failed.again {
            retry.failed_at(lease.address(), failure);
        }
        loss.failed
    }
}
