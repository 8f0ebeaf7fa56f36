//! Forwarding one request: which address, which connection, and what may be tried again.
//!
//! Guarantees (RFC 9110, section 9.2.2): a request is sent again only if nothing of it was written,
//! if an HTTP/2 endpoint said that it did not process it, or if it is idempotent, has no body or
//! one that is kept, and not one byte of an answer came. Lost on a reused connection it goes out on
//! a fresh one, to another address where there is one, within `attempts` and within the [`Budget`].
//! Lost on a fresh one it is sent once more where the upstream has a `hold`, after a pause. A
//! connection that could not be opened is no try: the request moves on to each address that it has
//! not tried, within the time of `attempts` connect time-outs, and the budget pays nothing. Nor is
//! a request that was not processed a try, up to [`MOVES`] times; of refused streams only the
//! first.

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
    body::UpstreamBody,
    connect::Connector,
    endpoints::{Address, EndpointGroup, Known},
    failure::{Loss, Resend},
    hold::Hold,
    http1::{Http1Conn, ResponseError, is_interim},
    http2,
    pool::{EndpointPermit, Lease, Pool, Way},
    private_conn::{self, Caller},
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

/// How often a request is sent again that an endpoint did not process. Each connection that goes
/// away takes as few requests with it as came in one round trip, so that one is hardly met twice;
/// an endpoint that processes nothing is met this often.
pub const MOVES: u32 = 10;

/// An upstream as one worker sees it.
pub struct Upstream<B> {
    group: Arc<EndpointGroup>,
    known: RefCell<watch::Receiver<Known>>,
    /// One for each known address.
    pools: RefCell<Vec<Rc<Pool<B>>>>,
    connector: Connector,
    budget: Budget,
    alarm: Rc<CoarseTimer>,
}

fn nothing_left() -> Error {
    Error::new(Kind::ProxyInternalError, "there is nothing left of the request to send")
}

fn read_timeout() -> Error {
    Error::new(Kind::ConnectionReadTimeout, "the endpoint did not answer in time")
}

/// A request on its way.
struct Attempt<'a, B> {
    outbound: &'a Outbound<'a>,
    /// What may still be sent, if anything.
    body: Option<Replay<B>>,
    /// The body as it is sent again from its beginning, where there is none or all of it is kept.
    kept: Option<B>,
    /// It has credentials that authenticate the connection it goes out on.
    binds: bool,
    caller: Caller<'a, B>,
    progress: &'a Progress,
    story: &'a mut UpstreamStory,
    /// How often it was lost where anything of it may have been sent.
    tries: u32,
    /// How often it was not processed.
    moves: u32,
    /// A stream of it was refused.
    refused: bool,
    /// Time spent on connections that could not be opened.
    opening: Duration,
    /// Addresses that failed it.
    tried: Vec<Arc<Address>>,
    /// It was lost on a reused connection: only a fresh one will do.
    lost: bool,
    /// A fresh one has lost it too.
    unanswered: bool,
    hold: Hold,
}

/// How a try failed.
enum Failure {
    /// No connection: nothing was sent.
    Unsent(Error),
    /// On a kept connection that took nothing of it.
    Stale(Error),
    /// The endpoint did not process it, and takes nothing more on that connection.
    Unprocessed(Error),
    /// On the connection, of which that was to be expected.
    Sent(Error),
    /// On a connection that was opened for it.
    Unanswered(Error),
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Default + Repeat + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// An upstream without connections yet.
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

    /// What all workers know of it.
    #[must_use]
    pub fn group(&self) -> &Arc<EndpointGroup> {
        &self.group
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        self.group.settings()
    }

    /// Closes connections that were idle for too long, and those to addresses that are gone.
    pub fn sweep(&self) {
        for pool in &*self.pools() {
            pool.sweep();
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The last try's, with its cause.
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
            binds: private_conn::has_credentials(&outbound.fields),
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
        // It may have authenticated that.
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

    /// Whether there is another try, after a pause if need be.
    async fn try_again(&self, failure: Failure, attempt: &mut Attempt<'_, B>) -> Result<(), Error> {
        let error = match failure {
            Failure::Unsent(error) if self.has_elsewhere(attempt) => {
                tracing::debug!(%error, "no connection could be opened; trying another address");
                return Ok(());
            }
            Failure::Unsent(error) if attempt.body.is_some() && !is_verdict(error.kind()) => {
                return self.pause(error, attempt).await;
            }
            // The next connection is a fresh one: this happens once.
            Failure::Stale(_) if attempt.body.is_some() => return Ok(()),
            Failure::Unprocessed(error) if attempt.moves < MOVES => {
                tracing::debug!(%error, "the request was not processed; sending it on another connection");
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

    /// Whether a request of which nothing was sent may move on to an address that it has not tried.
    /// That multiplies no load, but it takes time where addresses are silent.
    fn has_elsewhere(&self, attempt: &Attempt<'_, B>) -> bool {
        let in_time = attempt.opening < self.settings().connect_timeout * self.settings().attempts;
        in_time
            && attempt.body.is_some()
            && self.pools().iter().any(|pool| !attempt.has_tried(pool.address()))
    }

    /// Whether a request that a fresh connection lost may be sent again, after a pause: an endpoint
    /// that was killed may take connections for a moment longer. Only once, for a request may be
    /// what kills it.
    fn has_a_chance(&self, attempt: &mut Attempt<'_, B>) -> bool {
        let held = !self.settings().hold.is_zero() && attempt.body.is_some();
        held && !std::mem::replace(&mut attempt.unanswered, true)
            && self.budget.spend(Instant::now())
    }

    /// Pauses before the next look for somebody who takes the request, or gives up.
    async fn pause(&self, error: Error, attempt: &mut Attempt<'_, B>) -> Result<(), Error> {
        let known = self.known.borrow().clone();
        attempt.hold.or_give_up(error, known).await?;
        attempt.tries = 0;
        attempt.opening = Duration::ZERO;
        attempt.tried.clear();
        Ok(())
    }

    /// Waits for the first addresses of a name, within the time to connect.
    async fn settle(&self) {
        if !self.pools().is_empty() {
            return;
        }
        let mut known = self.known.borrow().clone();
        let settled = known.wait_for(Known::is_settled);
        if tokio::time::timeout(self.settings().connect_timeout, settled).await.is_err() {
            tracing::debug!(upstream = &*self.settings().name, "no name has resolved in time");
        }
    }

    /// Of the addresses that did not fail this request those that are fit; if there are none, any
    /// that did not fail it; if all did, the fit ones, and then just any.
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

    /// The pools of the addresses there are now.
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

    /// Sends a request once. Where that fails, the journey has what may be sent again, if anything.
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

    /// An answer as it is passed on.
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
        // Versions are a matter of each connection: the writer on the client's side has its own.
        head.version = Version::HTTP_11;
        let silence = self.alarm.deadline(self.settings().idle_timeout);
        let mut body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            UpstreamBody::switching(lease, silence)
        } else {
            UpstreamBody::new(incoming, lease, silence)
        };
        // Content that should not be there is not passed on (RFC 9110, section 6.4.1).
        if *method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            body.end();
        }
        Ok(Response::from_parts(head, body))
    }

    /// Waits for an answer, but not longer than the time to the first byte after the last piece of
    /// the request was handed on.
    async fn within_first_byte_timeout<T>(
        &self,
        progress: &Progress,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        within_silence(&self.alarm, self.settings().first_byte_timeout, progress, answer).await
    }
}

impl<B: Repeat> Attempt<'_, B> {
    /// The whole body once more.
    fn again(&self) -> Option<B> {
        self.kept.as_ref().and_then(B::again)
    }

    /// Takes back what may be sent again.
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
                // A fresh connection that took nothing is as good as none.
                if reused { Failure::Stale(error) } else { Failure::Unsent(error) }
            }
            Resend::Unprocessed(body) => {
                self.body = Some(body);
                Failure::Unprocessed(error)
            }
            Resend::Refused(body) => {
                self.body = Some(body);
                // Once it is bad luck, as when settings were not known yet; after that it is load.
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

/// Whether a connection was refused for a reason that does not pass: a TLS handshake ends no better
/// the next time.
fn is_verdict(kind: Kind) -> bool {
    matches!(kind, Kind::TlsCertificateError | Kind::TlsProtocolError | Kind::TlsAlertReceived)
}

/// The head of the final answer. Of interim ones the client is told, but for those that weir gives
/// itself.
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
        // Somebody is at work on it: the time to the first byte starts again.
        progress.moves();
        if let Some(client) =
            progress.interim.as_ref().filter(|_| head.status != StatusCode::CONTINUE)
        {
            prepare_response(&mut head.headers);
            // It has no content to be the length of (RFC 9110, section 8.6).
            head.headers.remove(header::CONTENT_LENGTH);
            head.version = Version::HTTP_2;
            client.send_interim(Response::from_parts(head, ()));
        }
    }
}

/// Waits for an answer, but not longer than `timeout` after the last piece of the request was
/// handed on, or the last interim answer came; time the client takes for the next piece does not
/// count.
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
