//! An HTTP/2 endpoint played frame by frame (RFC 9113): what reached it, and whatever it is to
//! send.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::frames::{
    self, ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS,
};

/// `:status: 200` in HPACK's static table.
const STATUS_200: &[u8] = &[0x88];

/// One connection, from the endpoint's side.
pub struct Endpoint {
    pipe: DuplexStream,
    /// Bodies of the streams that have begun, and whether they have ended.
    pub bodies: BTreeMap<u32, (Vec<u8>, bool)>,
}

impl Endpoint {
    /// Says these settings, and reads the preface.
    pub async fn accept(mut pipe: DuplexStream, settings: &[(u16, u32)]) -> Self {
        let hello = frames::hello(settings);
        pipe.write_all(&hello[PREFACE.len()..]).await.expect("an open pipe");
        let mut preface = [0; PREFACE.len()];
        pipe.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(preface, PREFACE);
        Self { pipe, bodies: BTreeMap::new() }
    }

    /// The next frame that is about a request; nothing at the end of the connection.
    pub async fn read(&mut self) -> Option<Frame> {
        loop {
            let frame = frames::read(&mut self.pipe).await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                HEADERS | DATA => {
                    let (body, ended) = self.bodies.entry(frame.stream).or_default();
                    if frame.kind == DATA {
                        body.extend_from_slice(&frame.payload);
                    }
                    *ended |= frame.flags & END_STREAM != 0;
                    return Some(frame);
                }
                PING | RST_STREAM | GOAWAY => return Some(frame),
                _ => {}
            }
        }
    }

    /// Kinds of the frames that come together with the head of the next request, in one piece.
    pub async fn kinds_beside_a_head(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = self.pipe.read(&mut bytes).await.expect("an open pipe");
            assert!(count > 0, "the connection ended");
            let (mut rest, mut kinds) = (&bytes[..count], Vec::new());
            while !rest.is_empty() {
                kinds.push(frames::read(&mut rest).await.expect("whole frames").kind);
            }
            if kinds.contains(&HEADERS) {
                return kinds;
            }
        }
    }

    /// Reads until a request has come whole, and returns its stream and its body.
    pub async fn request(&mut self) -> Option<(u32, Vec<u8>)> {
        loop {
            let frame = self.read().await?;
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return self
                    .bodies
                    .get(&frame.stream)
                    .map(|(body, _)| (frame.stream, body.clone()));
            }
        }
    }

    /// Reads until the head of a request has come, and returns its stream.
    pub async fn head(&mut self) -> Option<u32> {
        loop {
            let frame = self.read().await?;
            if frame.kind == HEADERS {
                return Some(frame.stream);
            }
        }
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // A connection that ends takes no more.
        let _ = self.pipe.write_all(&frames::frame(kind, flags, stream, payload)).await;
    }

    /// The head of a response.
    pub async fn begin_response(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
    }

    /// The last piece of its body.
    pub async fn end_response(&mut self, stream: u32) {
        self.send(DATA, END_STREAM, stream, b"ok").await;
    }

    pub async fn respond(&mut self, stream: u32) {
        self.begin_response(stream).await;
        self.end_response(stream).await;
    }

    /// Says that no stream above `last` was or will be processed.
    pub async fn go_away(&mut self, last: u32, code: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await;
    }

    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }
}
