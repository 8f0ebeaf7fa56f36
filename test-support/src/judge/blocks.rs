//! Header blocks of any kind, beside another implementation: what weir decodes is what a peer's
//! encoder was given, and a block is a coding error, or has a field that HTTP does not know,
//! exactly where the `h2` crate says so. The one difference is a quotation mark in a name, which is
//! no token (RFC 9110, section 5.6.2): the `h2` crate takes it.

use std::{cell::RefCell, rc::Rc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    task::LocalSet,
};
use weir::http::framing::hpack::{Decoder, FieldName, FieldValue, HeaderField};

use crate::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM};

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was taken, or its stream was reset: the next one can be decoded.
    Decoded { taken: bool },
    /// The connection ended.
    GoAway,
}

/// Name that only the other implementation takes: a token but for a quotation mark.
fn quoted(name: &[u8]) -> Option<HeaderName> {
    if name.contains(&b'"') { HeaderName::from_lowercase(name).ok() } else { None }
}

/// Whether a field is one that the other implementation takes for an error of the connection.
fn is_unknown(field: &HeaderField) -> bool {
    let value = field.value.as_bytes();
    match &field.name {
        FieldName::Malformed(name) => match &name[..] {
            b":status" => StatusCode::from_bytes(value).is_err(),
            b":protocol" => str::from_utf8(value).is_err(),
            _ => quoted(name).is_none() || HeaderValue::from_bytes(value).is_err(),
        },
        FieldName::Method => Method::from_bytes(value).is_err(),
        FieldName::Scheme | FieldName::Authority | FieldName::Path => {
            str::from_utf8(value).is_err()
        }
        FieldName::Field(_) => matches!(field.value, FieldValue::Raw(_)),
    }
}

/// Ordinary field as the other implementation gives it to its user, where it takes it.
fn ordinary(field: &HeaderField) -> Option<(HeaderName, HeaderValue)> {
    match (&field.name, &field.value) {
        (FieldName::Field(name), FieldValue::Text(value)) => {
            assert!(!name.as_str().contains('"'), "{name} is no token");
            Some((name.clone(), value.clone()))
        }
        (FieldName::Malformed(name), FieldValue::Raw(value)) => {
            Some((quoted(name)?, HeaderValue::from_bytes(value).ok()?))
        }
        _ => None,
    }
}

/// A server of the other implementation.
struct Other {
    client: DuplexStream,
    fields: Rc<RefCell<HeaderMap>>,
}

impl Other {
    async fn start() -> Self {
        let (mut client, server) = duplex(1 << 20);
        let fields = Rc::<RefCell<HeaderMap>>::default();
        let took = Rc::clone(&fields);
        tokio::task::spawn_local(async move {
            let Ok(mut connection) = h2::server::handshake(server).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                took.replace(request.into_parts().0.headers);
                respond.send_response(Response::new(()), true).expect("an open stream");
            }
        });
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        Self { client, fields }
    }

    async fn judge(&mut self, stream: u32, block: &[u8]) -> Verdict {
        let request = frames::frame(HEADERS, END_STREAM | END_HEADERS, stream, block);
        self.client.write_all(&request).await.expect("an open pipe");
        loop {
            let frame = frames::read(&mut self.client).await.expect("a verdict");
            match frame.kind {
                GOAWAY => return Verdict::GoAway,
                HEADERS if frame.stream == stream => return Verdict::Decoded { taken: true },
                RST_STREAM if frame.stream == stream => return Verdict::Decoded { taken: false },
                _ => {}
            }
        }
    }
}

/// Gives both the blocks of one connection, until the other ends it.
pub async fn compare(blocks: &[Vec<u8>]) {
    let (mut decoder, mut other) = (Decoder::default(), Other::start().await);
    for (number, block) in blocks.iter().enumerate() {
        let stream = 2 * u32::try_from(number).expect("few blocks") + 1;
        let (mut unknown, mut fields) = (false, HeaderMap::new());
        let decoded = decoder.decode(block, |field| {
            unknown |= is_unknown(field);
            if let Some((name, value)) = ordinary(field) {
                fields.append(name, value);
            }
        });
        match other.judge(stream, block).await {
            Verdict::GoAway => {
                assert!(unknown || decoded.is_err(), "{block:x?} of {blocks:x?}");
                return;
            }
            Verdict::Decoded { taken } => {
                assert!(!unknown && decoded.is_ok(), "{decoded:?}: {block:x?} of {blocks:x?}");
                if taken {
                    assert_eq!(*other.fields.borrow(), fields, "{block:x?} of {blocks:x?}");
                }
            }
        }
    }
}

/// Blocks, each behind a byte that says its length.
pub async fn judge(mut bytes: &[u8]) {
    let mut blocks = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        blocks.push(block.to_vec());
        bytes = rest;
    }
    LocalSet::new().run_until(compare(&blocks)).await;
}

/// Runs this where tasks may be spawned.
pub fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, work);
}
