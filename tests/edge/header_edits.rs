//! Fields that a route sets and removes, on the way there and back.

use std::rc::Rc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, sleep},
};
use weir::{
    compress::negotiate::Coding,
    config::Config,
    proxy::header_edits::{self, Edits, Message, Template},
};

use crate::{
    harness::{Edge, config, on_edge_of, on_raw_edge, status},
    http2,
};

pub fn edits(message: Message, set: &[(&str, &str)], remove: &[&str]) -> Edits {
    let name = |text: &str| header_edits::name(text, message).expect("a name");
    let value = |text: &str| Template::parse(text).expect("a value");
    let set = set.iter().map(|(name_, text)| (name(name_), value(text))).collect();
    Edits::new(remove.iter().map(|text| name(text)).collect(), set)
}

fn on_requests(set: &[(&str, &str)], remove: &[&str]) -> Config {
    let mut config = config(&[]);
    config.routes[0].request_edits = edits(Message::Request, set, remove);
    config
}

fn on_answers(limits: &[&str], set: &[(&str, &str)], remove: &[&str]) -> Config {
    let mut config = config(limits);
    config.routes[0].response_edits = edits(Message::Response, set, remove);
    config
}

#[tokio::test(start_paused = true)]
async fn header_edits_follow_forwarding_fields() {
    let set = [
        ("x-request-id", "{request_id}"),
        ("X-Entry", "{scheme}://{host} by {route} for {client_ip}"),
        ("x-forwarded-proto", "https"),
        ("host", "inner:8000"),
    ];
    let config = on_requests(&set, &["x-powered-by", "x-real-ip", "accept-encoding"]);
    on_edge_of(config, |edge| async move {
        let mine = "x-powered-by: me\r\nx-entry: 1\r\nX-ENTRY: 2\r\naccept-encoding: gzip\r\n";
        let request =
            format!("GET / HTTP/1.1\r\nhost: A.test:80\r\n{mine}connection: close\r\n\r\n");
        assert_eq!(status(&edge.exchange(&request).await), 200);
        http2::client(&edge).await.send_request(http2::get("/")).await.expect("an answer");
        let seen = edge.seen.borrow().clone();
        for (seen, version) in seen.into_iter().zip(["1.1", "2"]) {
            let id = edge.line().await["id"].as_str().expect("an id").to_owned();
            let of = |name| {
                seen.headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.to_str().expect("text"))
                    .collect::<Vec<_>>()
            };
            assert_eq!(of("x-request-id"), [id]);
            assert_eq!(of("x-entry"), ["http://a.test by / for 192.0.2.1"]);
            assert_eq!((of("x-forwarded-proto"), of("host")), (vec!["https"], vec!["inner:8000"]));
            assert!(
                ["x-powered-by", "x-real-ip", "accept-encoding"]
                    .iter()
                    .all(|name| of(name).is_empty()),
                "{seen:?}"
            );
            assert_eq!(
                (of("via"), of("x-forwarded-host").len()),
                (vec![format!("{version} weir").as_str()], 1)
            );
        }
    })
    .await;
}

const SAYING_MUCH: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: inner\r\nset-cookie: a\r\nset-cookie: b\r\nx-frame-options: x\r\n\r\nok";

#[tokio::test(start_paused = true)]
async fn header_edits_apply_to_every_response() {
    let set = [("x-frame-options", "DENY"), ("x-id", "{request_id}")];
    on_raw_edge(on_answers(&[], &set, &["server", "set-cookie"]), |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            for _ in 0..2 {
                assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
                pipe.write_all(SAYING_MUCH).await.expect("an open pipe");
            }
        };
        let ask = async {
            let one = edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            let id = edge.line().await["id"].as_str().expect("an id").to_owned();
            assert!(
                one.contains(&format!("x-id: {id}\r\n"))
                    && one.contains("x-frame-options: DENY\r\n"),
                "{one}"
            );
            assert!(
                !one.contains("set-cookie")
                    && !one.contains("inner")
                    && one.ends_with("\r\n\r\nok"),
                "{one}"
            );
            let other =
                http2::client(&edge).await.send_request(http2::get("/")).await.expect("an answer");
            assert_eq!(other.headers()["x-frame-options"], "DENY");
            assert!(!other.headers().contains_key("server") && http2::text(other).await == "ok");
        };
        tokio::join!(play, ask);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn header_edits_skip_own_responses() {
    let mut config = on_answers(&["1r/s"], &[("x-edited", "1")], &["retry-after"]);
    config.routes[0].max_body = Some(1);
    on_edge_of(config, |edge: Rc<Edge>| async move {
        let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert!(edge.exchange(get).await.contains("x-edited: 1"));
        let rejected = edge.exchange(get).await;
        assert!(
            status(&rejected) == 503
                && rejected.contains("retry-after")
                && !rejected.contains("x-edited"),
            "{rejected}"
        );
        sleep(Duration::from_secs(1)).await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
        let refused = edge.exchange(post).await;
        assert!(status(&refused) == 413 && !refused.contains("x-edited"), "{refused}");
        edge.world.down_are(&[1]);
        sleep(Duration::from_secs(3)).await;
        let failed = edge.exchange(get).await;
        assert!(status(&failed) == 502 && !failed.contains("x-edited"), "{failed}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_has_the_same_header_edits() {
    let config = on_requests(&[("x-entry", "{host}"), ("x-id", "{request_id}")], &["x-powered-by"]);
    on_raw_edge(config, |edge, mut pipes| async move {
        let get = "GET / HTTP/1.1\r\nhost: a\r\nx-powered-by: me\r\nconnection: close\r\n\r\n";
        let play = async {
            let mut heard = Vec::new();
            // The first connection responds once, takes the second request and is lost.
            for answers in [1, 1] {
                let mut pipe = pipes.recv().await.expect("a connection");
                for number in 0..=answers {
                    let mut buffer = [0; 1024];
                    let count = pipe.read(&mut buffer).await.expect("a request or an end");
                    heard.push(String::from_utf8_lossy(&buffer[..count]).to_lowercase());
                    if number < answers {
                        pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                            .await
                            .expect("an open pipe");
                    } else if heard.len() > 3 {
                        return heard;
                    }
                }
            }
            heard
        };
        let ask = async {
            for _ in 0..2 {
                assert_eq!(status(&edge.exchange(get).await), 200);
                sleep(Duration::from_millis(1)).await;
            }
        };
        let (heard, ()) = tokio::join!(play, ask);
        let (lost, again) = (&heard[1], &heard[2]);
        assert!(
            again.contains("x-entry: a\r\n")
                && again.contains("x-id: ")
                && !again.contains("x-powered-by"),
            "{again}"
        );
        assert_eq!(lost.len(), again.len(), "{lost}{again}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn header_edits_apply_after_compression() {
    let mut config = on_answers(&[], &[("vary", "*"), ("cache-control", "no-store")], &["etag"]);
    config.routes[0].compress = vec![Coding::Gzip];
    on_raw_edge(config, |edge, mut pipes| async move {
        let play = async {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/css\r\netag: \"1\"\r\ncontent-length: 5000\r\n\r\n";
            pipe.write_all(format!("{head}{}", "a".repeat(5000)).as_bytes()).await.expect("an open pipe");
            pipe
        };
        let request = "GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
        let (answer, _pipe) = tokio::join!(edge.exchange(request), play);
        assert!(answer.contains("content-encoding: gzip\r\n") && answer.contains("vary: *\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n") && !answer.contains("etag"), "{answer}");
    })
    .await;
}
