//! HTTP/1.1 connection to an endpoint. The request is sent while its response is received, if both
//! take long.
//!
//! Guarantees: one request at a time, written with exactly one framing. No byte of a response is
//! taken for that of another request. Received data that was not taken is never much more than
//! [`READ_MOST`]. The rest of a request is sent while its response is taken. A long response is
//! read in turns, so other connections do not wait for its end.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tower::BoxError;

use super::{
    connect::BoxedIo,
    replay::{Replay, TakenPiece},
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::keep_crossing_trailers,
        forwarded::Outbound,
        framing::{
            Flaw, HeaderLimits,
            body::{BodyDecoder, Piece, READ, READ_MOST},
            chunked::{CHUNK_END, END_AND_LAST, LAST_CHUNK},
            request::{Framing, write_end, write_framing, write_line, write_size},
            response,
        },
        message::ResponseParts,
    },
    runtime::{
        io::{Switched, poll_once, take_steps},
        write_buffer::WriteBuffer,
    },
};

/// Bytes read that count as one step of the reading task ([`take_steps`]): twice the largest read
/// is a turn.
const BYTES_A_STEP: usize = READ_MOST / 64;
/// Size that most request heads fit in.
const USUAL_HEAD: usize = 1024;
/// Limit on interim responses before the final head, in bytes.
const BEFORE_HEAD: usize = 256 * 1024;

/// Connection with its current request.
pub struct Http1Conn<B> {
    stream: BoxedIo,
    outgoing: Outgoing<B>,
    /// Received data that was not taken yet.
    received: BytesMut,
    /// True if that buffer has grown beyond its usual size.
    roomy: bool,
    /// Bytes received since the request started.
    heard: usize,
    /// Size of the first read of a response: that of the response before. Most endpoints send many
    /// of one size, and then a response takes one read and one write.
    usual: usize,
    /// True for HEAD.
    to_head: bool,
    answer: BodyDecoder,
    /// True if another request may follow the response.
    persists: bool,
    limits: HeaderLimits,
}

/// Part of a request still to be written.
struct Outgoing<B> {
    out: WriteBuffer,
    body: Option<Replay<B>>,
    /// Piece of the body that is sent with the head, until any of them is written.
    early: Option<TakenPiece>,
    framing: Framing,
    flushed: bool,
    /// True once any of the request was written.
    begun: bool,
}

/// Reason why a response did not arrive, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The request body broke.
    #[error("the request's body failed")]
    Upload(#[source] BoxError),
    /// The connection ended.
    #[error("the connection ended")]
    Connection(#[source] io::Error),
    /// The response is invalid.
    #[error("{0}")]
    Malformed(Flaw),
}

impl ResponseError {
    /// Converts it to the error of a request without a response.
    #[must_use]
    pub fn unanswered(self) -> Error {
        let (kind, detail) = match self {
            Self::Malformed(flaw) => return Error::new(Kind::HttpProtocolError, flaw.detail),
            Self::Upload(_) => {
                (Kind::ConnectionTerminated, "the request could not be sent completely")
            }
            Self::Connection(_) => (
                Kind::ConnectionTerminated,
                "the endpoint closed the connection before its \
                    response",
            ),
        };
        Error::caused(kind, detail, self)
    }
}

impl<B> Http1Conn<B> {
    /// Creates a fresh connection with these limits on response heads.
    #[must_use]
    pub fn new(stream: BoxedIo, limits: HeaderLimits) -> Box<Self> {
        let outgoing = Outgoing {
            out: WriteBuffer::default(),
            body: None,
            early: None,
            framing: Framing::Nothing,
            flushed: true,
            begun: false,
        };
        let (received, answer) = (BytesMut::new(), BodyDecoder::default());
        Box::new(Self {
            stream,
            outgoing,
            received,
            roomy: false,
            heard: 0,
            usual: READ,
            to_head: false,
            answer,
            persists: true,
            limits,
        })
    }

    /// Returns true if it may carry another request, unless the endpoint has closed it: the last
    /// one is over, and no data stands behind its response.
    #[must_use]
    pub fn may_carry_another(&self) -> bool {
        let over = self.persists && self.answer.has_ended() && self.outgoing.is_over();
        over && self.received.is_empty()
    }

    /// Returns true if it may carry another request, and the endpoint neither closed it nor sent
    /// anything since the last one.
    pub fn is_free(&mut self) -> bool {
        self.may_carry_another() && self.is_silent()
    }

    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        poll_once(|context| {
            Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte))
        })
        .is_pending()
    }

    /// Frees large buffers, as the connection is idle, and notes the size of its response.
    pub fn rest(&mut self) {
        self.usual = self.heard.clamp(READ, READ_MOST + READ);
        if std::mem::take(&mut self.roomy) {
            self.received = BytesMut::new();
        }
        self.outgoing.out.shrink(READ);
    }

    /// Returns true if any of the request was written.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.outgoing.begun
    }

    /// Returns true if anything was received since the request started.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        self.heard > 0
    }

    /// Takes back the body of a request that was not started.
    pub fn take_back(&mut self) -> Replay<B>
    where
        B: Default,
    {
        let mut body = self.outgoing.body.take().unwrap_or_default();
        if let Some(piece) = self.outgoing.early.take() {
            body.put_back(piece);
        }
        body
    }

    /// Returns true if the request was sent completely.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.outgoing.is_over()
    }

    /// Returns true if the response is complete.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.answer.has_ended()
    }

    /// Bytes of the response still to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        self.answer.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Returns the connection after a protocol switch, with the data received on it already.
    #[must_use]
    pub fn switch(self) -> Switched {
        Switched { io: self.stream, early: self.received.freeze(), counted: None }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let awaited = if self.heard == 0 { self.usual } else { self.answer.read_size() };
        self.roomy |= awaited > READ;
        // A read that does not fill the buffer says that the socket is empty. Otherwise the look at
        // the idle connection would cost a system call.
        self.received.reserve(awaited + 1);
        let count = ready!(pin!(self.stream.read_buf(&mut self.received)).poll(context))?;
        self.heard += count;
        take_steps(count / BYTES_A_STEP, context);
        Poll::Ready(Ok(count))
    }
}

impl<B> Http1Conn<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Starts a request; [`Self::poll_head`] sends it. Legal only on a connection that is free. A
    /// body that has content is taken.
    pub fn begin(&mut self, request: &Outbound<'_>, body: &mut Replay<B>)
    where
        B: Default,
    {
        self.to_head = *request.method == Method::HEAD;
        self.heard = 0;
        self.outgoing.begin(request, body);
    }

    /// Sends the request and waits for the head of a response: interim ones first, then the final
    /// one.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseParts, ResponseError>> {
        let sent = self.outgoing.poll(&mut self.stream, context);
        let broken = match sent {
            // An endpoint that accepts no more data may have responded before.
            Poll::Ready(Err(ResponseError::Connection(cause))) if self.outgoing.begun => {
                Some(self.give_up_sending(cause))
            }
            Poll::Ready(Err(lost)) => return Poll::Ready(Err(lost)),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            if let Some(parts) = self.take_head().map_err(ResponseError::Malformed)? {
                return Poll::Ready(Ok(parts));
            }
            if ready!(self.poll_receive(context)).map_err(ResponseError::Connection)? == 0 {
                let end = || io::ErrorKind::UnexpectedEof.into();
                return Poll::Ready(Err(ResponseError::Connection(broken.unwrap_or_else(end))));
            }
        }
    }

    fn give_up_sending(&mut self, cause: io::Error) -> io::Error {
        self.outgoing.give_up();
        self.persists = false;
        cause
    }

    /// Head of the next response, if it has arrived.
    fn take_head(&mut self) -> Result<Option<ResponseParts>, Flaw> {
        if !self.received.is_empty()
            && let Some(begun) = response::head(&mut self.received, self.to_head, self.limits)?
        {
            if !is_interim(begun.parts.status) {
                self.answer = begun.body;
                self.persists &= begun.persists;
            }
            return Ok(Some(begun.parts));
        }
        if self.heard > BEFORE_HEAD + self.limits.size {
            return Err(Flaw {
                kind: Kind::HttpProtocolError,
                detail: "too many interim responses",
            });
        }
        Ok(None)
    }

    /// Next piece of the response body, while the rest of the request is sent.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if !self.outgoing.is_over() {
            match self.outgoing.poll(&mut self.stream, context) {
                // The endpoint would wait for the rest forever.
                Poll::Ready(Err(lost @ ResponseError::Upload(_))) => {
                    return Poll::Ready(Some(Err(lost)));
                }
                Poll::Ready(Err(cause)) => {
                    tracing::debug!(%cause, "cannot send the rest of a request after its response");
                    self.outgoing.give_up();
                    self.persists = false;
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match self.answer.take(&mut self.received).map_err(ResponseError::Malformed)? {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Piece::Trailers(trailers) => {
                    return Poll::Ready(
                        crossing(trailers).map(|fields| Ok(Frame::trailers(fields))),
                    );
                }
                Piece::End => return Poll::Ready(None),
                Piece::More => {}
            }
            if ready!(self.poll_receive(context)).map_err(ResponseError::Connection)? == 0 {
                let end = || Err(ResponseError::Connection(io::ErrorKind::UnexpectedEof.into()));
                return Poll::Ready(if self.answer.close() { None } else { Some(end()) });
            }
        }
    }
}

/// Returns true if another response follows (RFC 9110, section 15.2). A protocol switch is the
/// last.
#[must_use]
pub fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn crossing(mut trailers: HeaderMap) -> Option<HeaderMap> {
    keep_crossing_trailers(&mut trailers);
    (!trailers.is_empty()).then_some(trailers)
}

impl<B> Outgoing<B> {
    fn is_over(&self) -> bool {
        self.body.is_none() && self.out.is_empty() && self.flushed
    }

    /// Drops what was not written yet.
    fn give_up(&mut self) {
        self.out = WriteBuffer::default();
        self.body = None;
        self.early = None;
        self.flushed = true;
    }

    fn poll_write(
        &mut self,
        stream: &mut BoxedIo,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let waiting = self.out.len();
        let written = self.out.poll_write(stream, context);
        if self.out.len() < waiting {
            self.begun = true;
            self.flushed = false;
            self.early = None;
        }
        ready!(written)?;
        if !self.flushed {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn begin(&mut self, request: &Outbound<'_>, body: &mut Replay<B>)
    where
        B: Default,
    {
        self.framing = Framing::of(request.method, body);
        let text = self.out.text();
        text.reserve(USUAL_HEAD);
        write_line(text, request.method, request.target);
        request.fields.write(text);
        write_framing(text, self.framing);
        self.body = (!body.is_end_stream()).then(|| std::mem::take(body));
        self.begun = false;
        self.flushed = false;
        self.early = None;
    }

    /// Ready once everything is written. Body data that is there already is sent with the head, in
    /// one segment.
    fn poll(
        &mut self,
        stream: &mut BoxedIo,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ResponseError>> {
        loop {
            // Until the first piece of the body was looked for, the head is not written: a piece
            // that is there leaves with it. `early` keeps that piece until a byte is written, as
            // the request can be taken back whole until then.
            let holds_head = !self.begun && self.body.is_some() && self.early.is_none();
            if !holds_head {
                ready!(self.poll_write(stream, context)).map_err(ResponseError::Connection)?;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
                if holds_head && !self.awaits_no_body() {
                    ready!(self.poll_write(stream, context)).map_err(ResponseError::Connection)?;
                }
                return Poll::Pending;
            };
            match frame {
                Some(Ok(frame)) => {
                    if holds_head {
                        self.early = TakenPiece::of(&frame);
                    }
                    self.take(frame)?;
                }
                Some(Err(cause)) => return Poll::Ready(Err(ResponseError::Upload(cause.into()))),
                None => self.end_body(&HeaderMap::new())?,
            }
        }
    }

    /// Returns true for a body that is announced as empty and has not ended: with its head it would
    /// be complete, and the announcement may be wrong.
    fn awaits_no_body(&self) -> bool {
        self.framing == Framing::Length(0)
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), ResponseError> {
        match frame.into_data() {
            Ok(data) => self.hand_on(data)?,
            Err(frame) => return self.end_body(&frame.into_trailers().unwrap_or_default()),
        }
        match &self.body {
            Some(body) if body.is_end_stream() => self.end_body(&HeaderMap::new()),
            _ => Ok(()),
        }
    }

    fn hand_on(&mut self, data: Bytes) -> Result<(), ResponseError> {
        if data.is_empty() {
            return Ok(());
        }
        // No large piece waits: the next one is taken only when the one before is written. At most
        // the head still waits.
        let end = match &mut self.framing {
            Framing::Chunked => {
                write_size(self.out.text(), data.len());
                CHUNK_END
            }
            Framing::Length(left) if *left >= data.len() as u64 => {
                *left -= data.len() as u64;
                b""
            }
            Framing::Length(_) | Framing::Nothing => {
                return Err(ResponseError::Upload(
                    "the body is longer than its Content-Length".into(),
                ));
            }
        };
        self.out.push(data, end);
        Ok(())
    }

    fn end_body(&mut self, trailers: &HeaderMap) -> Result<(), ResponseError> {
        self.body = None;
        match self.framing {
            Framing::Length(1..) => {
                return Err(ResponseError::Upload(
                    "the body is shorter than its Content-Length".into(),
                ));
            }
            Framing::Chunked if trailers.is_empty() => self.out.push_end(END_AND_LAST, LAST_CHUNK),
            // Trailers are a frame of their own, before which the last piece is written.
            Framing::Chunked => write_end(self.out.text(), trailers),
            Framing::Length(_) | Framing::Nothing => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::poll_fn,
        io::IoSlice,
        sync::{Arc, Mutex},
        task::Waker,
    };

    use http_body_util::{BodyExt, Empty};
    use tokio::io::{AsyncWriteExt, duplex};

    use crate::{runtime::io::Io, upstream::http1::*};

    const LENGTH: usize = 1 << 20;
    const LIMITS: HeaderLimits = HeaderLimits { size: 1_024, count: 10 };

    #[tokio::test]
    async fn response_long_is_read_in_turns() {
        let (near, mut far) = duplex(2 * LENGTH);
        let answer = [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").into_bytes(),
            vec![7; LENGTH],
        ]
        .concat();
        far.write_all(&answer).await.expect("room in the pipe");
        let mut connection = Http1Conn::<Empty<Bytes>>::new(Box::new(near), LIMITS);
        poll_fn(|context| connection.poll_head(context)).await.expect("a head");
        let (mut turns, mut read) = (0, 0);
        while read < LENGTH {
            tokio::task::yield_now().await;
            turns += 1;
            let before = read;
            poll_fn(|context| {
                while read < LENGTH
                    && let Poll::Ready(Some(piece)) = connection.poll_frame(context)
                {
                    read += piece.expect("a body").into_data().expect("data").len();
                }
                Poll::Ready(())
            })
            .await;
            assert!(read - before <= 3 * READ_MOST, "{} bytes in one turn", read - before);
        }
        assert!((LENGTH / READ_MOST / 3..=LENGTH / READ_MOST).contains(&turns), "{turns}");
    }

    /// Pipe that returns a response in pieces, and records the room that was left in each read.
    struct Measured {
        left: VecDeque<Vec<u8>>,
        room: Arc<Mutex<Vec<usize>>>,
    }

    impl Io for Measured {}

    impl AsyncRead for Measured {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(mut piece) = self.left.pop_front() else { return Poll::Pending };
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.left.push_front(rest);
            }
            self.room.lock().expect("no panic").push(buffer.remaining());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Measured {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn last_read_of_a_response_does_not_fill_its_buffer() {
        for length in [1, READ, READ_MOST, READ_MOST + 1, 3 * READ_MOST] {
            let answer = [
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes(),
                vec![7; length],
            ];
            let room = Arc::default();
            let pipe = Measured { left: [answer.concat()].into(), room: Arc::clone(&room) };
            let mut connection = Http1Conn::<Empty<Bytes>>::new(Box::new(pipe), LIMITS);
            poll_fn(|context| connection.poll_head(context)).await.expect("a head");
            while let Some(piece) = poll_fn(|context| connection.poll_frame(context)).await {
                piece.expect("a body");
            }
            assert!(connection.has_ended());
            let last = room.lock().expect("no panic").last().copied();
            assert!(last > Some(0), "{length}: {:?}", room.lock());
        }
    }

    #[tokio::test]
    async fn first_read_of_a_response_is_as_large_as_the_response_before() {
        let (near, mut far) = duplex(1 << 20);
        let mut connection = Http1Conn::<Pieces>::new(Box::new(near), LIMITS);
        let mut pieces = Vec::new();
        for length in [READ_MOST, READ_MOST, 1, READ_MOST, 3 * READ_MOST, 3 * READ_MOST] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            far.write_all(&[head.as_bytes(), &vec![7; length]].concat()).await.expect("room");
            assert!(post(&mut connection, Pieces::default()).is_ready(), "a head");
            let mut count = 0;
            while let Some(piece) = poll_fn(|context| connection.poll_frame(context)).await {
                piece.expect("a body");
                count += 1;
            }
            connection.rest();
            pieces.push(count);
        }
        assert_eq!(pieces, [2, 1, 1, 2, 3, 3]);
    }

    /// Pipe that records each write, and fails if it is broken.
    #[derive(Clone, Default)]
    struct Noted {
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
        is_broken: bool,
    }

    impl AsyncRead for Noted {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Noted {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let bytes = pieces.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<_>>();
            let count = bytes.len();
            self.writes.lock().expect("no panic").push(bytes);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Io for Noted {}

    /// Body of pieces, whose length is known or not, and which waits at an empty piece.
    #[derive(Default)]
    struct Pieces(VecDeque<Bytes>, bool);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let next = self.0.pop_front();
            if next.as_ref().is_some_and(Bytes::is_empty) {
                Poll::Pending
            } else {
                Poll::Ready(next.map(Frame::data).map(Ok))
            }
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let length = self.0.iter().map(|piece| piece.len() as u64).sum();
            if self.1 { SizeHint::with_exact(length) } else { SizeHint::default() }
        }
    }

    fn post(
        connection: &mut Http1Conn<Pieces>,
        body: Pieces,
    ) -> Poll<Result<ResponseParts, ResponseError>> {
        let target = http::uri::PathAndQuery::from_static("/");
        let fields = crate::http::forwarded::Fields::Edited(Default::default());
        connection.begin(
            &Outbound { method: &Method::POST, target: &target, fields },
            &mut Replay::new(body),
        );
        connection.poll_head(&mut Context::from_waker(Waker::noop()))
    }

    fn pieces(lengths: &[usize], length_is_known: bool) -> Pieces {
        Pieces(lengths.iter().map(|length| vec![b'x'; *length].into()).collect(), length_is_known)
    }

    /// Lengths of the writes of a request with a body of these pieces.
    fn writes(lengths: &[usize], length_is_known: bool) -> Vec<usize> {
        let noted = Noted::default();
        let mut connection = Http1Conn::new(Box::new(noted.clone()), LIMITS);
        for _ in 0..=lengths.len() {
            let polled = if connection.has_begun() || connection.outgoing.body.is_some() {
                connection.poll_head(&mut Context::from_waker(Waker::noop()))
            } else {
                post(&mut connection, pieces(lengths, length_is_known))
            };
            assert!(polled.is_pending());
        }
        let writes = noted.writes.lock().expect("no panic");
        writes.iter().map(Vec::len).collect()
    }

    const WITH_LENGTH: usize = "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n".len();
    const IN_CHUNKS: usize = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".len();

    #[test]
    fn body_that_is_there_goes_out_with_its_head_in_one_write() {
        assert_eq!(writes(&[5], true), [WITH_LENGTH + 5]);
        assert_eq!(writes(&[9_000], true), [WITH_LENGTH + 3 + 9_000]);
        assert_eq!(writes(&[5], false), [IN_CHUNKS + "5\r\n12345\r\n0\r\n\r\n".len()]);
        assert_eq!(writes(&[], true), [WITH_LENGTH]);
        // A head does not wait for a body that has not arrived.
        assert_eq!(writes(&[0, 5], true), [WITH_LENGTH, 5]);
        assert_eq!(writes(&[5, 0, 4], true), [WITH_LENGTH + 5, 4]);
    }

    #[tokio::test]
    async fn body_that_was_not_written_is_taken_back_whole() {
        for (lengths, length_is_known) in [
            (&[5][..], true),
            (&[5], false),
            (&[9_000, 7], true),
            (&[9_000, 7], false),
            (&[], true),
        ] {
            let broken = Noted { is_broken: true, ..Noted::default() };
            let mut connection = Http1Conn::new(Box::new(broken), LIMITS);
            let lost = post(&mut connection, pieces(lengths, length_is_known));
            assert!(
                matches!(lost, Poll::Ready(Err(ResponseError::Connection(_))))
                    && !connection.has_begun()
            );
            let again = connection.take_back();
            let hint = again.size_hint().exact();
            let length: usize = lengths.iter().sum();
            assert!(!length_is_known || hint == Some(length as u64), "{hint:?}");
            assert_eq!(
                again.collect().await.expect("a body").to_bytes().len(),
                length,
                "{lengths:?}"
            );
        }
    }
}
