//! Sending of a request on one connection, and the wait for the head of its response.

use std::{future::poll_fn, pin::pin, rc::Rc};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Duration;

use super::{
    body::UpstreamBody,
    failure::{Loss, Original},
    http1::{Http1Conn, ResponseError, is_interim},
    http2::{self, Http2Stream},
    pool::Lease,
    replay::{Recording, Replay},
    settings::UpstreamSettings,
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::{check_response, prepare_response},
        framing::{Flaw, response::check_size},
        known_name::KnownName,
        message::{Response, ResponseParts},
    },
    runtime::{
        coarse_timer::CoarseTimer,
        io::{Progress, Repeat},
    },
};

/// Request that is sent, and the limits on its response.
pub struct Sending<'a, B> {
    /// Request as it can be repeated.
    pub original: &'a Original<'a, B>,
    /// True if the connection has carried a request before.
    pub reused: bool,
    /// Progress of its body.
    pub progress: &'a Progress,
    /// Timer of the time-outs.
    pub alarm: &'a Rc<CoarseTimer>,
    /// Settings of the upstream.
    pub settings: &'a UpstreamSettings,
}

/// Outcome of sending a request.
pub enum Sent {
    /// A response started.
    Responded(ResponseStart),
    /// The connection or the stream failed.
    Lost(Loss),
    /// The first-byte time-out is over.
    TimedOut,
}

/// Head of a response, and its body if it is on an HTTP/2 stream.
pub struct ResponseStart {
    /// Head, as received.
    pub head: ResponseParts,
    /// Body on a stream; on an HTTP/1.1 connection the lease reads it.
    pub incoming: Option<Incoming>,
}

impl<B> Sending<'_, B>
where
    B: Body<Data = Bytes> + Default + Repeat + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Sends it on an HTTP/1.1 connection. The body is taken, and put back if the request may be
    /// sent again.
    pub async fn on_http1(&self, connection: &mut Http1Conn<B>, body: &mut Replay<B>) -> Sent {
        connection.begin(self.original.outbound, body);
        let head = final_head(connection, self.progress);
        match self.within_first_byte_timeout(head).await {
            Some(Ok(head)) => Sent::Responded(ResponseStart { head, incoming: None }),
            Some(Err(cause)) => {
                Sent::Lost(Loss::of_exchange(cause, connection, self.reused, self.original, body))
            }
            None => Sent::TimedOut,
        }
    }

    /// Sends it on an HTTP/2 stream. The body is taken, and put back if the request may be sent
    /// again.
    ///
    /// # Errors
    /// When the request cannot be expressed in HTTP/2.
    pub async fn on_http2(
        &self,
        stream: &mut Http2Stream<B>,
        body: &mut Replay<B>,
    ) -> Result<Sent, Error> {
        // Without a body nothing follows the head, so holding it back would only cost time.
        if !body.is_end_stream() {
            stream.expect_body();
        }
        // A collected body is kept already, so the stream need not record it again.
        let recording = Recording::new(std::mem::take(body)).or(self.original.body());
        let recorded = recording.recorded(stream.tasks());
        let request = http2::translate(self.original.outbound, recorded, self.settings.scheme())?;
        // This form returns the request if none of it was sent, which makes it safe to repeat.
        let response = stream.sender().try_send_request(request);
        Ok(match self.within_first_byte_timeout(response).await {
            Some(Ok(response)) => {
                // From here on the response decides when the upload ends, and nothing is repeated.
                stream.follow(recording.end());
                let (head, incoming) = response.into_parts();
                Sent::Responded(ResponseStart { head: head.into(), incoming: Some(incoming) })
            }
            Some(Err(lost)) => {
                let original = self.original;
                Sent::Lost(Loss::of_stream(lost, recording, stream, self.reused, original, body))
            }
            None => Sent::TimedOut,
        })
    }

    /// Response as it is passed on, with a body that keeps the lease until its end.
    ///
    /// # Errors
    /// When the response of HTTP/2 is not valid or too large; the reader of HTTP/1.1 has checked
    /// its own.
    pub fn passed_on(
        &self,
        ResponseStart { head, incoming }: ResponseStart,
        lease: Lease<B>,
    ) -> Result<Response<Box<UpstreamBody<B>>>, Error> {
        // hyper accepts fields and statuses that weir refuses on HTTP/1.1, so both are
        // checked alike.
        if incoming.is_some() {
            check_response(head.status, &head.headers)?;
            let beyond = |flaw: Flaw| Error::new(Kind::HttpProtocolError, flaw.detail);
            check_size(&head.headers, self.settings.response_limits).map_err(beyond)?;
        }
        let silence = self.alarm.deadline(self.settings.idle_timeout);
        let mut body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            UpstreamBody::switching(lease, silence)
        } else {
            UpstreamBody::new(incoming, lease, silence)
        };
        // Content that must not be there is not passed on (RFC 9110, section 6.4.1).
        if *self.original.outbound.method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            body.end();
        }
        Ok(Response { head, body })
    }

    /// Waits for a response, but not longer than the first-byte time-out after the last piece of
    /// the request was passed on.
    async fn within_first_byte_timeout<T>(&self, response: impl Future<Output = T>) -> Option<T> {
        let timeout = self.settings.first_byte_timeout;
        within_silence(self.alarm, timeout, self.progress, response).await
    }
}

/// Waits for the head of the final response. Interim ones are passed to the client, except those
/// that weir sends itself.
async fn final_head<B>(
    connection: &mut Http1Conn<B>,
    progress: &Progress,
) -> Result<ResponseParts, ResponseError>
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
            // `100 Continue` is due when weir reads the body, which it decides by itself.
            progress.interim.as_ref().filter(|_| head.status != StatusCode::CONTINUE)
        {
            prepare_response(&mut head.headers);
            // The response has no content (RFC 9110, section 8.6).
            head.headers.remove(KnownName::ContentLength);
            client.send_interim(head.to_http2());
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
        // The endpoint need not respond before the client has sent its request, so the whole time
        // starts again.
        left = if progress.awaiting_client.get() {
            timeout
        } else {
            // Pieces do not reset the timer. Their time counts only when it ends.
            timeout.checked_sub(progress.still()?)?
        };
        if left.is_zero() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use crate::{runtime::coarse_timer::TICK, upstream::send::*};

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
