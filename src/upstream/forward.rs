//! Forwarding one request: which endpoint, which connection, and what may be tried again.
//!
//! Guarantees (RFC 9110, section 9.2.2): a request is sent again only if nothing of it was written, or if it is idempotent, has no
//! body, went out on a reused connection and not one byte of an answer came; then once, on a fresh connection, within `attempts`.

use std::{cell::Cell, pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{
    body::UpstreamBody,
    connect::Connector,
    pool::{Lease, Pool},
    settings::UpstreamSettings,
};
use crate::{
    alarm::Alarm,
    error::{Error, Kind},
    observe::entry::UpstreamStory,
    stream::Progress,
};

/// The most fields of a request that is sent again: what clients may send and what weir adds.
const MAX_FIELDS: usize = 1024;

/// An upstream as one worker sees it.
pub struct Upstream<B> {
    settings: UpstreamSettings,
    pools: Vec<Rc<Pool<B>>>,
    next: Cell<usize>,
    alarm: Rc<Alarm>,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Default + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// An upstream without connections yet.
    #[must_use]
    pub fn new(settings: UpstreamSettings, connector: &Connector, alarm: &Rc<Alarm>) -> Self {
        let pool =
            |endpoint: &super::settings::Endpoint| Rc::new(Pool::new(endpoint.clone(), &settings, connector.clone()));
        let pools = settings.endpoints.iter().map(pool).collect();
        Self { settings, pools, next: Cell::new(0), alarm: Rc::clone(alarm) }
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Closes connections that were idle for too long.
    pub fn sweep(&self) {
        for pool in &self.pools {
            pool.sweep();
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The last try's, with its cause.
    pub async fn forward(
        &self,
        request: Request<B>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        let mut request = Some(request);
        let mut hold = Hold::new(self.settings.hold);
        let mut tries = 0;
        loop {
            story.tries += 1;
            tries += 1;
            let last = tries >= self.settings.attempts;
            let pool = self.next_pool();
            story.endpoint = Some(Arc::clone(pool.label()));
            let now = Instant::now();
            let idle = if story.tries == 1 { pool.take(now) } else { None };
            let lease = match idle {
                Some(lease) => lease,
                None => match open(&pool, story).await {
                    Ok(lease) => lease,
                    Err(_) if !last && self.pools.len() > 1 => continue,
                    Err(error) => {
                        hold.or_give_up(error).await?;
                        tries = 0;
                        continue;
                    }
                },
            };
            match self.send(lease, &mut request, progress, story).await {
                Ok(response) => return Ok(response),
                Err(_) if !last && request.is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn next_pool(&self) -> Rc<Pool<B>> {
        let turn = self.next.get();
        self.next.set(turn.wrapping_add(1));
        Rc::clone(&self.pools[turn % self.pools.len()])
    }

    /// Sends a request once. Where that fails, `request` is what may be sent again, if anything.
    async fn send(
        &self,
        mut lease: Lease<B>,
        request: &mut Option<Request<B>>,
        progress: &Progress,
        story: &mut UpstreamStory,
    ) -> Result<Response<UpstreamBody<B>>, Error> {
        let Some(whole) = request.take() else {
            return Err(Error::new(Kind::ProxyInternalError, "there is nothing left of the request to send"));
        };
        let repeatable = lease.is_reused() && whole.body().is_end_stream() && whole.method().is_idempotent();
        if repeatable {
            lease.keep_head();
        }
        let (start, received) = (Instant::now(), lease.received());
        let answer = lease.sender().try_send_request(whole);
        let answer = within_silence(&self.alarm, self.settings.first_byte_timeout, progress, answer).await;
        story.first_byte = Some(start.elapsed());
        let response = match answer {
            Some(Ok(response)) => response,
            Some(Err(mut lost)) => {
                *request = lost.take_message();
                if request.is_none() && repeatable && lease.received() == received {
                    *request = read_back(&lease.kept_head());
                }
                return Err(unanswered(lost.into_error()));
            }
            None => return Err(Error::new(Kind::ConnectionReadTimeout, "the endpoint did not answer in time")),
        };
        story.status = Some(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::new(Kind::HttpProtocolError, "the endpoint switched protocols unasked"));
        }
        Ok(response.map(|incoming| UpstreamBody::new(incoming, lease, self.alarm.deadline(self.settings.idle_timeout))))
    }
}

/// A request that found nobody to take it, and waits for somebody to come back: nothing of it was sent.
struct Hold {
    until: Option<Instant>,
    time: Duration,
    pause: Duration,
}

impl Hold {
    /// The first and the longest pause between two looks.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

    fn new(time: Duration) -> Self {
        Self { until: None, time, pause: Self::PAUSES.0 }
    }

    /// Pauses before the next look, or gives up with what the last one met.
    async fn or_give_up(&mut self, error: Error) -> Result<(), Error> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.time);
        if now + self.pause > until {
            return Err(error);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::PAUSES.1);
        Ok(())
    }
}

async fn open<B>(pool: &Rc<Pool<B>>, story: &mut UpstreamStory) -> Result<Lease<B>, Error>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    let start = Instant::now();
    let lease = pool.open().await;
    story.connect = Some(start.elapsed());
    lease
}

/// Waits for an answer, but not longer than `timeout` after the last piece of the request was handed on; time the client takes
/// for the next piece does not count.
async fn within_silence<T>(
    alarm: &Rc<Alarm>,
    timeout: Duration,
    progress: &Progress,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        let pieces = progress.pieces.get();
        match alarm.within(timeout, answer.as_mut()).await {
            Some(answer) => return Some(answer),
            None if progress.awaiting_client.get() || progress.pieces.get() != pieces => {}
            None => return None,
        }
    }
}

/// A request without a body, read back from the head that was written: it costs nothing until it is needed, where a copy of the
/// fields would be made for every request.
fn read_back<B: Default>(head: &[u8]) -> Option<Request<B>> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let request = Request::builder().method(parsed.method?).uri(parsed.path?);
    let request = parsed.headers.iter().fold(request, |request, field| request.header(field.name, field.value));
    request.body(B::default()).ok()
}

fn unanswered(cause: hyper::Error) -> Error {
    if cause.is_parse() {
        return Error::caused(Kind::HttpProtocolError, "the endpoint's answer is not HTTP", cause);
    }
    Error::caused(Kind::ConnectionTerminated, "the endpoint closed the connection before its answer", cause)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::alarm::TICK;

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let read = |head: &str| read_back::<()>(head.as_bytes());
        let request = read("GET /a?b=%20 HTTP/1.1\r\nhost: a\r\ncookie: 1\r\ncookie: 2\r\n\r\n").expect("a whole head");
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", "/a?b=%20"));
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((cookies, request.headers().len()), (vec![&b"1"[..], b"2"], 3));
        assert!(read("GET / HTTP/1.1\r\nhost: a\r\n").is_none());
        assert!(read("").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_piece_and_not_while_the_client_owes_one() {
        let timeout = Duration::from_secs(30);
        let (progress, alarm) = (Progress::default(), Rc::new(Alarm::default()));
        let test = async {
            let start = Instant::now();
            assert_eq!(within_silence(&alarm, timeout, &progress, std::future::pending::<()>()).await, None);
            assert!((timeout..timeout + TICK * 2).contains(&start.elapsed()), "{:?}", start.elapsed());

            let start = Instant::now();
            let uploading = async {
                tokio::time::sleep(Duration::from_secs(20)).await;
                progress.pieces.set(1);
                std::future::pending::<()>().await;
            };
            assert_eq!(within_silence(&alarm, timeout, &progress, uploading).await, None);
            assert!((timeout * 2..timeout * 2 + TICK * 4).contains(&start.elapsed()), "{:?}", start.elapsed());

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
