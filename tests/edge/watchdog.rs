//! The reason why weir ends a request is in its access line: never that the client left, when it
//! did not.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use weir::config::Config;

use crate::{
    frames::{self, END_HEADERS, HEADERS, RST_STREAM},
    harness::{Edge, Pipes, config, on_edge, on_edge_of, on_raw_edge},
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nbegun";

/// The status of a line, and the kind and side of its error.
fn told(line: &Value) -> Value {
    json!([line["status"], line["error"]["kind"], line["error"]["side"]])
}

fn closing(limits: &[&str]) -> Config {
    let mut config = config(limits);
    config.routes[0].reject.status = 444;
    config
}

/// Fields of a POST in HTTP/2, whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    let fields = frames::fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]);
    frames::frame(HEADERS, END_HEADERS, stream, &fields)
}

#[tokio::test(start_paused = true)]
async fn reject_444_is_logged_as_444_over_http_1() {
    on_edge_of(closing(&["1r/d"]), |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(edge.line().await["status"], 200);
        assert_eq!(edge.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
        let line = edge.line().await;
        assert_eq!(
            (told(&line), &line["limit"]["decision"]),
            (json!([444, null, null]), &json!("reject"))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reject_444_is_logged_as_444_over_http_2() {
    on_edge_of(closing(&["1r/d"]), |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1), frames::get(3)].concat())
            .await
            .expect("an open pipe");
        frames::until(&mut client, RST_STREAM).await.expect("a reset");
        let mut statuses =
            [edge.line().await["status"].clone(), edge.line().await["status"].clone()];
        statuses.sort_by_key(Value::as_u64);
        assert_eq!(statuses, [200, 444]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_timeout_is_408_over_http_1() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(&[POST, &[0; 20_000]].concat()).await.expect("an open pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        let line = edge.line().await;
        assert_eq!(told(&line), json!([408, "request_timeout", "client"]));
        let detail = line["error"]["detail"].as_str().expect("a detail").to_owned();
        assert_eq!(
            detail,
            "weir closed the client's connection: the next piece of the request's body did not come in time"
        );
        assert!(
            (30_000.0..=30_500.0).contains(&line["dur_ms"].as_f64().expect("a number")),
            "{line}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_timeout_is_408_over_http_2() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let body = frames::frame(frames::DATA, 0, 1, &[0; 16_000]);
        client
            .write_all(&[frames::hello(&[]), post(1), body].concat())
            .await
            .expect("an open pipe");
        frames::until(&mut client, RST_STREAM).await.expect("a reset");
        assert_eq!(told(&edge.line().await), json!([408, "request_timeout", "client"]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_slower_than_the_least_rate_is_408() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(POST).await.expect("an open pipe");
        while client.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        let line = edge.line().await;
        assert_eq!(told(&line), json!([408, "request_timeout", "client"]));
        assert!(
            line["error"]["detail"]
                .as_str()
                .expect("a detail")
                .ends_with("the request's body came too slowly")
        );
    })
    .await;
}

/// Responds to a request with more than anybody's buffers hold.
async fn flood(edge: &Edge, pipes: &mut Pipes) -> Value {
    let mut upstream = pipes.recv().await.expect("a connection");
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        .await
        .expect("an open pipe");
    while upstream.write_all(&[0; 1000]).await.is_ok() {}
    edge.line().await
}

#[tokio::test(start_paused = true)]
async fn write_stall_is_a_write_timeout_over_http_1() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        assert_eq!(told(&flood(&edge, &mut pipes).await), json!([200, "write_timeout", "client"]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn write_stall_of_a_stream_is_a_write_timeout() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        writer
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        // Frames are read and PINGs acknowledged; only the stream's window stays full.
        tokio::task::spawn_local(async move {
            while let Some(frame) = frames::read(&mut reader).await {
                if frame.kind == frames::PING && frame.flags & frames::ACK == 0 {
                    let pong = frames::frame(frames::PING, frames::ACK, 0, &frame.payload);
                    writer.write_all(&pong).await.expect("an open pipe");
                }
            }
        });
        assert_eq!(told(&flood(&edge, &mut pipes).await), json!([200, "write_timeout", "client"]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn write_stall_of_an_http_2_connection_is_its_streams_write_timeout() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let window = frames::frame(frames::WINDOW_UPDATE, 0, 0, &(16_u32 << 20).to_be_bytes());
        let hello = [frames::hello(&[(4, 16 << 20)]), window, frames::get(1)].concat();
        client.write_all(&hello).await.expect("an open pipe");
        let line = flood(&edge, &mut pipes).await;
        let kind = line["error"]["kind"].as_str().expect("a kind").to_owned();
        let detail = line["error"]["detail"].as_str().expect("a detail").to_owned();
        assert!(kind == "write_timeout" || detail.contains("PING"), "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_timeout_has_its_duration_from_the_accept() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        sleep(Duration::from_secs(4)).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("an open pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        let line = edge.line().await;
        assert_eq!(told(&line), json!([408, "request_timeout", "client"]));
        let took = line["dur_ms"].as_f64().expect("a number");
        assert!((10_000.0..=10_500.0).contains(&took), "{took}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_timeout_of_a_later_request_has_its_duration_from_the_first_byte() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        sleep(Duration::from_secs(20)).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("an open pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        assert_eq!(edge.line().await["status"], 200);
        let line = edge.line().await;
        let took = line["dur_ms"].as_f64().expect("a number");
        assert!(line["status"] == 408 && (10_000.0..=10_500.0).contains(&took), "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_that_came_whole_has_no_duration_of_the_wait_before_it() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        sleep(Duration::from_secs(20)).await;
        client.write_all(b"GET / HTTP/9.1\r\n\r\n").await.expect("an open pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        assert_eq!(edge.line().await["status"], 200);
        sleep(Duration::from_secs(2)).await;
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["dur_ms"]), (&json!(400), &json!(0.0)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn client_that_left_is_still_told_as_one() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        client.write_all(GET).await.expect("an open pipe");
        let _upstream = pipes.recv().await.expect("a connection");
        client.shutdown().await.expect("an open pipe");
        sleep(Duration::from_secs(2)).await;
        let line = edge.line().await;
        assert_eq!(told(&line), json!([499, "client_gone", "client"]), "{line}");
    })
    .await;
}

/// Opens a request and then floods with PINGs.
#[tokio::test(start_paused = true)]
async fn abuse_of_an_http_2_connection_is_the_reason_in_its_requests_lines() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        writer
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let _upstream = pipes.recv().await.expect("a connection");
        tokio::task::spawn_local(async move { while frames::read(&mut reader).await.is_some() {} });
        let ping = frames::frame(frames::PING, 0, 0, &[0; 8]);
        while writer.write_all(&ping.repeat(100)).await.is_ok() {}
        let line = edge.line().await;
        assert_eq!(told(&line), json!([400, "http_request_error", "client"]), "{line}");
        assert_eq!(
            line["error"]["detail"],
            "weir closed the client's connection: too many frames without effect"
        );
    })
    .await;
}

/// A body that is shorter than it says is an error of its stream: the client is still there.
#[tokio::test(start_paused = true)]
async fn stream_error_is_not_told_as_a_client_that_left() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let mut fields =
            vec![(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        fields.push(("content-length", "5"));
        let head = frames::frame(HEADERS, END_HEADERS, 1, &frames::fields(&fields));
        client.write_all(&[frames::hello(&[]), head].concat()).await.expect("an open pipe");
        let _upstream = pipes.recv().await.expect("a connection");
        let body = frames::frame(frames::DATA, frames::END_STREAM, 1, b"abc");
        client.write_all(&body).await.expect("an open pipe");
        frames::until(&mut client, RST_STREAM).await.expect("a reset");
        sleep(Duration::from_secs(1)).await;
        let line = edge.line().await;
        assert_eq!(told(&line), json!([400, "http_request_error", "client"]), "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stream_error_within_a_response_is_not_told_as_a_client_that_left() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let mut fields =
            vec![(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        fields.push(("content-length", "5"));
        let head = frames::frame(HEADERS, END_HEADERS, 1, &frames::fields(&fields));
        client.write_all(&[frames::hello(&[]), head].concat()).await.expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun")
            .await
            .expect("an open pipe");
        frames::until(&mut client, frames::DATA).await.expect("a piece of the response");
        let body = frames::frame(frames::DATA, frames::END_STREAM, 1, b"abc");
        client.write_all(&body).await.expect("an open pipe");
        frames::until(&mut client, RST_STREAM).await.expect("a reset");
        sleep(Duration::from_secs(1)).await;
        let line = edge.line().await;
        assert_eq!(told(&line), json!([200, "http_request_error", "client"]), "{line}");
    })
    .await;
}
