//! HTTP/2 clients that mean harm: their connection or stream ends, the upstream is untouched, a
//! good client beside is served.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use weir::downstream::http2::connection::BROKEN_OFF;

use crate::{
    frames::{
        self, CONTINUATION, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, RST_STREAM,
        SETTINGS,
    },
    harness::{Edge, config, on_edge, on_edge_of, on_raw_edge},
    http2::{client, get},
};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

pub async fn good_client_is_served(edge: &Rc<Edge>) {
    let before = edge.seen.borrow().len();
    let response = client(edge).await.send_request(get("/good")).await.expect("an answer");
    assert_eq!((response.status().as_u16(), edge.seen.borrow().len()), (200, before + 1));
}

/// Sends the preface and then pieces until the connection takes no more; the code it ends with, if
/// it says one.
async fn flood(edge: &Edge, most: usize, piece: impl Fn(usize) -> Vec<u8>) -> Option<u32> {
    let (mut reader, mut writer) = tokio::io::split(edge.connect());
    writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
    let send = async {
        for number in 0..most {
            if writer.write_all(&piece(number)).await.is_err() {
                return;
            }
        }
        panic!("{most} pieces were taken");
    };
    let receive = async {
        while let Some(frame) = frames::read(&mut reader).await {
            if frame.kind == GOAWAY && frames::code(&frame) != 0 {
                return Some(frames::code(&frame));
            }
        }
        None
    };
    let ((), code) = tokio::join!(send, receive);
    code
}

#[tokio::test(start_paused = true)]
async fn rapid_reset() {
    on_edge(&[], |edge| async move {
        let code = flood(&edge, 100_000, |number| {
            let stream = 2 * u32::try_from(number).expect("a stream") + 1;
            [frames::get(stream), frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
                .concat()
        });
        assert_eq!(code.await, Some(ENHANCE_YOUR_CALM));
        good_client_is_served(&edge).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn continuation_flood() {
    on_edge(&[], |edge| async move {
        let block = frames::fields(&[("x", "y")]);
        let code = flood(&edge, 100_000, |number| match number {
            0 => frames::frame(HEADERS, END_STREAM, 1, &frames::fields(&GET)),
            _ => frames::frame(CONTINUATION, 0, 1, &block),
        });
        assert!(matches!(code.await, Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)));
        assert_eq!(edge.seen.borrow().len(), 0);
        good_client_is_served(&edge).await;
    })
    .await;
}

/// The same by a client that lets each request begin, so that there is work to throw away.
#[tokio::test(start_paused = true)]
async fn http2_client_with_too_many_resets_is_cut() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        let mut begun = 0;
        while client.write_all(&frames::get(2 * begun + 1)).await.is_ok() {
            let Ok(pipe) = timeout(Duration::from_secs(1), pipes.recv()).await else { break };
            let reset = frames::frame(RST_STREAM, 0, 2 * begun + 1, &8_u32.to_be_bytes());
            client.write_all(&reset).await.expect("an open pipe");
            let _cancelled = pipe.expect("a connection").read_to_end(&mut Vec::new()).await;
            begun += 1;
        }
        assert_eq!(begun, BROKEN_OFF);
        let goaway = frames::until(&mut client, GOAWAY).await.expect("a reason");
        assert_eq!(frames::code(&goaway), ENHANCE_YOUR_CALM);
    })
    .await;
}

/// One that breaks off every other request, and lets the rest complete.
#[tokio::test(start_paused = true)]
async fn http2_client_with_some_resets_stays() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for number in 0..3 * BROKEN_OFF {
            let stream = 2 * number + 1;
            client.write_all(&frames::get(stream)).await.expect("an open pipe");
            let mut pipe = pipes.recv().await.expect("a connection");
            if number % 2 == 0 {
                let reset = frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                client.write_all(&reset).await.expect("an open pipe");
                let _cancelled = pipe.read_to_end(&mut Vec::new()).await;
            } else {
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                pipe.write_all(answer).await.expect("an open pipe");
                assert_eq!(
                    frames::until(&mut client, HEADERS).await.expect("an answer").stream,
                    stream
                );
            }
        }
    })
    .await;
}

/// Floods that get responses, which their client does not read, so that nothing more is taken, and
/// the connection is cut.
#[tokio::test(start_paused = true)]
async fn floods_of_what_must_be_answered() {
    on_edge(&[], |edge| async move {
        for piece in [frames::frame(PING, 0, 0, &[0; 8]), frames::frame(SETTINGS, 0, 0, &[])] {
            let (start, mut client) = (edge.now(), edge.connect());
            client.write_all(&frames::hello(&[])).await.expect("an open pipe");
            let mut taken: usize = 0;
            while client.write_all(&piece).await.is_ok() {
                taken += piece.len();
            }
            assert!(taken < 1 << 20, "{taken} bytes were taken");
            assert!(edge.now() - start < 32_000, "cut after {} ms", edge.now() - start);
            good_client_is_served(&edge).await;
        }
    })
    .await;
}

/// The same by clients that take the responses, and floods that get none.
#[tokio::test(start_paused = true)]
async fn floods_of_what_brings_nothing() {
    on_edge(&[], |edge| async move {
        let update = frames::frame(8, 0, 0, &1_u32.to_be_bytes());
        let priority = frames::frame(2, 0, 1, &[0, 0, 0, 3, 16]);
        for piece in [
            frames::frame(PING, 0, 0, &[0; 8]),
            frames::frame(SETTINGS, 0, 0, &[]),
            priority,
            update,
            frames::frame(99, 0, 0, b"?"),
        ] {
            flood(&edge, 20_000, |_| piece.clone()).await;
            assert_eq!(edge.now(), 0);
            good_client_is_served(&edge).await;
        }
    })
    .await;
}

/// Resets of a stream that has ended, or was reset before.
#[tokio::test(start_paused = true)]
async fn resets_of_streams_that_have_ended_are_a_flood() {
    on_edge(&[], |edge| async move {
        let reset = frames::frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        flood(&edge, 20_000, |number| if number == 0 { frames::get(1) } else { reset.clone() })
            .await;
        assert_eq!(edge.now(), 0);
        good_client_is_served(&edge).await;
    })
    .await;
}

/// Trailers of a request that was refused before its body came: HTTP/2 has them ignored for a
/// while.
#[tokio::test(start_paused = true)]
async fn trailers_of_a_stream_that_was_reset_are_a_flood() {
    let mut small = config(&[]);
    small.routes[0].max_body = Some(1);
    on_edge_of(small, |edge| async move {
        let trailers =
            frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::fields(&[("x", "y")]));
        let post = frames::frame(HEADERS, END_HEADERS, 1, b"\x83\x86\x84\x01\x01a\x0f\x0d\x012");
        flood(&edge, 20_000, |number| if number == 0 { post.clone() } else { trailers.clone() })
            .await;
        assert_eq!(edge.now(), 0);
        good_client_is_served(&edge).await;
    })
    .await;
}

/// A client that asks now and then whether we are there, for an hour.
#[tokio::test(start_paused = true)]
async fn http2_calm_client_stays() {
    on_edge(&[], |edge| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for second in 0..3_000_u32 {
            let pings = frames::frame(PING, 0, 0, &[0; 8]).repeat(20);
            writer
                .write_all(&[frames::get(2 * second + 1), pings].concat())
                .await
                .expect("an open pipe");
            let mut pongs = 0;
            while pongs < 20 {
                pongs +=
                    usize::from(frames::read(&mut reader).await.expect("a frame").kind == PING);
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        good_client_is_served(&edge).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_end_their_stream_and_reach_nobody() {
    let with = |fields: &[(&'static str, &'static str)]| [&GET[..], fields].concat();
    let without = |name: &str| GET.into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    let instead =
        |name: &'static str, value: &'static str| [without(name), vec![(name, value)]].concat();
    let mut blocks = vec![
        with(&[("X-Upper", "1")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[(":path", "/2")]),
        with(&[("x", "1"), (":path", "/2")]),
        with(&[(":unknown", "1")]),
        with(&[("x\r\ny", "1")]),
        with(&[("x", "1\r\ny: 2")]),
        with(&[("x", "\0")]),
        with(&[("host", "b")]),
        with(&[("content-length", "5")]),
        without(":path"),
        without(":method"),
        without(":scheme"),
        without(":authority"),
    ];
    blocks.extend(
        ["", "x", "/ HTTP/1.1", "/\r\nx: y", "http://b/"].map(|path| instead(":path", path)),
    );
    blocks.extend(
        ["a b", "a/b", "u@a", "a,b", "a\r\nx: y"].map(|authority| instead(":authority", authority)),
    );
    blocks.extend(["CONNECT", "G T", ""].map(|method| instead(":method", method)));
    on_edge(&[], |edge| async move {
        for block in blocks {
            let mut client = edge.connect();
            let request =
                frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::fields(&block));
            client.write_all(&[frames::hello(&[]), request].concat()).await.expect("an open pipe");
            let told = loop {
                let frame =
                    frames::read(&mut client).await.unwrap_or_else(|| panic!("{block:?}: closed"));
                match frame.kind {
                    // `:status 400` of the static table.
                    HEADERS => break frame.payload[0] == 0x8c,
                    RST_STREAM | GOAWAY => break false,
                    _ => {}
                }
            };
            assert!(told, "{block:?}");
            assert_eq!(edge.seen.borrow().len(), 0, "{block:?}");
        }
        good_client_is_served(&edge).await;
    })
    .await;
}

/// One field of 4000 bytes in the table, named 4000 times with a byte each: 16 MB from 8 KB.
#[tokio::test(start_paused = true)]
async fn hpack_bomb_is_not_unpacked() {
    on_edge(&[], |edge| async move {
        let large = "z".repeat(4000);
        let mut block = frames::fields(&GET);
        let mut field = frames::fields(&[("b", &large)]);
        field[0] = 0x40;
        block.extend(field);
        block.extend([0xbe; 4000]);
        let mut client = edge.connect();
        let request = frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
        client.write_all(&[frames::hello(&[]), request].concat()).await.expect("an open pipe");
        let refused = frames::until(&mut client, GOAWAY).await.expect("a refusal");
        assert_eq!((frames::code(&refused), edge.seen.borrow().len()), (ENHANCE_YOUR_CALM, 0));
        good_client_is_served(&edge).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_many_fields_are_refused() {
    on_edge(&[], |edge| async move {
        let mut request = get("/");
        for _ in 0..101 {
            request.headers_mut().append("x", "1".parse().expect("a value"));
        }
        let response = client(&edge).await.send_request(request).await.expect("an answer");
        assert_eq!((response.status().as_u16(), edge.seen.borrow().len()), (431, 0));
    })
    .await;
}
