//! How long, and how much, HTTP/2 may: bodies that do not come, heads that do not end, connections
//! that are old, bodies that grow.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};
use weir::downstream::listener::ListenerPolicy;

use crate::{
    frames::{self, DATA, HEADERS, RST_STREAM},
    grpc,
    harness::{Edge, config, on_door, on_edge_of, open_door},
    http2::to_the_end,
    http2_flow::post,
    recorder::on_recorded,
};

/// When the first stream is reset; its client acknowledges pings, and its neighbour is served.
async fn reset_at(edge: &Edge, client: &mut DuplexStream) -> u64 {
    let reset = frames::until(client, RST_STREAM).await.expect("a reset stream");
    assert_eq!(reset.stream, 1);
    let at = edge.now();
    client.write_all(&frames::get(3)).await.expect("an open pipe");
    assert_eq!(frames::until(client, HEADERS).await.expect("an answer").stream, 3);
    at
}

#[tokio::test(start_paused = true)]
async fn http2_body_timeout_ends_only_its_stream() {
    on_recorded(&[], |edge, recorder| async move {
        let mut client = edge.connect();
        let part = frames::frame(DATA, 0, 1, b"part");
        client
            .write_all(&[frames::hello(&[]), post(1, &[]), part].concat())
            .await
            .expect("an open pipe");
        let at = reset_at(&edge, &mut client).await;
        assert!((30_000..=31_000).contains(&at), "{at}");
        assert_eq!(recorder.seen(), ["GET / "]);
        assert!(recorder.unfinished.borrow()[0].ends_with(b"4\r\npart\r\n"));
    })
    .await;
}

/// 100 bytes a second beside a frame of 16 KiB that is granted fall below 250 a second in the
/// 110th.
#[tokio::test(start_paused = true)]
async fn http2_trickling_body_ends_only_its_stream() {
    on_recorded(&[], |edge, recorder| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        writer.write_all(&[frames::hello(&[]), post(1, &[])].concat()).await.expect("an open pipe");
        let trickle = async {
            loop {
                writer
                    .write_all(&frames::frame(DATA, 0, 1, &[b'x'; 100]))
                    .await
                    .expect("an open pipe");
                sleep(Duration::from_secs(1)).await;
            }
        };
        let hear = async {
            loop {
                let frame = frames::read(&mut reader).await.expect("a reset stream");
                if frame.kind == RST_STREAM {
                    return (frame.stream, edge.now());
                }
            }
        };
        let (stream, at) = tokio::select! {
            reset = hear => reset,
            () = trickle => unreachable!("it has no end"),
        };
        assert!(stream == 1 && (109_000..=111_000).contains(&at), "{stream} at {at}");
        let mut client = reader.unsplit(writer);
        client.write_all(&frames::get(3)).await.expect("an open pipe");
        assert_eq!(frames::until(&mut client, HEADERS).await.expect("an answer").stream, 3);
        assert_eq!(recorder.seen(), ["GET / "]);
    })
    .await;
}

async fn ask(edge: &Edge, count: u32) -> DuplexStream {
    let mut client = edge.connect();
    let requests = (0..count).flat_map(|number| frames::get(2 * number + 1)).collect();
    client.write_all(&[frames::hello(&[]), requests].concat()).await.expect("an open pipe");
    client
}

#[tokio::test(start_paused = true)]
async fn http2_max_requests_ends_connection() {
    let door = ListenerPolicy { max_requests: 3, ..open_door() };
    on_door(config(&["1r/s burst=20"]), door, |edge| async move {
        let (answers, told) = to_the_end(&edge, &mut ask(&edge, 3).await).await;
        assert_eq!((answers, told.first()), (vec![(1, 0), (3, 1000), (5, 2000)], Some(&0)));
    })
    .await;
}

/// A client that goes on as if it had not been told, and does not acknowledge the PING behind
/// GOAWAY.
#[tokio::test(start_paused = true)]
async fn max_requests_ends_the_connection_of_a_client_that_ignores_goaway() {
    let door = ListenerPolicy { max_requests: 3, ..open_door() };
    on_door(config(&[]), door, |edge| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        let (mut responses, mut refused) = (0, 0);
        // The connection takes no more once it has ended.
        for number in 0..100 {
            if client.write_all(&frames::get(2 * number + 1)).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
            while let Ok(Some(frame)) = timeout(Duration::ZERO, frames::read(&mut client)).await {
                responses += u32::from(frame.kind == HEADERS);
                refused += u32::from(frame.kind == RST_STREAM && frames::code(&frame) == 7);
            }
        }
        assert!((3..=14).contains(&responses), "{responses}");
        assert!((1..=25).contains(&refused), "{refused}");
        assert_eq!(edge.seen.borrow().len(), responses as usize);
    })
    .await;
}

/// All of a connection's requests get a response, whatever was sent ahead.
#[tokio::test(start_paused = true)]
async fn max_requests_that_are_sent_ahead_are_all_answered() {
    let door = ListenerPolicy { max_requests: 1_000, ..open_door() };
    on_door(config(&[]), door, |edge| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        writer.write_all(&frames::hello(&[])).await.expect("an open pipe");
        let (mut sent, mut answered, mut told) = (0, 0, false);
        while answered < 1_000 {
            let more: Vec<u8> = (sent..1_000.min(answered + 90))
                .flat_map(|number| frames::get(2 * number + 1))
                .collect();
            sent = sent.max(1_000.min(answered + 90));
            writer.write_all(&more).await.expect("an open pipe");
            let frame = frames::read(&mut reader).await.expect("more responses");
            answered += u32::from(frame.kind == HEADERS);
            told |= frame.kind == frames::GOAWAY;
            assert_ne!(frame.kind, RST_STREAM);
        }
        assert!(told && edge.seen.borrow().len() == 1_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_connection_completes_request_in_progress() {
    let mut config = config(&["1r/s burst=20"]);
    config.timeouts.connection = Duration::from_secs(5);
    on_edge_of(config, |edge| async move {
        let (answers, told) = to_the_end(&edge, &mut ask(&edge, 9).await).await;
        assert_eq!(
            answers,
            (0..9).map(|number| (2 * number + 1, u64::from(number) * 1000)).collect::<Vec<_>>()
        );
        assert!(told.first().is_some_and(|at| (5_000..=5_500).contains(at)), "{told:?}");
        assert!((8_000..=9_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_above_route_max_body_is_refused_and_never_complete() {
    on_recorded(&[], |edge, recorder| async move {
        let mut client = grpc::client(&edge).await;
        for (length, status) in [(1_048_577, 413), (1_048_576, 200)] {
            let body = grpc::body("x".repeat(length).leak(), &[]);
            let request = Request::post("http://a/").body(body).expect("a request");
            let response = client.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), status, "{length}");
            response.into_body().collect().await.expect("a whole answer");
        }
        let seen: Vec<_> =
            recorder.requests.borrow().iter().map(|request| request.body.len()).collect();
        assert_eq!(seen, [1_048_576]);
    })
    .await;
}
