//! HTTP/2 flow control, lengths and resets at their edges, frame by frame: what one client does to
//! its streams is no neighbour's matter.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::{
    frames::{
        self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE,
    },
    harness::{Edge, Pipes, config, on_edge, on_raw_edge},
    http2::{client, get},
    http2_abuse::good_client_is_served,
    recorder::on_recorded,
};

const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
/// The largest window there may be (RFC 9113, section 6.9.1).
const LARGEST: u32 = (1 << 31) - 1;

async fn say(client: &mut (impl AsyncWriteExt + Unpin), frames: &[Vec<u8>]) {
    client.write_all(&frames.concat()).await.expect("an open pipe");
}

pub fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frames::frame(HEADERS, END_HEADERS, stream, &frames::fields(&[&POST[..], more].concat()))
}

fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frames::frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

#[tokio::test(start_paused = true)]
async fn windows_of_one_byte_make_an_answer_slow_and_nothing_else() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[(4, 1)]), frames::get(1)]).await;
        let mut body = Vec::new();
        loop {
            let piece = frames::until(&mut client, DATA).await.expect("a piece");
            assert!(piece.payload.len() <= 1, "{piece:?}");
            body.extend(piece.payload);
            if piece.flags & END_STREAM != 0 {
                break;
            }
            sleep(Duration::from_secs(20)).await;
            say(&mut client, &[room(1, 1)]).await;
        }
        assert_eq!(body, b"ok");
        good_client_is_served(&edge).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_body_in_one_byte_frames_arrives_complete() {
    on_recorded(&[], |edge, recorder| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), post(1, &[])]).await;
        for _ in 0..999 {
            say(&mut client, &[frames::frame(DATA, 0, 1, b"x")]).await;
        }
        say(&mut client, &[frames::frame(DATA, END_STREAM, 1, b"y")]).await;
        assert!(frames::until(&mut client, HEADERS).await.is_some());
        let body = [vec![b'x'; 999], vec![b'y']].concat();
        assert_eq!(recorder.requests.borrow()[0].body, body);
    })
    .await;
}

/// The body is not as long as was said: the stream ends, and nobody gets it for a whole request.
#[tokio::test(start_paused = true)]
async fn body_of_another_length_than_announced() {
    let length = |length: &'static str| post(1, &[("content-length", length)]);
    let data = |flags, bytes: &[u8]| frames::frame(DATA, flags, 1, bytes);
    let trailers =
        frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::fields(&[("x-t", "1")]));
    for sent in [
        vec![length("5"), data(END_STREAM, b"four")],
        vec![length("5"), data(0, b"four"), data(END_STREAM, b"")],
        vec![length("5"), data(0, b"four"), trailers.clone()],
        vec![length("3"), data(END_STREAM, b"four")],
        vec![length("3"), data(0, b"fo"), data(0, b"ur")],
        vec![length("0"), data(END_STREAM, b"x")],
    ] {
        on_recorded(&[], |edge, recorder| async move {
            let mut client = edge.connect();
            say(&mut client, &[frames::hello(&[])]).await;
            say(&mut client, &sent).await;
            let reset = frames::until(&mut client, RST_STREAM).await.expect("a reset stream");
            assert_eq!((reset.stream, frames::code(&reset)), (1, PROTOCOL_ERROR));
            sleep(Duration::from_millis(10)).await;
            assert_eq!(recorder.seen(), [""; 0]);
            say(&mut client, &[frames::get(3)]).await;
            assert_eq!(frames::until(&mut client, HEADERS).await.expect("an answer").stream, 3);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn lengths_that_are_none() {
    for length in ["", "-1", "+4", "4, 4", "0x4", "4 4", "99999999999999999999"] {
        on_recorded(&[], |edge, recorder| async move {
            let mut client = edge.connect();
            let body = frames::frame(DATA, END_STREAM, 1, b"four");
            say(&mut client, &[frames::hello(&[]), post(1, &[("content-length", length)]), body])
                .await;
            let refused = loop {
                let frame = frames::read(&mut client).await.expect("a refusal");
                if matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY) {
                    break frame;
                }
            };
            assert!(refused.kind != HEADERS || refused.payload[0] == 0x8c, "{length}: {refused:?}");
            assert_eq!(recorder.seen(), [""; 0], "{length}");
        })
        .await;
    }
}

/// An upstream that takes requests and never responds: how many are under way, and how many were at
/// most.
#[derive(Default)]
struct Deaf {
    open: Cell<usize>,
    most: Cell<usize>,
}

impl Deaf {
    fn serve(mut pipes: Pipes) -> Rc<Self> {
        let deaf = Rc::<Self>::default();
        let serving = Rc::clone(&deaf);
        tokio::task::spawn_local(async move {
            while let Some(mut pipe) = pipes.recv().await {
                let deaf = Rc::clone(&serving);
                deaf.open.set(deaf.open.get() + 1);
                deaf.most.set(deaf.most.get().max(deaf.open.get()));
                tokio::task::spawn_local(async move {
                    let _cancelled = pipe.read_to_end(&mut Vec::new()).await;
                    deaf.open.set(deaf.open.get() - 1);
                });
            }
        });
        deaf
    }
}

/// Sends this for one stream after the other until the connection takes no more, at most so often;
/// how often it was taken.
async fn flood(edge: &Edge, most: u32, piece: &dyn Fn(u32) -> Vec<u8>) -> u32 {
    let (mut reader, mut writer) = tokio::io::split(edge.connect());
    let send = async {
        writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for number in 0..most {
            if writer.write_all(&piece(2 * number + 1)).await.is_err() {
                return number;
            }
        }
        most
    };
    let mut answers = Vec::new();
    tokio::join!(send, reader.read_to_end(&mut answers)).0
}

/// A client that has its streams reset by weir instead of resetting them itself (CVE-2025-8671):
/// the work of each is cancelled, no more is under way than streams may be, and the connection
/// ends.
#[tokio::test(start_paused = true)]
async fn made_you_reset() {
    let get = frames::get;
    let depends_on_itself = |stream: u32| [&stream.to_be_bytes()[..], &[1]].concat();
    let provocations: [&dyn Fn(u32) -> Vec<u8>; 6] = [
        &|stream| [get(stream), room(stream, 0)].concat(),
        &|stream| [get(stream), room(stream, LARGEST), room(stream, LARGEST)].concat(),
        &|stream| [get(stream), frames::frame(DATA, 0, stream, b"late")].concat(),
        &|stream| [get(stream), get(stream)].concat(),
        &|stream| [get(stream), frames::frame(PRIORITY, 0, stream, b"four")].concat(),
        &|stream| {
            [get(stream), frames::frame(PRIORITY, 0, stream, &depends_on_itself(stream))].concat()
        },
    ];
    for (number, provoke) in provocations.into_iter().enumerate() {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            let deaf = Deaf::serve(pipes);
            let taken = flood(&edge, 50_000, provoke).await;
            sleep(Duration::from_secs(1)).await;
            assert!(
                taken < 50_000 && deaf.most.get() <= 100,
                "{number}: {taken} taken, {} under way",
                deaf.most.get()
            );
            assert_eq!(deaf.open.get(), 0, "{number}: its work goes on");
        })
        .await;
    }
}

/// Frames that need no response and mean nothing, no more of them than are allowed (`http2_abuse`
/// has the floods): they cost no neighbour anything, and are no sign of life in place of a ping's
/// response.
#[tokio::test(start_paused = true)]
async fn http2_frames_without_use_are_no_sign_of_life() {
    let priority = frames::frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]);
    let unknown = frames::frame(0xfa, 0, 1, b"grease");
    for piece in [priority, unknown] {
        on_edge(&[], |edge| async move {
            let (mut reader, mut writer) = tokio::io::split(edge.connect());
            writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
            let send = async {
                while writer.write_all(&piece).await.is_ok() {
                    sleep(Duration::from_millis(30)).await;
                }
            };
            let mut said = Vec::new();
            let good = async {
                sleep(Duration::from_secs(15)).await;
                good_client_is_served(&edge).await;
            };
            let ((), _, ()) = tokio::join!(send, reader.read_to_end(&mut said), good);
            assert!((30_000..31_000).contains(&edge.now()), "{}", edge.now());
        })
        .await;
    }
}

/// Frames without a byte, one each millisecond: a connection's hundredth is its last.
#[tokio::test(start_paused = true)]
async fn flood_of_empty_data() {
    on_recorded(&[], |edge, recorder| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        say(&mut writer, &[frames::hello(&[]), post(1, &[])]).await;
        let send = async {
            while writer.write_all(&frames::frame(DATA, 0, 1, b"")).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let hear = async {
            loop {
                let frame = frames::read(&mut reader).await.expect("a reason");
                assert!(frame.stream == 0, "{frame:?}");
                if frame.kind == GOAWAY {
                    return (frames::code(&frame), edge.now());
                }
            }
        };
        // Sent at 0 ms is the first, at 100 ms the one too many.
        assert_eq!(tokio::join!(send, hear).1, (ENHANCE_YOUR_CALM, 100));
        assert_eq!(recorder.seen(), [""; 0]);
        assert_eq!(
            client(&edge).await.send_request(get("/good")).await.expect("an answer").status(),
            200
        );
    })
    .await;
}

/// A response that breaks off is a reset stream, never one that ended.
#[tokio::test(start_paused = true)]
async fn http2_cut_response_is_a_reset_stream() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
    ] {
        on_raw_edge(config(&[]), |edge, mut pipes| async move {
            let mut client = edge.connect();
            say(&mut client, &[frames::hello(&[]), frames::get(1)]).await;
            let mut upstream = pipes.recv().await.expect("a connection");
            assert!(upstream.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
            upstream.write_all(answer.as_bytes()).await.expect("an open pipe");
            drop(upstream);
            let end = loop {
                let frame = frames::read(&mut client).await.expect("a frame");
                assert!(
                    frame.stream == 0 || frame.flags & END_STREAM == 0 || frame.kind == RST_STREAM,
                    "{frame:?}"
                );
                if frame.kind == RST_STREAM {
                    break frame;
                }
            };
            assert_eq!((end.stream, edge.now()), (1, 0));
        })
        .await;
    }
}

/// A stream that is reset while its response is sent: the endpoint's connection is dropped, and its
/// neighbour's goes on.
#[tokio::test(start_paused = true)]
async fn http2_reset_while_sending_ends_only_its_stream() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        say(&mut client, &[frames::hello(&[]), frames::get(1), frames::get(3)]).await;
        let (mut first, mut second) =
            (pipes.recv().await.expect("a connection"), pipes.recv().await.expect("another"));
        for upstream in [&mut first, &mut second] {
            assert!(upstream.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
            upstream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
                .await
                .expect("an open pipe");
        }
        for _ in 0..2 {
            frames::until(&mut client, DATA).await.expect("a piece of each");
        }
        say(&mut client, &[frames::frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())]).await;
        assert_eq!((first.read(&mut [0; 16]).await.expect("an end"), edge.now()), (0, 0));
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["error"]["kind"]), (&200.into(), &"client_gone".into()));
        second.write_all(b"world").await.expect("an open pipe");
        let rest = frames::until(&mut client, DATA).await.expect("the rest");
        assert_eq!((rest.stream, &rest.payload[..]), (3, &b"world"[..]));
    })
    .await;
}
