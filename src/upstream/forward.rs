//! Forwarding of one request: address, connection, and retries.
//!
//! Guarantees (RFC 9110, section 9.2.2): a request is sent again only in three cases. Nothing of it
//! was written; an HTTP/2 endpoint reported that it did not process it; or it is idempotent, has no
//! body or one that is kept, and no byte of a response was received.
//!
//! A request that fails on a reused connection is retried on a fresh one, at another address if
//! there is one, within `attempts` and within the [`Budget`]. One that fails on a fresh connection
//! is sent once more if the upstream has a `hold`, after a pause. A connection that could not be
//! opened is not a try: the request moves on to each address that it has not tried, within the time
//! of `attempts` connect time-outs, at no cost to the budget. A request that was not processed is
//! not a try either, up to [`MOVES`] times; of refused streams only the first.

use std::{
    cell::{Ref, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, Version, header, response::Parts};
use http_body::Body;
use hyper::body::Incoming;
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use super::{
    address::Address,
    body::UpstreamBody,
    connect::Connector,
    connection_auth,
    endpoints::{EndpointGroup, Known},
    failure::{Loss, Resend},
    hold::Hold,
    http1::{Http1Conn, ResponseError, is_interim},
    http2,
    pool::{Caller, EndpointPermit, Lease, Pool, Way},
    replay::{Recording, Replay},
    retry::Budget,
    settings::UpstreamSettings,
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::{check_response, prepare_response},
        forwarded::Outbound,
        framing::{Flaw, response::check_size},
    },
    log::entry::UpstreamStory,
    runtime::{
        coarse_timer::CoarseTimer,
        io::{Progress, Repeat},
    },
};

/// Limit on resending a request that an endpoint did not process. A connection that goes away takes
/// along only the requests of one round trip, so a request hardly meets two of them; an endpoint
/// that processes nothing is met this often.
pub const MOVES: u32 = 10;

/// State of an upstream in one worker.
pub struct Upstream<B> {
    group: Arc<EndpointGroup>,
    known: RefCell<watch::Receiver<Known>>,
    /// One pool for each known address.
    pools: RefCell<Vec<Rc<Pool<B>>>>,
    connector: Connector,
    budget: Budget,
    alarm: Rc<CoarseTimer>,
}

fn nothing_left() -> Error {
    Error::new(Kind::ProxyInternalError, "the request was sent already and cannot be retried")
}

fn read_timeout() -> Error {
    Error::new(Kind::ConnectionReadTimeout, "the endpoint did not respond in time")
}

/// Request being forwarded.
struct Attempt<'a, B> {
    outbound: &'a Outbound<'a>,
    /// Part that may still be sent, if any.
    body: Option<Replay<B>>,
    /// Whole body for a retry, if there is none or all of it is kept.
    kept: Option<B>,
    /// True if its credentials authenticate the connection.
    binds: bool,
    caller: Caller<'a, B>,
    progress: &'a Progress,
    story: &'a mut UpstreamStory,
    /// Failures after which part of it may have been sent.
    tries: u32,
    /// Times that it was not processed.
    moves: u32,
    /// True after a refused stream.
    refused: bool,
    /// Time spent on connections that could not be opened.
    opening: Duration,
    /// Addresses that failed it.
    tried: Vec<Arc<Address>>,
    /// True after a failure on a reused connection: only a fresh one is used then.
    lost: bool,
    /// True after a failure on a fresh connection.
    unanswered: bool,
    hold: Hold,
}

/// Outcome of a failed try.
enum Failure {
    /// No connection: nothing was sent.
    Unsent(Error),
    /// A kept connection was closed before it took any of it.
    Stale(Error),
    /// The endpoint did not process it, and accepts nothing more on that connection.
    Unprocessed(Error),
    /// It may have been processed.
    Sent(Error),
    /// A fresh connection ended without a response.
    Unanswered(Error),
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Default + Repeat + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Creates an upstream without connections.
    #[must_use]
    pub fn new(group: &Arc<EndpointGroup>, connector: &Connector, alarm: &Rc<CoarseTimer>) -> Self {
        let upstream = Self {
            group: Arc::clone(group),
            known: RefCell::new(group.known()),
            pools: RefCell::default(),
            connector: group.connector(connector),
            budget: Budget::new(Instant::now()),
            alarm: Rc::clone(alarm),
        };
        upstream.renew();
        upstream
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
        for pool in &*self.pools() {
            pool.sweep();
        }
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// That of the last try, with its cause.
    pub async fn forward(
        &self,
        (outbound, body): (&Outbound<'_>, B),
        caller: Caller<'_, B>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        self.budget.earn();
        let hold = Hold::new(self.settings().hold);
        let (kept, body) = (body.again(), Some(Replay::new(body)));
        let mut attempt = Attempt {
            outbound,
            body,
            kept,
            binds: connection_auth::has_credentials(&outbound.fields),
            caller,
            progress,
            story,
            tries: 0,
            moves: 0,
            refused: false,
            opening: Duration::ZERO,
            tried: Vec::new(),
            lost: false,
            unanswered: false,
            hold,
        };
        loop {
            match self.attempt(&mut attempt).await {
                Ok(response) => return Ok(response),
                Err(failure) => self.try_again(failure, &mut attempt).await?,
            }
        }
    }

    async fn attempt(
        &self,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<Response<UpstreamBody<B>>, Failure> {
        attempt.story.tries += 1;
        // The client may have authenticated that connection.
        let bound = attempt.caller.take(&self.pools());
        if let Some(lease) = bound {
            attempt.story.endpoint = Some(Arc::clone(lease.address().label()));
            return self.send(lease, attempt).await;
        }
        self.settle().await;
        let now = Instant::now();
        let Some(permit) = self.choose(attempt, now) else {
            self.group.doubt(None);
            return Err(Failure::Unsent(Error::new(
                Kind::DnsError,
                "the endpoint's name did not resolve",
            )));
        };
        attempt.story.endpoint = Some(Arc::clone(permit.address().label()));
        let fresh = attempt.lost || !self.budget.covers_one();
        let is_repeatable = attempt.kept.is_some() && attempt.outbound.method.is_idempotent();
        let permit = if fresh { Err(permit) } else { permit.take(now, is_repeatable) };
        let lease = match permit {
            Ok(lease) => lease,
            Err(permit) => self.open(permit, attempt).await.map_err(Failure::Unsent)?,
        };
        self.send(lease, attempt).await
    }

    /// Decides on another try, after a pause if needed.
    async fn try_again(&self, failure: Failure, attempt: &mut Attempt<'_, B>) -> Result<(), Error> {
        let error = match failure {
            Failure::Unsent(error) if self.has_elsewhere(attempt) => {
                tracing::debug!(%error, "cannot open a connection; trying another address");
                return Ok(());
            }
            Failure::Unsent(error) if attempt.body.is_some() && !is_verdict(error.kind()) => {
                return self.pause(error, attempt).await;
            }
            // The next connection is a fresh one, so this happens once.
            Failure::Stale(_) if attempt.body.is_some() => return Ok(()),
            Failure::Unprocessed(error) if attempt.moves < MOVES => {
                tracing::debug!(%error, "the request was not processed; sending it on another \
                    connection");
                attempt.moves += 1;
                return Ok(());
            }
            Failure::Unprocessed(error) => return self.pause(error, attempt).await,
            Failure::Unsent(error) | Failure::Stale(error) => return Err(error),
            Failure::Sent(error) => error,
            Failure::Unanswered(error) if self.has_a_chance(attempt) => {
                attempt.hold.expect_no_haste();
                return self.pause(error, attempt).await;
            }
            Failure::Unanswered(error) => return Err(error),
        };
        attempt.tries += 1;
        if attempt.body.is_none() || attempt.tries >= self.settings().attempts {
            return Err(error);
        }
        if self.budget.spend(Instant::now()) {
            return Ok(());
        }
        Err(Error::caused(error.kind(), "the retry budget is spent", error))
    }

    /// Returns true if a request of which nothing was sent may move on to an address that it has
    /// not tried. That does not multiply the load, but it takes time if addresses are silent.
    fn has_elsewhere(&self, attempt: &Attempt<'_, B>) -> bool {
        let in_time = attempt.opening < self.settings().connect_timeout * self.settings().attempts;
        in_time
            && attempt.body.is_some()
            && self.pools().iter().any(|pool| !attempt.has_tried(pool.address()))
    }

    /// Returns true if a request that failed on a fresh connection may be sent again after a pause:
    /// an endpoint that was killed may accept connections for a moment longer. Only once, because
    /// the request may be what kills it.
    fn has_a_chance(&self, attempt: &mut Attempt<'_, B>) -> bool {
        let held = !self.settings().hold.is_zero() && attempt.body.is_some();
        held && !std::mem::replace(&mut attempt.unanswered, true)
            && self.budget.spend(Instant::now())
    }

    /// Pauses before the next look for an address, or gives up.
    async fn pause(&self, error: Error, attempt: &mut Attempt<'_, B>) -> Result<(), Error> {
        let known = self.known.borrow().clone();
        attempt.hold.or_give_up(error, known).await?;
        attempt.tries = 0;
        attempt.opening = Duration::ZERO;
        attempt.tried.clear();
        Ok(())
    }

    /// Waits for the first addresses of a name, within the connect time-out.
    async fn settle(&self) {
        if !self.pools().is_empty() {
            return;
        }
        let mut known = self.known.borrow().clone();
        let settled = known.wait_for(Known::is_settled);
        if tokio::time::timeout(self.settings().connect_timeout, settled).await.is_err() {
            tracing::debug!(upstream = &*self.settings().name, "no upstream name resolved in time");
        }
    }

    /// Chooses a fit address that did not fail this request; if there is none, any that did not
    /// fail it; if all did, a fit one, and then any.
    fn choose(&self, attempt: &Attempt<'_, B>, now: Instant) -> Option<EndpointPermit<B>> {
        let pools = self.pools();
        if let [only] = pools.as_slice() {
            return Some(only.permit());
        }
        let untried = |pool: &Rc<Pool<B>>| !attempt.has_tried(pool.address());
        let fit = |pool: &Rc<Pool<B>>| pool.address().health().is_fit(now);
        let among = |wanted: &dyn Fn(&Rc<Pool<B>>) -> bool| {
            let candidates = pools.iter().enumerate().filter(|(_, pool)| wanted(pool));
            let shares = candidates.map(|(position, pool)| (position, pool.share()));
            self.settings()
                .balance
                .choose(attempt.caller.address, shares)
                .map(|position| pools[position].permit())
        };
        among(&|pool| untried(pool) && fit(pool))
            .or_else(|| among(&untried))
            .or_else(|| among(&fit))
            .or_else(|| among(&|_| true))
    }

    /// Pools of the present addresses.
    fn pools(&self) -> Ref<'_, Vec<Rc<Pool<B>>>> {
        if self.known.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        self.pools.borrow()
    }

    fn renew(&self) {
        let mut known = self.known.borrow_mut();
        let known = known.borrow_and_update();
        let mut pools = self.pools.borrow_mut();
        let before = std::mem::take(&mut *pools);
        for address in &known.addresses {
            let kept = before.iter().find(|pool| Arc::ptr_eq(pool.address(), address));
            let pool =
                || Rc::new(Pool::new(Arc::clone(address), self.settings(), self.connector.clone()));
            pools.push(kept.cloned().unwrap_or_else(pool));
        }
        for gone in
            before.iter().filter(|before| !pools.iter().any(|pool| Rc::ptr_eq(pool, before)))
        {
            gone.retire();
        }
    }

    async fn open(
        &self,
        permit: EndpointPermit<B>,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<Lease<B>, Error> {
        let address = Arc::clone(permit.address());
        let start = Instant::now();
        let lease = permit.open().await;
        attempt.story.connect = Some(start.elapsed());
        if lease.is_err() {
            self.group.doubt(Some(address.endpoint()));
            self.group.unreachable(&address, Instant::now());
            attempt.opening += start.elapsed();
            attempt.tried.push(address);
        }
        lease
    }

    /// Sends a request once. After a failure `attempt` has the part that may be sent again, if any.
    async fn send(
        &self,
        mut lease: Lease<B>,
        attempt: &mut Attempt<'_, B>,
    ) -> Result<Response<UpstreamBody<B>>, Failure> {
        let Some(body) = attempt.body.take() else {
            return Err(Failure::Sent(nothing_left()));
        };
        let (sent, reused, outbound) = (Instant::now(), lease.is_reused(), attempt.outbound);
        if attempt.binds {
            lease.bind(&attempt.caller);
        }
        let answer = match &mut lease.way {
            Way::Own(connection) => {
                connection.begin(outbound, body);
                let answer = final_head(connection, attempt.progress);
                let answer = self.within_first_byte_timeout(attempt.progress, answer).await;
                answer.map(|answer| {
                    let lost = |e| Loss::of_exchange(e, connection, reused, outbound.method);
                    answer.map(|head| (head, None)).map_err(lost)
                })
            }
            Way::Stream(stream) => {
                if !body.is_end_stream() {
                    stream.expect_body();
                }
                let recording = Recording::new(body).or(attempt.again());
                let recorded = recording.recorded(stream.tasks());
                let request = http2::translate(outbound, recorded, self.settings().scheme());
                let answer = stream.sender().try_send_request(request.map_err(Failure::Sent)?);
                let answer = self.within_first_byte_timeout(attempt.progress, answer).await;
                answer.map(|answer| match answer.map(Response::into_parts) {
                    Ok((head, incoming)) => {
                        stream.follow(recording.end());
                        Ok((head, Some(incoming)))
                    }
                    Err(lost) => {
                        Err(Loss::of_stream(lost, recording, (stream, reused), outbound.method))
                    }
                })
            }
        };
        attempt.story.first_byte = Some(sent.elapsed());
        match answer {
            Some(Ok((head, incoming))) => {
                self.group.answered(lease.address(), sent);
                lease.has_response(&head.headers, &attempt.caller);
                attempt.story.status = Some(head.status);
                self.passed_on(head, incoming, lease, outbound.method).map_err(Failure::Sent)
            }
            Some(Err(loss)) => {
                if !loss.excused {
                    self.group.failed(lease.address(), Instant::now());
                }
                Err(attempt.lost(loss, &lease))
            }
            None => {
                self.group.failed(lease.address(), Instant::now());
                lease.timed_out(self.settings().first_byte_timeout);
                Err(Failure::Sent(read_timeout()))
            }
        }
    }

    /// Response as it is passed on.
    fn passed_on(
        &self,
        mut head: Parts,
        incoming: Option<Incoming>,
        lease: Lease<B>,
        method: &Method,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        if incoming.is_some() {
            check_response(head.status, &head.headers)?;
            let beyond = |flaw: Flaw| Error::new(Kind::HttpProtocolError, flaw.detail);
            check_size(&head.headers, self.settings().response_limits).map_err(beyond)?;
        }
        // The version belongs to each connection: the writer on the client side has its own.
        head.version = Version::HTTP_11;
        let silence = self.alarm.deadline(self.settings().idle_timeout);
        let mut body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            UpstreamBody::switching(lease, silence)
        } else {
            UpstreamBody::new(incoming, lease, silence)
        };
        // Content that must not be there is not passed on (RFC 9110, section 6.4.1).
        if *method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            body.end();
        }
        Ok(Response::from_parts(head, body))
    }

    /// Waits for a response, but not longer than the first-byte time-out after the last piece of
    /// the request was passed on.
    async fn within_first_byte_timeout<T>(
        &self,
        progress: &Progress,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        within_silence(&self.alarm, self.settings().first_byte_timeout, progress, answer).await
    }
}

impl<B: Repeat> Attempt<'_, B> {
    /// Returns the whole body for a retry.
    fn again(&self) -> Option<B> {
        self.kept.as_ref().and_then(B::again)
    }

    /// Takes back the part that may be sent again.
    fn lost(&mut self, loss: Loss<B>, lease: &Lease<B>) -> Failure {
        let (error, reused) = (loss.error, lease.is_reused());
        if loss.was_closed {
            lease.was_closed();
        }
        // An address whose connection served before and is now going away is as good as any.
        if !(reused && matches!(loss.again, Resend::Unprocessed(_))) {
            self.tried.push(Arc::clone(lease.address()));
            self.lost = true;
        }
        match loss.again {
            Resend::Never => Failure::Sent(error),
            Resend::Repeated => {
                self.body = self.again().map(Replay::new);
                Failure::Sent(error)
            }
            Resend::AfterPause => {
                self.body = self.again().map(Replay::new);
                Failure::Unanswered(error)
            }
            Resend::Unsent(body) => {
                self.body = Some(body);
                // A fresh connection that took nothing counts as none.
                if reused { Failure::Stale(error) } else { Failure::Unsent(error) }
            }
            Resend::Unprocessed(body) => {
                self.body = Some(body);
                Failure::Unprocessed(error)
            }
            Resend::Refused(body) => {
                self.body = Some(body);
                // The first time is bad luck, as when settings were not known yet; the second time
                // is load.
                if std::mem::replace(&mut self.refused, true) {
                    Failure::Sent(error)
                } else {
                    Failure::Unprocessed(error)
                }
            }
        }
    }
}

impl<B> Attempt<'_, B> {
    fn has_tried(&self, address: &Arc<Address>) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, address))
    }
}

/// Returns true for a permanent failure: a TLS handshake gives the same result the next time.
fn is_verdict(kind: Kind) -> bool {
    matches!(kind, Kind::TlsCertificateError | Kind::TlsProtocolError | Kind::TlsAlertReceived)
}

/// Waits for the head of the final response. Interim ones are passed to the client, except those
/// that weir sends itself.
async fn final_head<B>(
    connection: &mut Http1Conn<B>,
    progress: &Progress,
) -> Result<Parts, ResponseError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tower::BoxError>,
{
    loop {
        let mut head = poll_fn(|context| connection.poll_head(context)).await?;
        if !is_interim(head.status) {
            return Ok(head);
        }
        // The endpoint is working on it, so the first-byte time-out starts again.
        progress.moves();
        if let Some(client) =
            progress.interim.as_ref().filter(|_| head.status != StatusCode::CONTINUE)
        {
            prepare_response(&mut head.headers);
            // The response has no content (RFC 9110, section 8.6).
            head.headers.remove(header::CONTENT_LENGTH);
            head.version = Version::HTTP_2;
            client.send_interim(Response::from_parts(head, ()));
        }
    }
}

/// Waits for a response, but not longer than `timeout` after the last piece of the request was
/// passed on, or the last interim response arrived. Time that the client takes for the next piece
/// does not count.
async fn within_silence<T>(
    alarm: &Rc<CoarseTimer>,
    timeout: Duration,
    progress: &Progress,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let (mut answer, mut left) = (pin!(answer), timeout);
    loop {
        if let Some(answer) = alarm.within(left, answer.as_mut()).await {
            return Some(answer);
        }
        left = if progress.awaiting_client.get() {
            timeout
        } else {
            timeout.checked_sub(progress.still()?)?
        };
        if left.is_zero() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{runtime::coarse_timer::TICK, upstream::forward::*};

    #[tokio::test(start_paused = true)]
    async fn first_byte_counts_from_the_last_piece_and_not_while_the_client_owes_one() {
        let timeout = Duration::from_secs(30);
        let (progress, alarm) = (Progress::default(), Rc::new(CoarseTimer::default()));
        let test = async {
            let start = Instant::now();
            assert_eq!(
                within_silence(&alarm, timeout, &progress, std::future::pending::<()>()).await,
                None
            );
            assert!(
                (timeout..timeout + TICK * 2).contains(&start.elapsed()),
                "{:?}",
                start.elapsed()
            );

            let start = Instant::now();
            let uploading = async {
                tokio::time::sleep(Duration::from_secs(20)).await;
                progress.moves();
                std::future::pending::<()>().await;
            };
            assert_eq!(within_silence(&alarm, timeout, &progress, uploading).await, None);
            let after = timeout + Duration::from_secs(20);
            assert!((after..after + TICK * 4).contains(&start.elapsed()), "{:?}", start.elapsed());

            progress.awaiting_client.set(true);
            let slow_client = tokio::time::sleep(Duration::from_secs(100));
            assert_eq!(within_silence(&alarm, timeout, &progress, slow_client).await, Some(()));
        };
        tokio::select! {
            () = test => {}
            () = alarm.run() => {}
        }
    }
}
