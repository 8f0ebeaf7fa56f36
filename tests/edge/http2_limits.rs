//! Bounds of heads and trailers over HTTP/2, which are those of HTTP/1.1: how large, how many, how
//! long, and for how many streams.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use weir::{config::Config, http::framing::HeaderLimits};

use crate::{
    frames::{
        self, CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
        frame,
    },
    harness::{Edge, config, on_edge, on_edge_of, on_raw_edge, status},
    http2_abuse::good_client_is_served,
    http2_fields::{Client, GET_A, Told},
};

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn limited(size: usize, count: usize) -> Config {
    let mut config = config(&[]);
    config.header_limits = HeaderLimits { size, count };
    config
}

/// A whole block, in as many frames as it needs.
fn block(stream: u32, block: &[u8]) -> Vec<u8> {
    let (mut kind, mut flags, mut frames) = (HEADERS, END_STREAM, Vec::new());
    let mut pieces = block.chunks(16_384).peekable();
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frames.extend(frame(kind, flags | last, stream, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    frames
}

/// What the same fields come to in HTTP/1.1 and in HTTP/2.
async fn both(edge: &Edge, path: &str, fields: &[(&str, &str)]) -> [u16; 2] {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let first = edge.exchange(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n")).await;
    let mut client = Client::start(edge).await;
    let asked = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
    client.say(&block(1, &frames::fields(&[&asked[..], fields].concat()))).await;
    [status(&first), client.status().await.1]
}

#[tokio::test(start_paused = true)]
async fn header_limits_are_the_same_in_both_protocols_to_the_byte() {
    for size in [1_024, 32 * 1024, 200 * 1024] {
        on_edge_of(limited(size, 100), |edge| async move {
            // `GET / HTTP/1.1`, `host: a` and `x: ` with their line ends.
            let room = size - 16 - 9 - 5;
            for (length, expected) in [(room - 1, 200), (room, 200), (room + 1, 431)] {
                assert_eq!(
                    both(&edge, "/", &[("x", &"y".repeat(length))]).await,
                    [expected; 2],
                    "{length} of {size}"
                );
            }
        })
        .await;
    }
    on_edge_of(limited(32 * 1024, 20), |edge| async move {
        for (count, expected) in [(18, 200), (19, 200), (20, 431)] {
            assert_eq!(both(&edge, "/", &vec![("x", "y"); count]).await, [expected; 2], "{count}");
        }
        for (length, expected) in [(8_100, 200), (8_300, 414), (20_000, 414)] {
            assert_eq!(
                both(&edge, &format!("/{}", "x".repeat(length)), &[]).await,
                [expected; 2],
                "{length}"
            );
        }
    })
    .await;
}

/// Browsers send each cookie as a field of its own.
#[tokio::test(start_paused = true)]
async fn crumbs_of_a_cookie_are_one_field() {
    on_edge_of(limited(32 * 1024, 60), |edge| async move {
        let mut client = Client::start(&edge).await;
        let crumbs: Vec<String> = (0..180).map(|number| format!("c{number}=1")).collect();
        let mut fields: Vec<_> = (0..58).map(|_| ("x", "1")).collect();
        fields.extend(crumbs.iter().map(|crumb| ("cookie", crumb.as_str())));
        client.say(&block(1, &[GET_A, &frames::fields(&fields)].concat())).await;
        assert_eq!(client.status().await, (1, 200));
        let seen = edge.seen.borrow()[0].headers.clone();
        assert_eq!(seen.get_all("cookie").iter().collect::<Vec<_>>(), [crumbs.join("; ").as_str()]);
        // With one field more it is one too many.
        fields.push(("x", "1"));
        client.say(&block(3, &[GET_A, &frames::fields(&fields)].concat())).await;
        assert_eq!(client.status().await, (3, 431));
        // What they come to joined counts.
        let crumb = format!("c={}", "v".repeat(400));
        let crumbs = vec![("cookie", crumb.as_str()); 85];
        client.say(&block(5, &[GET_A, &frames::fields(&crumbs)].concat())).await;
        assert_eq!(client.status().await, (5, 431));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_that_is_too_large_is_refused_in_words_and_its_neighbour_served() {
    on_edge(&[], |edge| async move {
        let mut client = Client::start(&edge).await;
        for (stream, large) in
            [(1, vec![("x", "y".repeat(40_000))]), (3, vec![("x", "y".to_owned()); 101])]
        {
            let fields: Vec<_> =
                large.iter().map(|(name, value)| (*name, value.as_str())).collect();
            client.say(&block(stream, &[GET_A, &frames::fields(&fields)].concat())).await;
            let Some(Told::Response { stream: on, status, fields }) = client.told().await else {
                panic!("no response")
            };
            assert_eq!(
                (on, status.as_u16(), &fields["cache-control"]),
                (stream, 431, &"no-store".parse().expect("a value"))
            );
            assert!(
                fields["proxy-status"]
                    .to_str()
                    .expect("text")
                    .starts_with("weir; error=http_request_error")
            );
            let line = edge.line().await;
            assert_eq!(
                (&line["status"], &line["path"], &line["route"]),
                (&431.into(), &"/".into(), &"/".into())
            );
            assert_eq!(line["error"]["detail"], "the request's fields are too large or too many");
        }
        client.ask(5, GET_A).await;
        assert_eq!((client.status().await, edge.seen.borrow().len()), ((5, 200), 1));
    })
    .await;
}

/// Clients are told what is held.
#[tokio::test(start_paused = true)]
async fn settings_say_the_header_limit() {
    on_edge_of(limited(48 * 1024, 100), |edge| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        let settings = frames::until(&mut client, SETTINGS).await.expect("settings");
        let list: Vec<_> =
            settings.payload.chunks(6).filter(|setting| setting[..2] == [0, 6]).collect();
        assert_eq!(list, [[0, 6, 0, 0, 0xc0, 0]]);
    })
    .await;
}

/// One that is not well-formed counts like any other, and is rejected like any other.
#[tokio::test(start_paused = true)]
async fn malformed_requests_count_against_the_limit() {
    on_edge(&["1r/m"], |edge| async move {
        let mut client = Client::start(&edge).await;
        let malformed = [GET_A, b"\x00\x01x\x01\x00"].concat();
        for (stream, block, expected) in
            [(1, &malformed[..], 400), (3, GET_A, 503), (5, &malformed, 503)]
        {
            client.ask(stream, block).await;
            assert_eq!(client.status().await, (stream, expected));
            let line = edge.line().await;
            assert_eq!(
                (&line["status"], &line["route"], &line["limit"]["zone"]),
                (&expected.into(), &"/".into(), &"zone0".into())
            );
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

/// 200 at once, and 60 a second, whatever is wrong with them.
#[tokio::test(start_paused = true)]
async fn malformed_requests_without_end_are_abuse() {
    let too_many = [GET_A, &frames::fields(&[("x", "1"); 300])].concat();
    for (block, expected) in [(&[GET_A, b"\x00\x01x\x01\x00"].concat(), 400), (&too_many, 431)] {
        on_edge(&[], |edge| async move {
            let mut client = Client::start(&edge).await;
            let mut refused = 0;
            for stream in (1..).step_by(2) {
                client.ask(stream, block).await;
                match client.told().await {
                    Some(Told::Response { status, .. }) => refused += u32::from(status == expected),
                    told => {
                        assert!(
                            matches!(told, Some(Told::GoAway { code: ENHANCE_YOUR_CALM, .. })),
                            "{told:?}"
                        );
                        break;
                    }
                }
            }
            // The response to the last is lost with the connection.
            assert_eq!(refused, 199);
            good_client_is_served(&edge).await;
        })
        .await;
    }
    // A client that sends one of two so stays: behind it may be others.
    on_edge(&[], |edge| async move {
        let mut client = Client::start(&edge).await;
        for number in 0..500 {
            client.ask(4 * number + 1, &[GET_A, b"\x00\x01x\x01\x00"].concat()).await;
            assert_eq!(client.status().await, (4 * number + 1, 400));
            client.ask(4 * number + 3, GET_A).await;
            assert_eq!(client.status().await, (4 * number + 3, 200));
        }
    })
    .await;
}

/// When a client that sends these bytes, one each 300 ms, is cut.
async fn cut_at(open: bool, bytes: Vec<u8>) -> u64 {
    let mut config = config(&[]);
    config.timeouts.header = Duration::from_secs(2);
    let mut at = 0;
    let end = &mut at;
    on_raw_edge(config, |edge, mut pipes| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        let begin =
            if open { [frames::hello(&[]), frames::get(1)].concat() } else { frames::hello(&[]) };
        writer.write_all(&begin).await.expect("an open pipe");
        // A stream under way changes nothing.
        let _pipe = if open { pipes.recv().await } else { None };
        sleep(Duration::from_secs(1)).await;
        let begun = edge.now();
        let send = async {
            for byte in bytes.iter().cycle() {
                if writer.write_all(&[*byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(300)).await;
            }
        };
        let hear = async { while frames::read(&mut reader).await.is_some() {} };
        tokio::join!(send, hear);
        *end = edge.now() - begun;
        if open {
            assert_eq!(edge.line().await["status"], 408);
        }
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"], &line["proto"]),
            (&408.into(), &"request_timeout".into(), &"HTTP/2.0".into())
        );
    })
    .await;
    at
}

#[tokio::test(start_paused = true)]
async fn timeout_of_a_head_holds_from_the_first_byte_of_its_frame() {
    let headers = frame(HEADERS, END_STREAM | END_HEADERS, 3, &[0x82; 200]);
    // Frames that are whole by themselves: the block has no end.
    let continued =
        [frame(HEADERS, END_STREAM, 3, GET_A), frame(CONTINUATION, 0, 3, b"\x82").repeat(10)]
            .concat();
    for open in [false, true] {
        for bytes in [headers.clone(), continued.clone()] {
            let at = cut_at(open, bytes).await;
            assert!((2_000..=2_900).contains(&at), "{at}");
        }
    }
}

/// The preface alone, or all of it but the end of its settings.
#[tokio::test(start_paused = true)]
async fn timeout_of_a_head_holds_for_the_settings_a_client_begins_with() {
    for bytes in [frames::PREFACE.to_vec(), frames::hello(&[(4, 65_535)])[..36].to_vec()] {
        on_edge(&[], |edge| async move {
            let mut client = edge.connect();
            client.write_all(&bytes).await.expect("an open pipe");
            client.read_to_end(&mut Vec::new()).await.expect("an end");
            assert!((10_000..=10_600).contains(&edge.now()), "{}", edge.now());
        })
        .await;
    }
}

/// What is read ends within a head each time, and each time it is another one: the time is one
/// head's.
#[tokio::test(start_paused = true)]
async fn timeout_of_a_head_begins_anew_with_the_next() {
    on_edge(&[], |edge| async move {
        let mut client = Client::start(&edge).await;
        let requests: Vec<u8> = (0..30)
            .flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET_A))
            .collect();
        let length = requests.len() / 30;
        let mut rest = &requests[..];
        let mut piece = length / 2;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            client.say(now).await;
            (rest, piece) = (later, length);
            sleep(Duration::from_secs(1)).await;
        }
        for number in 0..30 {
            assert_eq!(client.status().await, (2 * number + 1, 200));
        }
    })
    .await;
}

/// More than belongs to a turn comes at a time, for longer than a head may take: what waits for its
/// turn is not owed.
#[tokio::test(start_paused = true)]
async fn timeout_of_a_head_is_not_that_of_a_turn() {
    on_edge(&[], |edge| async move {
        let mut client = Client::start(&edge).await;
        let mut stream = 1;
        for _ in 0..30 {
            let mut requests = Vec::new();
            for _ in 0..30 {
                requests.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET_A));
                stream += 2;
            }
            client.say(&requests).await;
            for _ in 0..30 {
                assert_eq!(client.status().await.1, 200);
            }
            sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}

/// A head that is whole, and a connection that has none under way, have their own times.
#[tokio::test(start_paused = true)]
async fn timeout_of_a_head_ends_with_it() {
    let mut config = config(&[]);
    config.timeouts.header = Duration::from_secs(2);
    on_raw_edge(config, |edge, mut pipes| async move {
        let mut client = Client::start(&edge).await;
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_A);
        for piece in request.chunks(5) {
            client.say(piece).await;
            sleep(Duration::from_millis(400)).await;
        }
        let mut pipe = pipes.recv().await.expect("a connection");
        sleep(Duration::from_secs(8)).await;
        pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("an open pipe");
        assert_eq!(client.status().await, (1, 200));
        sleep(Duration::from_secs(15)).await;
        client.say(&frame(PING, 0, 0, &[0; 8])).await;
        assert!(frames::until(&mut client.pipe, PING).await.is_some());
    })
    .await;
}

/// 10,000 streams over the hundred that may be: each is refused, for the client to try again, until
/// that is abuse.
#[tokio::test(start_paused = true)]
async fn streams_above_the_most_are_refused_and_their_heads_forgotten() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        // No request gets a response.
        let _pipes = pipes;
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        let large = frames::fields(&[("x", &"y".repeat(1_000))]);
        let send = async {
            writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
            for number in 0..10_100 {
                let request = frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    2 * number + 1,
                    &[GET_A, &large].concat(),
                );
                if writer.write_all(&request).await.is_err() {
                    return;
                }
            }
        };
        let hear = async {
            let mut refused = 0;
            while let Some(frame) = frames::read(&mut reader).await {
                match frame.kind {
                    RST_STREAM => {
                        assert_eq!(
                            (frames::code(&frame), frame.stream),
                            (REFUSED_STREAM, 2 * (100 + refused) + 1)
                        );
                        refused += 1;
                    }
                    GOAWAY => {
                        assert_eq!(frames::code(&frame), ENHANCE_YOUR_CALM);
                        break;
                    }
                    _ => {}
                }
            }
            refused
        };
        let ((), refused) = tokio::join!(send, hear);
        assert!((500..10_000).contains(&refused), "{refused}");
    })
    .await;
}

/// Streams that were refused leave nothing to those that come later: each has its own head.
#[tokio::test(start_paused = true)]
async fn streams_behind_refused_ones_have_their_own_heads() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = Client::start(&edge).await;
        let ask = |stream: u32| {
            let path = format!("/{stream}");
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", path.as_str()),
            ];
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &frames::fields(&fields))
        };
        let asked: Vec<u8> = (0..300).flat_map(|number| ask(2 * number + 1)).collect();
        client.say(&asked).await;
        for number in 100..300 {
            assert_eq!(
                client.told().await,
                Some(Told::Reset { stream: 2 * number + 1, code: REFUSED_STREAM })
            );
        }
        for number in 0..100 {
            let mut pipe = pipes.recv().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(pipe.read_buf(&mut head).await.expect("a head") > 0);
            }
            let expected = format!("GET /{} HTTP/1.1", 2 * number + 1);
            assert!(head.starts_with(expected.as_bytes()), "{}", head.escape_ascii());
            pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .expect("an open pipe");
            assert_eq!(client.status().await.1, 200);
        }
        client.say(&ask(601)).await;
        let mut pipe = pipes.recv().await.expect("a connection");
        let mut head = vec![0; 64];
        assert!(
            pipe.read(&mut head).await.is_ok_and(|count| count > 0)
                && head.starts_with(b"GET /601 ")
        );
    })
    .await;
}

/// How many bytes of these a connection takes, and the code it ends with.
async fn ends_with(edge: &Rc<Edge>, pieces: impl Iterator<Item = Vec<u8>>) -> (usize, Option<u32>) {
    let (mut reader, mut writer) = tokio::io::split(edge.connect());
    let send = async {
        let mut sent = 0;
        writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
            sent += piece.len();
        }
        sent
    };
    let hear = async {
        let mut code = None;
        while let Some(frame) = frames::read(&mut reader).await {
            if frame.kind == GOAWAY {
                code = Some(frames::code(&frame));
            }
        }
        code
    };
    tokio::join!(send, hear)
}

/// Frames of a block without an end, and tables that are unpacked: nothing beyond four times the
/// limit is gathered or made of them.
#[tokio::test(start_paused = true)]
async fn header_bombs_end_their_connection() {
    on_edge(&[], |edge| async move {
        let first = || std::iter::once(frame(HEADERS, END_STREAM, 1, GET_A));
        let endless = |piece: &[u8]| {
            first().chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, piece), 100_000))
        };
        for piece in [&b""[..], b"\x82", &[0x82; 1_000], &[0x82; 16_384]] {
            let (sent, code) = ends_with(&edge, endless(piece)).await;
            assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{}", piece.len());
            assert!(sent < 300_000, "{sent}");
        }
        let table = [GET_A, &[0x40, 1, b'b', 0x7f, 0xa1, 0x1e], &[b'z'; 4_000]].concat();
        for named in [100, 4_000, 10_000] {
            let bomb = block(1, &[&table[..], &vec![0xbe; named]].concat());
            let (_, code) = ends_with(&edge, std::iter::once(bomb)).await;
            assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{named}");
        }
        // Within four times the limit it is a request that is too large.
        let mut client = Client::start(&edge).await;
        client.say(&block(1, &[&table[..], &[0xbe; 20]].concat())).await;
        assert_eq!(client.status().await, (1, 431));
        good_client_is_served(&edge).await;
    })
    .await;
}
