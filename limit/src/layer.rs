//! Queueing limiter as a [`tower::Layer`], for any service that speaks `http`: axum, tonic, or your
//! own.
//!
//! Guarantees: a delayed request is held before the inner service sees it, and is never released
//! early. A held request that is dropped gives its place back. At most `queue` requests are held. A
//! held or rejected request reserves nothing of the inner service. This is the one file of the
//! limiter that uses tokio (its clock and timer) and tower.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, util::Oneshot};

use super::{
    gate::Gate,
    key::Subject,
    millis::Millis,
    normal_form,
    parked::{Next, Parked},
    queue::{Queue, QueuePermit},
    verdict::{Decision, Reason, Verdict},
};

/// Default of [`LimitLayer::queue`]: requests held at the same time.
const ROOM: usize = 10_000;

/// Layer that puts a [`Gate`] in front of a service.
///
/// ```
/// use std::{convert::Infallible, net::IpAddr, sync::Arc};
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, Service, ServiceExt, service_fn};
/// use weir_limit::{Gate, Key, LimitLayer, Part, Rule, RuleSettings, Zone, ZoneSettings};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let zone = Arc::new(Zone::new(ZoneSettings {
///     name: "per_ip".into(),
///     key: Key::of(vec![Part::ClientIp]),
///     rate: "1r/m".parse()?,
///     capacity: 1_000,
///     exempt: Vec::new(),
/// }));
/// let gate = Gate::new(vec![Rule::new(zone, RuleSettings::burst(0))?]).expect("few rules");
/// let client = |request: &Request<String>| request.extensions().get::<IpAddr>().copied();
/// let inner = service_fn(async |_: Request<String>| {
///     Ok::<_, Infallible>(Response::new(bytes::Bytes::new()))
/// });
/// let mut service = LimitLayer::new(Arc::new(gate), client).layer(inner);
/// let first = service.ready().await?.call(Request::new(String::new())).await?;
/// let second = service.ready().await?.call(Request::new(String::new())).await?;
/// assert_eq!(first.status(), StatusCode::OK);
/// assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LimitLayer<C> {
    desk: Arc<LayerShared>,
    queue: Arc<Queue>,
    status: StatusCode,
    client: C,
}

/// State shared by all clones of a service.
#[derive(Debug)]
struct LayerShared {
    gate: Arc<Gate>,
    origin: Instant,
}

impl<C> LimitLayer<C> {
    /// Limits by `gate`. `client` returns the client address of a request; all requests for which
    /// it returns none share one bucket.
    ///
    /// The layer knows no routes: `route` in a key counts as absent.
    pub fn new(gate: Arc<Gate>, client: C) -> Self {
        let queue = Queue::with_room(ROOM, gate.rules().len());
        let desk = LayerShared { gate, origin: Instant::now() };
        Self { desk: Arc::new(desk), queue, status: StatusCode::SERVICE_UNAVAILABLE, client }
    }

    /// Sets how many requests are held at the same time (default 10 000); further ones are
    /// rejected.
    #[must_use]
    pub fn queue(self, most: usize) -> Self {
        Self { queue: Queue::with_room(most, self.desk.gate.rules().len()), ..self }
    }

    /// Sets the status of a reject (default 503).
    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Returns the number of requests that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.queue.parked()
    }
}

impl<S, C: Clone> Layer<S> for LimitLayer<C> {
    type Service = LimitService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitService { layer: self.clone(), inner }
    }
}

/// Service behind a [`LimitLayer`].
#[derive(Clone, Debug)]
pub struct LimitService<S, C> {
    layer: LimitLayer<C>,
    inner: S,
}

impl<S, C, B, R> Service<Request<B>> for LimitService<S, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    C: Fn(&Request<B>) -> Option<IpAddr>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = LimitFuture<S, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let step = match self.layer.judge(&request) {
            Ok(None) => Step::Passed { answer: self.inner.call(request) },
            // The held request takes a clone: it may wait for minutes, and `Oneshot` asks for
            // readiness again at the release.
            Ok(Some(hold)) => {
                self.unready();
                let waiting = Some((hold, self.inner.clone(), request));
                // The first poll sets the timer before it polls it, so any instant does here.
                Step::Held { timer: sleep_until(Instant::now()), waiting }
            }
            Err(verdict) => {
                self.unready();
                Step::Rejected { answer: Some(self.layer.reject(&verdict)) }
            }
        };
        LimitFuture { step }
    }
}

impl<S: Clone, C> LimitService<S, C> {
    /// Releases what the inner service reserved for a request it will not see now: a clone has not
    /// been polled ready.
    fn unready(&mut self) {
        self.inner = self.inner.clone();
    }
}

impl<C> LimitLayer<C> {
    /// Returns nothing for a pass and a place in the line for a delay.
    ///
    /// # Errors
    /// The verdict of a reject.
    fn judge<B>(&self, request: &Request<B>) -> Result<Option<Hold>, Verdict>
    where
        C: Fn(&Request<B>) -> Option<IpAddr>,
    {
        let arrival = self.desk.origin.elapsed();
        let now = Millis::cut(arrival);
        let host = host(request);
        let uri = request.uri();
        // A path without a normal form is left to the inner service, which refuses it or takes it
        // as it is.
        let path = normal_form::path(uri.path()).unwrap_or(Cow::Borrowed(uri.path()));
        let client = (self.client)(request).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let method = normal_form::method(request.method());
        let subject = Subject {
            host: &host,
            path: &path,
            query: uri.query(),
            ..Subject::of(client, &method, request.headers())
        };
        let judgement = self.desk.gate.decide(&subject, now);
        let verdict = judgement.verdict;
        if verdict.decision == Decision::Reject {
            return Err(verdict);
        }
        let Some(parked) = judgement.parked else { return Ok(None) };
        // After the decision: only a delayed request needs room. Without room it gives its charges
        // back.
        let Some(permit) = self.queue.enter(parked.zone()) else {
            parked.leave(now);
            return Err(verdict.rejected(Reason::QueueFull, verdict.wait));
        };
        // The release counts from the arrival itself, not from the millisecond to which it was cut.
        let late = arrival.saturating_sub(now.into());
        Ok(Some(Hold { desk: Arc::clone(&self.desk), parked: Some(parked), late, _seat: permit }))
    }

    fn reject<R: From<Bytes>>(&self, verdict: &Verdict) -> Response<R> {
        let reason = verdict.reason.map_or("", Reason::as_str);
        let retry = (!verdict.reason.is_some_and(Reason::is_for_good)).then_some(verdict.retry);
        let free = retry.map_or_else(String::new, |retry| format!(", retry in {} ms", retry.0));
        let body = format!("rejected: {reason}{free}\n");
        let mut answer = Response::new(R::from(Bytes::from(body)));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        if let Some(retry) = retry {
            // 0 would invite the client to send the request again immediately.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry.seconds_up().max(1)));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer
    }
}

/// Held request. Dropped before its release, it leaves its line.
#[must_use]
struct Hold {
    desk: Arc<LayerShared>,
    parked: Option<Parked>,
    late: Duration,
    _seat: QueuePermit,
}

impl Hold {
    /// Ready when the request is released. A request that leaves the line ahead wakes `context`
    /// before the time that was computed on arrival.
    fn poll_turn(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        while let Some(parked) = &self.parked {
            let next = parked.look(Millis::cut(self.desk.origin.elapsed()), context.waker());
            let (Next::Go(at) | Next::LookAt(at)) = next;
            // tokio's timer rounds up, so a release is never early.
            let instant = self.desk.origin + Duration::from(at) + self.late;
            // A reset registers the timer again, so an unchanged one is left alone.
            if timer.deadline() != instant {
                timer.as_mut().reset(instant);
            }
            ready!(timer.as_mut().poll(context));
            // Released: the drop of this hold must not take the request out of lines any more.
            if matches!(next, Next::Go(_)) {
                self.parked = None;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(parked) = self.parked.take() {
            parked.leave(Millis::cut(self.desk.origin.elapsed()));
        }
    }
}

pin_project! {
    /// Future response of a [`LimitService`].
    #[must_use = "a request waits and is forwarded only while its future is polled"]
    pub struct LimitFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        step: Step<S, B, R>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S, B, R>
    where
        S: Service<Request<B>>,
    {
        Held { #[pin] timer: Sleep, waiting: Option<(Hold, S, Request<B>)> },
        Released { #[pin] answer: Oneshot<S, Request<B>> },
        Passed { #[pin] answer: S::Future },
        Rejected { answer: Option<Response<R>> },
    }
}

impl<S, B, R> Future for LimitFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let released = match step.as_mut().project() {
                StepProjection::Passed { answer } => return answer.poll(context),
                StepProjection::Released { answer } => return answer.poll(context),
                StepProjection::Rejected { answer } => {
                    // A poll after the end is an error of the caller. It stays pending rather than
                    // panics.
                    return answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)));
                }
                StepProjection::Held { timer, waiting } => {
                    if let Some((hold, ..)) = waiting {
                        ready!(hold.poll_turn(timer, context));
                    }
                    waiting.take()
                }
            };
            // The hold ends with this round of the loop, and with it the permit: a forwarded
            // request is not held.
            let Some((_released, service, request)) = released else { return Poll::Pending };
            step.set(Step::Released { answer: service.oneshot(request) });
        }
    }
}

impl<S: Service<Request<B>>, B, R> fmt::Debug for LimitFuture<S, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.step {
            Step::Held { .. } => "LimitFuture(held)",
            Step::Released { .. } | Step::Passed { .. } => "LimitFuture(forwarded)",
            Step::Rejected { .. } => "LimitFuture(rejected)",
        })
    }
}

/// Returns the requested host without its port, in its normal form.
fn host<B>(request: &Request<B>) -> Cow<'_, str> {
    let named = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().host().or_else(named).unwrap_or_default();
    let bare = match host.rsplit_once(':') {
        // An address in brackets without a port has a `]` behind its last colon, which is no digit.
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    };
    // Most hosts are in their normal form as sent, and cost no allocation then.
    let spelled = |byte: u8| byte.is_ascii_uppercase() || byte == b'[';
    if !bare.ends_with('.') && !bare.bytes().any(spelled) {
        return bare.into();
    }
    normal_form::host(bare).map_or(Cow::Borrowed(bare), Cow::Owned)
}
