//! Header blocks of HTTP/2 clients: a request that is not well-formed is refused on its own stream,
//! a block that cannot be decoded ends the connection with the code that is due, and limits and
//! time-outs of heads are those of HTTP/1.1.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};
use weir::http::framing::hpack::{Decoder, FieldName, FieldValue};

use crate::{
    frames::{
        self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
    },
    harness::{Edge, Pipes, config, on_edge, on_raw_edge},
};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// GET, http, `/` and the authority `a`.
pub const GET_A: &[u8] = b"\x82\x86\x84\x01\x01a";

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Response { stream: u32, status: StatusCode, fields: HeaderMap },
    Reset { stream: u32, code: u32 },
    GoAway { last: u32, code: u32 },
}

impl Told {
    /// Of a response, its stream and status.
    pub fn status(&self) -> (u32, u16) {
        match self {
            Self::Response { stream, status, .. } => (*stream, status.as_u16()),
            told => panic!("{told:?}"),
        }
    }
}

/// A client that can read.
pub struct Client {
    pub pipe: DuplexStream,
    decoder: Decoder,
}

impl Client {
    pub async fn start(edge: &Edge) -> Self {
        let mut client = Self { pipe: edge.connect(), decoder: Decoder::default() };
        client.say(&frames::hello(&[])).await;
        client
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.expect("an open pipe");
    }

    /// A request without a body whose block is this.
    pub async fn ask(&mut self, stream: u32, block: &[u8]) {
        self.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, block)).await;
    }

    /// What comes next; nothing at the end of the connection.
    pub async fn told(&mut self) -> Option<Told> {
        loop {
            let came = frames::read(&mut self.pipe).await?;
            match came.kind {
                PING if came.flags & ACK == 0 => {
                    self.say(&frame(PING, ACK, 0, &came.payload)).await;
                }
                RST_STREAM => {
                    return Some(Told::Reset { stream: came.stream, code: frames::code(&came) });
                }
                GOAWAY => {
                    let last = u32::from_be_bytes(came.payload[..4].try_into().expect("an id"));
                    return Some(Told::GoAway { last, code: frames::code(&came) });
                }
                HEADERS => return Some(self.response(came.stream, &came.payload)),
                _ => {}
            }
        }
    }

    fn response(&mut self, stream: u32, block: &[u8]) -> Told {
        let (mut status, mut fields) = (None, HeaderMap::new());
        let take =
            |field: &weir::http::framing::hpack::HeaderField| match (&field.name, &field.value) {
                (FieldName::Field(name), FieldValue::Text(value)) => {
                    fields.append(name, value.clone());
                }
                (_, value) => status = StatusCode::from_bytes(value.as_bytes()).ok(),
            };
        self.decoder.decode(block, take).expect("a block");
        Told::Response { stream, status: status.expect("a status"), fields }
    }

    /// The next response.
    pub async fn status(&mut self) -> (u32, u16) {
        self.told().await.expect("a response").status()
    }
}

/// Responds to requests for `/slow` after ten seconds, uploads never, and others right away with
/// their fields as the body.
fn serve(mut pipes: Pipes) {
    tokio::task::spawn_local(async move {
        while let Some(mut pipe) = pipes.recv().await {
            tokio::task::spawn_local(async move {
                let mut head = Vec::new();
                while pipe.read_buf(&mut head).await.is_ok_and(|count| count > 0) {
                    if head.starts_with(b"POST ") {
                        continue;
                    }
                    if head.starts_with(b"GET /slow ") {
                        sleep(Duration::from_secs(10)).await;
                    }
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
                    if pipe.write_all(&[answer.as_bytes(), &head].concat()).await.is_err() {
                        return;
                    }
                    head.clear();
                }
            });
        }
    });
}

fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    [GET_A, &frames::fields(fields)].concat()
}

/// Blocks of requests that are not well-formed, and the path they are logged with.
fn malformed() -> Vec<(Vec<u8>, &'static str)> {
    let raw = |bytes: &[u8]| ([GET_A, bytes].concat(), "/");
    let mut blocks = vec![
        raw(b"\x00\x03x-a\x03a\x01b"),
        raw(b"\x00\x03x-a\x03a\nb"),
        raw(b"\x00\x03x-a\x03a\rb"),
        raw(b"\x00\x03x-a\x01\x00"),
        raw(b"\x00\x03x-a\x01\x7f"),
        raw(b"\x00\x04X-Up\x011"),
        raw(b"\x00\x03a b\x011"),
        raw(b"\x00\x03a\"b\x011"),
        raw(b"\x00\x03a:b\x011"),
        raw(b"\x00\x00\x011"),
        raw(b"\x00\x04:foo\x011"),
        raw(b"\x00\x07:status\x03200"),
        raw(b"\x00\x07:status\x011"),
        raw(b"\x00\x09:protocol\x01x"),
    ];
    for field in [
        ("x", " y"),
        ("x", "y\t"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        (":path", "/2"),
        (":method", "GET"),
        ("content-length", "5"),
        ("content-length", "+5"),
        ("content-length", "1, 1"),
        ("content-length", ""),
        ("host", "b"),
    ] {
        blocks.push((with(&[field]), "/"));
    }
    blocks.push((with(&[("content-length", "0"), ("content-length", "0")]), "/"));
    blocks.push((with(&[("x", "1"), (":scheme", "http")]), "/"));
    // Without a target there is none in the line but what came for one.
    for (block, path) in [
        (&b"\x82\x86\x04\x03/p\xe9\x01\x01a"[..], "/p\u{fffd}"),
        (b"\x82\x86\x04\x04/p#x\x01\x01a", "/p#x"),
        (b"\x82\x86\x04\x03/p \x01\x01a", "/p "),
        (b"\x82\x86\x04\x03/<x\x01\x01a", "/<x"),
        (b"\x82\x86\x04\x01x\x01\x01a", "x"),
        (b"\x82\x86\x04\x09http://b/\x01\x01a", "http://b/"),
        (b"\x82\x86\x04\x00\x01\x01a", ""),
        (b"\x82\x86\x01\x01a", "-"),
        (b"\x82\x84\x01\x01a", "/"),
        (b"\x82\x06\x00\x84\x01\x01a", "/"),
        (b"\x82\x06\x011\x84\x01\x01a", "/"),
        (b"\x82\x86\x84\x01\x01\xe9", "/"),
        (b"\x82\x86\x84\x01\x03a,b", "/"),
        (b"\x82\x86\x84\x01\x00", "/"),
        (b"\x82\x86\x84", "/"),
    ] {
        blocks.push((block.to_vec(), path));
    }
    blocks
}

/// The same of requests whose method cannot be told.
fn without_method() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (b"\x02\x03G T\x86\x84\x01\x01a".to_vec(), "/"),
        (b"\x02\x00\x86\x84\x01\x01a".to_vec(), "/"),
        (b"\x86\x84\x01\x01a".to_vec(), "/"),
        (Vec::new(), "-"),
    ]
}

/// Stream 1 waits for its response, stream 3 sends what this makes of a block, stream 5 asks for
/// something.
async fn between_neighbours(
    blocks: Vec<(Vec<u8>, &'static str)>,
    method: &str,
    send: fn(&[u8]) -> Vec<u8>,
) {
    for (block, path) in blocks {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            serve(pipes);
            let mut client = Client::start(&edge).await;
            client.ask(1, b"\x82\x86\x04\x05/slow\x01\x01a").await;
            client.say(&send(&block)).await;
            let told = client.told().await;
            let Some(Told::Response { stream, status, fields }) = told else {
                panic!("{block:x?}: {told:?}")
            };
            assert_eq!((stream, status.as_u16()), (3, 400), "{block:x?}");
            let told = fields["proxy-status"].to_str().expect("text");
            assert!(told.starts_with("weir; error=http_request_error"), "{told}");
            assert_eq!(fields["cache-control"], "no-store");
            let line = edge.line().await;
            assert_eq!(
                (&line["status"], &line["error"]["kind"], &line["proto"]),
                (&400.into(), &"http_request_error".into(), &"HTTP/2.0".into())
            );
            let logged = line["path"].as_str().expect("a path");
            assert!(logged == path || path == "/" && logged == "a", "{logged} of {block:x?}");
            assert_eq!(line["method"], method, "{block:x?}");
            client.ask(5, &with(&[("x-good", "yes")])).await;
            assert_eq!(client.status().await, (5, 200), "{block:x?}");
            assert_eq!(client.status().await, (1, 200), "{block:x?}");
            assert!((10_000..10_100).contains(&edge.now()), "{}", edge.now());
        })
        .await;
    }
}

fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 3, block)
}

#[tokio::test(start_paused = true)]
async fn malformed_request_is_refused_on_its_own_stream() {
    between_neighbours(malformed(), "GET", whole).await;
    between_neighbours(without_method(), "-", whole).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_request_in_continuations_is_refused_on_its_own_stream() {
    between_neighbours(malformed(), "GET", |block| {
        let (first, rest) = block.split_at(block.len() / 2);
        let (second, third) = rest.split_at(rest.len() / 2);
        [
            frame(HEADERS, END_STREAM, 3, first),
            frame(CONTINUATION, 0, 3, second),
            frame(CONTINUATION, END_HEADERS, 3, third),
        ]
        .concat()
    })
    .await;
}

/// Padding and priority are taken off.
#[tokio::test(start_paused = true)]
async fn malformed_request_with_padding_is_refused_on_its_own_stream() {
    between_neighbours(malformed(), "GET", |block| {
        let payload = [&[3, 0x80, 0, 0, 1, 7], block, &[0; 3]].concat();
        frame(HEADERS, END_STREAM | END_HEADERS | 0x28, 3, &payload)
    })
    .await;
}

/// Fields that go into the table are named again by other streams: those that are wrong are wrong
/// there too, and no others.
#[tokio::test(start_paused = true)]
async fn malformed_fields_stay_in_the_table() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        serve(pipes);
        let mut client = Client::start(&edge).await;
        // `x-good` is the second entry then, and `x-bad` the first.
        client.ask(1, &[GET_A, b"\x40\x06x-good\x03yes\x40\x05x-bad\x03a\x01b"].concat()).await;
        assert_eq!(client.status().await, (1, 400));
        for (stream, named, expected) in [
            (3, &b"\xbe"[..], 400),
            (5, b"\xbf", 200),
            (7, b"\xbe\xbf", 400),
            (9, b"\x0f\x2f\x01y", 200),
        ] {
            client.ask(stream, &[GET_A, named].concat()).await;
            assert_eq!(client.status().await, (stream, expected));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn malformed_trailers_reset_their_stream() {
    let post = |stream| frame(HEADERS, END_HEADERS, stream, b"\x83\x86\x84\x01\x01a");
    for trailers in [
        &b"\x00\x03x-a\x03a\x01b"[..],
        b"\x00\x03X-A\x01b",
        b"\x00\x03x\"a\x01b",
        b"\x00\x05:path\x01/",
        b"\x00\x02te\x01x",
        b"\x84",
        &[&b"\x00\x01x\x7f\x81\xff\x01"[..], &[b'y'; 32_768]].concat(),
    ] {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            serve(pipes);
            let mut client = Client::start(&edge).await;
            client.ask(1, b"\x82\x86\x04\x05/slow\x01\x01a").await;
            client.say(&[post(3), frame(DATA, 0, 3, b"body")].concat()).await;
            let mut pieces = trailers.chunks(16_384).peekable();
            let (mut kind, mut flags) = (HEADERS, END_STREAM);
            while let Some(piece) = pieces.next() {
                let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                client.say(&frame(kind, flags | last, 3, piece)).await;
                (kind, flags) = (CONTINUATION, 0);
            }
            assert_eq!(client.told().await, Some(Told::Reset { stream: 3, code: PROTOCOL_ERROR }));
            client.ask(5, GET_A).await;
            assert_eq!(client.status().await, (5, 200));
            assert_eq!(client.status().await, (1, 200));
        })
        .await;
    }
}

/// As large as they may be they reach the upstream whole, and beyond that their stream is reset: no
/// field is dropped.
#[tokio::test(start_paused = true)]
async fn trailers_are_whole_or_refused_at_their_limit() {
    let mut small = config(&[]);
    small.header_limits.size = 1_024;
    for (length, is_refused) in [(1_024 - 33 - 1, false), (1_024 - 33, true)] {
        on_raw_edge(small.clone(), |edge, mut pipes| async move {
            let mut client = Client::start(&edge).await;
            let value = "y".repeat(length);
            let trailers =
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::fields(&[("x", &value)]));
            let post = [
                frame(HEADERS, END_HEADERS, 1, b"\x83\x86\x84\x01\x01a"),
                frame(DATA, 0, 1, b"hi"),
                trailers,
            ];
            client.say(&post.concat()).await;
            if is_refused {
                assert_eq!(
                    client.told().await,
                    Some(Told::Reset { stream: 1, code: PROTOCOL_ERROR })
                );
                return;
            }
            let (mut pipe, mut came) = (pipes.recv().await.expect("a connection"), Vec::new());
            while !came.ends_with(format!("0\r\nx: {value}\r\n\r\n").as_bytes()) {
                assert!(
                    pipe.read_buf(&mut came).await.expect("an open pipe") > 0,
                    "{}",
                    came.escape_ascii()
                );
            }
        })
        .await;
    }
}

/// Trailers that are indexed reach the upstream, though nobody behind weir's decoder has a table.
#[tokio::test(start_paused = true)]
async fn trailers_of_the_table_are_decoded() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = Client::start(&edge).await;
        for stream in [1, 3] {
            let trailers: &[u8] = if stream == 1 { b"\x40\x05x-sum\x017" } else { b"\xbe" };
            let post = b"\x83\x86\x84\x01\x01a\x00\x07trailer\x05x-sum";
            client.say(&frame(HEADERS, END_HEADERS, stream, post)).await;
            client
                .say(
                    &[
                        frame(DATA, 0, stream, b"hi"),
                        frame(HEADERS, END_STREAM | END_HEADERS, stream, trailers),
                    ]
                    .concat(),
                )
                .await;
            let (mut pipe, mut came) = (pipes.recv().await.expect("a connection"), Vec::new());
            while !came.ends_with(b"0\r\nx-sum: 7\r\n\r\n") {
                assert!(
                    pipe.read_buf(&mut came).await.expect("an open pipe") > 0,
                    "{}",
                    came.escape_ascii()
                );
            }
            pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .expect("an open pipe");
            assert_eq!(client.status().await, (stream, 200));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_connection_have_the_code_that_is_due() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let request = |block: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 3, block);
    let of = |bytes: &[u8]| [GET_A, bytes].concat();
    for (sent, expected) in [
        (request(&of(b"\x80")), COMPRESSION_ERROR),
        (request(&of(b"\xbe")), COMPRESSION_ERROR),
        (request(&of(b"\x20")), COMPRESSION_ERROR),
        (request(b"\x3f\xe2\x1f\x82\x86\x84"), COMPRESSION_ERROR),
        (request(&of(b"\xff\xff\xff\xff\xff\x0f")), COMPRESSION_ERROR),
        (request(&of(b"\x00\x81\xff\x00")), COMPRESSION_ERROR),
        (request(&of(b"\x00\x84\xff\xff\xff\xff\x00")), COMPRESSION_ERROR),
        (request(&of(b"\x00\x05x")), COMPRESSION_ERROR),
        (request(&of(b"\x40")), COMPRESSION_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 4]), FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
        (frame(PING, 0, 0, &[0; 2]), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 2]), FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 1, &[0; 2]), FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        (frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE_ERROR),
        (frame(HEADERS, 0, 3, &[0; 16_385]), FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS | 0x20, 3, &[0; 4]), FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS | 0x08, 3, &[]), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1, 0, 4, 0x80, 0, 0, 0]), FLOW_CONTROL_ERROR),
        (frame(HEADERS, END_HEADERS | 0x08, 3, &[2, 0x82]), PROTOCOL_ERROR),
        ([frame(HEADERS, END_STREAM, 3, GET_A), ping.clone()].concat(), PROTOCOL_ERROR),
        (
            [frame(HEADERS, END_STREAM, 3, GET_A), frame(CONTINUATION, END_HEADERS, 5, &[])]
                .concat(),
            PROTOCOL_ERROR,
        ),
        (frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
        (frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), PROTOCOL_ERROR),
        (frame(HEADERS, END_STREAM | END_HEADERS, 0, GET_A), PROTOCOL_ERROR),
        (frame(HEADERS, END_STREAM | END_HEADERS, 4, GET_A), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), PROTOCOL_ERROR),
        (frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
    ] {
        let ping = &ping;
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let mut client = Client::start(&edge).await;
            client.ask(1, GET_A).await;
            let _pipe = pipes.recv().await;
            client.say(&[&sent[..], ping].concat()).await;
            assert_eq!(
                client.told().await,
                Some(Told::GoAway { last: 1, code: expected }),
                "{sent:x?}"
            );
            assert_eq!(client.told().await, None, "{sent:x?}");
            let line = edge.line().await;
            assert_eq!(
                (&line["path"], &line["error"]["kind"]),
                (&"/".into(), &"http_request_error".into())
            );
            assert_eq!(edge.now(), 60);
        })
        .await;
    }
}

/// Frames that are cut anywhere between two reads are the same.
#[tokio::test(start_paused = true)]
async fn frames_in_pieces_of_any_size_are_the_same() {
    let good =
        |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &with(&[("x-good", "yes")]));
    let post = frame(
        HEADERS,
        END_HEADERS | 0x08,
        5,
        &[&[2], &b"\x83\x86\x84\x01\x01a\x0f\x0d\x014"[..], &[0; 2]].concat(),
    );
    let bad = frame(HEADERS, END_STREAM | END_HEADERS, 7, &[GET_A, b"\x00\x01x\x01\x00"].concat());
    let sent = [
        frames::hello(&[]),
        good(1),
        frame(PING, 0, 0, &[0; 8]),
        good(3),
        post,
        frame(DATA, 0, 5, b"bo"),
        frame(77, 0, 0, b"grease"),
        frame(DATA, END_STREAM, 5, b"dy"),
        bad,
    ]
    .concat();
    for size in [1, 2, 3, 5, 8, 9, 10, 11, 50, sent.len()] {
        let sent = &sent;
        on_edge(&[], |edge| async move {
            let mut client = Client { pipe: edge.connect(), decoder: Decoder::default() };
            for piece in sent.chunks(size) {
                client.say(piece).await;
                sleep(Duration::from_millis(1)).await;
            }
            let mut got = Vec::new();
            for _ in 0..4 {
                got.push(client.status().await);
            }
            got.sort_unstable();
            assert_eq!(got, [(1, 200), (3, 200), (5, 200), (7, 400)], "in pieces of {size}");
            let seen = edge.seen.borrow();
            assert_eq!(
                seen.iter().map(|seen| &seen.body[..]).collect::<Vec<_>>(),
                [&b""[..], b"", b"body"],
                "in pieces of {size}"
            );
            assert_eq!(seen[1].headers["x-good"], "yes");
        })
        .await;
    }
}

/// A frame without a payload that is the last of what came, and the last of a turn, was looked at
/// with the next byte: its client was cut for a head that it had sent.
#[tokio::test(start_paused = true)]
async fn frame_without_a_payload_is_taken_at_the_end_of_a_turn() {
    for before in 0..10 {
        on_edge(&[], |edge| async move {
            let mut client = Client::start(&edge).await;
            sleep(Duration::from_secs(1)).await;
            let pings = frame(PING, ACK, 0, &[0; 8]).repeat(before);
            let request =
                [frame(HEADERS, END_STREAM, 1, GET_A), frame(CONTINUATION, END_HEADERS, 1, &[])];
            client.say(&[&pings[..], &request.concat()].concat()).await;
            assert_eq!(
                (client.status().await, edge.now()),
                ((1, 200), 1_000),
                "behind {before} frames"
            );
            sleep(Duration::from_secs(1)).await;
            client.say(&[pings, frame(SETTINGS, ACK, 0, &[])].concat()).await;
            // Longer than a head may take.
            sleep(Duration::from_secs(15)).await;
            client.ask(3, GET_A).await;
            assert_eq!(client.status().await, (3, 200), "behind {before} frames");
        })
        .await;
    }
}
