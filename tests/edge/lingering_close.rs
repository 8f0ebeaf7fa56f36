//! Lingering close: the last response reaches a client that is still sending (RFC 9112, section
//! 9.6), within bounds.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use weir::downstream::{
    connection_limits::ConnectionLimits, drain::Idle, listener::ListenerPolicy,
};

use crate::{
    frames,
    harness::{Edge, config, on_door, on_edge, on_raw_edge, open_door, status},
    tls,
};

const MIB: usize = 1 << 20;

/// The head of an upload that no route takes.
pub const TOO_LARGE: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20971520\r\n\r\n";

/// Sends a head and 20 MiB, and only then looks for the response, as many clients do.
pub async fn upload<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S, head: &str) -> String {
    client.write_all(head.as_bytes()).await.expect("an open pipe");
    for piece in 0..20 {
        client
            .write_all(&vec![b'x'; MIB])
            .await
            .unwrap_or_else(|error| panic!("{error} behind {piece} MiB of {head}"));
    }
    response(client).await
}

async fn response<S: AsyncRead + Unpin>(client: &mut S) -> String {
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an end");
    response
}

/// Whether the other end still takes bytes. Nothing is sent.
async fn is_open(client: &mut DuplexStream) -> bool {
    client.write(&[]).await.is_ok()
}

/// Time that passes for weir too: what is due at its end is done.
async fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
    tokio::task::yield_now().await;
}

/// When the other end is closed, in milliseconds since the start.
async fn closed_at(edge: &Edge, client: &mut DuplexStream) -> u64 {
    while is_open(client).await {
        pause(1).await;
    }
    edge.now()
}

/// A client whose upload was refused, and who sends nothing more.
async fn refused_from(edge: &Edge, address: &str) -> DuplexStream {
    let mut client = edge.connect_from(address);
    client.write_all(TOO_LARGE.as_bytes()).await.expect("an open pipe");
    assert_eq!(status(&response(&mut client).await), 413);
    client
}

fn door_of(most: usize, per_client: usize) -> ListenerPolicy {
    ListenerPolicy { occupancy: Arc::new(ConnectionLimits::new(most, per_client)), ..open_door() }
}

#[tokio::test(start_paused = true)]
async fn lingering_takes_the_rest_of_every_refused_upload() {
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (expected, head) in [
        (413, TOO_LARGE.to_owned()),
        (413, format!("{chunked}1400000\r\n")),
        (400, format!("{chunked}no size\r\n")),
        (400, "POST /#x HTTP/1.1\r\nhost: a\r\ncontent-length: 20971520\r\n\r\n".to_owned()),
        (
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_owned(),
        ),
        (400, "POST / HTTP/1.1\r\ncontent-length: 20971520\r\n\r\n".to_owned()),
        (414, format!("POST /{} HTTP/1.1\r\nhost: a\r\n", "x".repeat(9_000))),
        (431, format!("POST / HTTP/1.1\r\nhost: a\r\nx: {}\r\n", "x".repeat(40_000))),
        (200, "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 20971520\r\n\r\n".to_owned()),
        (200, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned()),
    ] {
        on_edge(&[], |edge| async move {
            assert_eq!(status(&upload(&mut edge.connect(), &head).await), expected, "{head:.100}");
            assert_eq!(edge.line().await["status"], expected, "{head:.100}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_announced_its_last_request_is_not_waited_for() {
    for head in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
    ] {
        on_edge(&[], |edge| async move {
            let mut client = edge.connect();
            client.write_all(head.as_bytes()).await.expect("an open pipe");
            assert_eq!(status(&response(&mut client).await), 200);
            let now = edge.now();
            assert_eq!(closed_at(&edge, &mut client).await, now, "{head}");
        })
        .await;
    }
    // One that did not announce it may be sending the next request.
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(get.as_bytes()).await.expect("an open pipe");
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        assert_eq!(status(&response(&mut client).await), 200);
        let now = edge.now();
        assert!(closed_at(&edge, &mut client).await > now);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_takes_the_rest_of_a_redirected_upload() {
    on_door(
        config(&[]),
        ListenerPolicy { redirect: Some(443), ..open_door() },
        |edge| async move {
            assert_eq!(status(&upload(&mut edge.connect(), TOO_LARGE).await), 308);
        },
    )
    .await;
}

/// Limits, and no limit of a body.
fn limited(limits: &[&str]) -> weir::config::Config {
    let mut config = config(limits);
    config.routes[0].max_body = None;
    config
}

#[tokio::test(start_paused = true)]
async fn lingering_takes_the_rest_of_a_rejected_upload() {
    on_door(limited(&["1r/s"]), open_door(), |edge| async move {
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
        assert_eq!(status(&upload(&mut edge.connect(), TOO_LARGE).await), 503);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_takes_the_rest_of_a_parked_upload_that_a_stop_rejects() {
    on_door(limited(&["1r/s burst=2"]), open_door(), |edge| async move {
        assert_eq!(Rc::clone(&edge).get().await, (200, 0));
        let mut parked = edge.connect();
        parked.write_all(TOO_LARGE.as_bytes()).await.expect("an open pipe");
        sleep(Duration::from_millis(1)).await;
        edge.order.by(Instant::now() + Duration::from_millis(900), Idle::Await);
        for _ in 0..20 {
            parked.write_all(&vec![b'x'; MIB]).await.expect("an open pipe");
        }
        assert_eq!(status(&response(&mut parked).await), 503);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_takes_the_rest_behind_an_early_response_of_an_endpoint() {
    let mut open = config(&[]);
    open.routes[0].max_body = None;
    on_raw_edge(open, |edge, mut pipes| async move {
        let endpoint = async {
            let mut endpoint = pipes.recv().await.expect("a connection");
            assert!(endpoint.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
            endpoint
                .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
                .await
                .expect("an open pipe");
            endpoint
        };
        let mut client = edge.connect();
        let (got, _endpoint) = tokio::join!(upload(&mut client, TOO_LARGE), endpoint);
        assert!(
            status(&got) == 401
                && got.contains("connection: close\r\n")
                && got.ends_with("\r\n\r\nno"),
            "{got}"
        );
        assert_eq!(edge.line().await["status"], 401);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_over_tls_takes_the_rest_of_a_refused_upload() {
    let (authority, door) = tls::one();
    on_door(config(&[]), door, |edge| async move {
        let client = authority.client(&["http/1.1"], tls::ALL, None);
        let mut client = tls::connect(&edge, client, "a.test").await.expect("a handshake");
        let head = TOO_LARGE.replace("host: a", "host: a.test");
        assert_eq!(status(&upload(&mut client, &head).await), 413);
        // What comes behind the end of TLS is no TLS, and nobody looks at it.
        let (mut pipe, _) = client.into_inner();
        pipe.write_all(&vec![b'x'; MIB]).await.expect("an open pipe");
        assert_eq!(closed_at(&edge, &mut pipe).await, 5_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_ends_after_five_idle_seconds() {
    on_edge(&[], |edge| async move {
        let mut client = refused_from(&edge, "192.0.2.1").await;
        assert_eq!(edge.now(), 0);
        sleep(Duration::from_secs(4)).await;
        client.write_all(&[b'x'; 1000]).await.expect("an open pipe");
        assert_eq!(closed_at(&edge, &mut client).await, 9_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_ends_after_thirty_seconds_whatever_comes() {
    on_edge(&[], |edge| async move {
        let mut client = refused_from(&edge, "192.0.2.1").await;
        while client.write_all(&[b'x'; 100]).await.is_ok() {
            pause(10).await;
        }
        assert_eq!(edge.now(), 30_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_ends_with_its_client() {
    on_door(config(&[]), door_of(80, 1), |edge| async move {
        let client = refused_from(&edge, "192.0.2.1").await;
        drop(client);
        sleep(Duration::from_millis(1)).await;
        refused_from(&edge, "192.0.2.1").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_connections_count_as_open() {
    on_door(config(&[]), door_of(80, 2), |edge| async move {
        let _held =
            [refused_from(&edge, "192.0.2.1").await, refused_from(&edge, "192.0.2.1").await];
        let mut third = edge.connect_from("192.0.2.1");
        assert_eq!(response(&mut third).await, "");
        sleep(Duration::from_millis(5_001)).await;
        refused_from(&edge, "192.0.2.1").await;
    })
    .await;
}

/// How many of these are still open.
async fn open(clients: &mut [DuplexStream]) -> usize {
    let mut count = 0;
    for client in clients {
        count += usize::from(is_open(client).await);
    }
    count
}

#[tokio::test(start_paused = true)]
async fn lingering_of_one_client_is_bounded_and_the_others_get_a_second() {
    on_door(config(&[]), door_of(usize::MAX, usize::MAX), |edge| async move {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(refused_from(&edge, "192.0.2.1").await);
        }
        // An IPv6 client is its network.
        for host in 0..20 {
            clients.push(refused_from(&edge, &format!("2001:db8::{host}")).await);
        }
        sleep(Duration::from_millis(999)).await;
        assert_eq!(open(&mut clients).await, 40);
        sleep(Duration::from_millis(2)).await;
        assert_eq!((open(&mut clients[..20]).await, open(&mut clients[20..]).await), (8, 8));
        sleep(Duration::from_secs(4)).await;
        assert_eq!(open(&mut clients).await, 0);
        clients.push(refused_from(&edge, "192.0.2.1").await);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(open(&mut clients).await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_of_a_worker_is_bounded() {
    for (most, expected) in [(80, 10), (usize::MAX, 256), (7, 0)] {
        on_door(config(&[]), door_of(most, usize::MAX), |edge| async move {
            let mut clients = Vec::new();
            for number in 0..most.min(300) {
                clients.push(
                    refused_from(&edge, &format!("192.0.{}.{}", number / 250, number % 250)).await,
                );
            }
            sleep(Duration::from_millis(1_001)).await;
            assert_eq!(open(&mut clients).await, expected, "of {most}");
        })
        .await;
    }
}

/// A thousand uploads of 16 MiB, as fast as they are taken: all of them get their response, and no
/// more than a worker's share is open a second later.
#[tokio::test(start_paused = true)]
async fn lingering_of_a_thousand_uploads_ends() {
    on_door(config(&[]), door_of(usize::MAX, usize::MAX), |edge| async move {
        let mut clients = Vec::new();
        for number in 0..1_000 {
            let mut client = edge.connect_from(&format!("192.0.{}.{}", number / 250, number % 250));
            clients.push(tokio::task::spawn_local(async move {
                client.write_all(TOO_LARGE.as_bytes()).await.expect("an open pipe");
                // Without an end: each of them sends a little every second.
                while client.write_all(&[b'x'; 32 * 1024]).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                let mut response = String::new();
                client.read_to_string(&mut response).await.expect("an end");
                assert_eq!(status(&response), 413);
            }));
        }
        sleep(Duration::from_millis(1_500)).await;
        let open = |clients: &[tokio::task::JoinHandle<()>]| {
            clients.iter().filter(|one| !one.is_finished()).count()
        };
        // Each of the others finds with its next piece that the connection is closed.
        sleep(Duration::from_millis(1_000)).await;
        assert_eq!(open(&clients), 256);
        sleep(Duration::from_secs(29)).await;
        assert_eq!(open(&clients), 0);
        for client in clients {
            client.await.expect("a response");
        }
    })
    .await;
}

/// Nothing is owed on a connection that ends with its last request: it waits a second for its
/// client, and takes nobody's place.
#[tokio::test(start_paused = true)]
async fn lingering_is_for_clients_that_owe_something() {
    on_door(config(&[]), door_of(usize::MAX, usize::MAX), |edge| async move {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = edge.connect();
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await
                .expect("an open pipe");
            assert_eq!(status(&response(&mut client).await), 200);
            clients.push(client);
        }
        let mut uploads = Vec::new();
        for _ in 0..8 {
            uploads.push(refused_from(&edge, "192.0.2.1").await);
        }
        sleep(Duration::from_millis(1_001)).await;
        assert_eq!((open(&mut clients).await, open(&mut uploads).await), (0, 8));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lingering_has_a_second_once_the_process_stops() {
    on_edge(&[], |edge| async move {
        let mut before = refused_from(&edge, "192.0.2.1").await;
        sleep(Duration::from_secs(2)).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        assert_eq!(closed_at(&edge, &mut before).await, 3_000);
        edge.worker.finished().await;
        assert_eq!(edge.now(), 3_000);
    })
    .await;
}

/// The line leaves with the response, and what is thrown away leaves none.
#[tokio::test(start_paused = true)]
async fn lingering_leaves_no_line() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        upload(&mut client, TOO_LARGE).await;
        client.write_all(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
        closed_at(&edge, &mut client).await;
        Rc::clone(&edge).get().await;
        let lines = [edge.line().await, edge.line().await];
        assert_eq!(lines.map(|line| line["status"].clone()), [413, 200]);
        assert_eq!(edge.seen.borrow().len(), 1);
    })
    .await;
}

/// A client that says nothing more does not hold a stop up, over TLS either.
#[tokio::test(start_paused = true)]
async fn lingering_over_tls_has_a_second_once_the_process_stops() {
    let (authority, door) = tls::one();
    on_door(config(&[]), door, |edge| async move {
        let client = authority.client(&["http/1.1"], tls::ALL, None);
        let mut client = tls::connect(&edge, client, "a.test").await.expect("a handshake");
        let head = TOO_LARGE.replace("host: a", "host: a.test");
        client.write_all(head.as_bytes()).await.expect("an open pipe");
        sleep(Duration::from_secs(1)).await;
        edge.order.by(Instant::now() + Duration::from_secs(8), Idle::Close);
        edge.worker.finished().await;
        assert_eq!(edge.now(), 2_000);
        assert_eq!(status(&response(&mut client).await), 413);
    })
    .await;
}

/// A client of HTTP/2 grants room while it reads, and what it sends may not meet a closed socket
/// before it has read everything.
#[tokio::test(start_paused = true)]
async fn lingering_takes_what_follows_the_end_of_http2() {
    on_door(config(&[]), ListenerPolicy { max_requests: 1, ..open_door() }, |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        while frames::until(&mut client, frames::GOAWAY).await.is_some() {}
        let (end, room) =
            (edge.now(), frames::frame(frames::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
        for _ in 0..8 {
            pause(3_000).await;
            client
                .write_all(&room)
                .await
                .unwrap_or_else(|error| panic!("{error} after {} ms", edge.now() - end));
        }
        assert_eq!(closed_at(&edge, &mut client).await, end + 29_000);
    })
    .await;
}
