//! Endpoints with a limit on their requests in progress, and requests that wait for room.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use weir::config::Config;

use crate::harness::{Edge, Pipes, config_to, on_raw_edge, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Each address takes one request, and so many wait for up to five seconds.
fn config(addresses: &[&str], queue: usize) -> Config {
    let mut config = config_to(addresses);
    for endpoint in &mut config.upstreams[0].endpoints {
        endpoint.max_connections = Some(1);
    }
    config.upstreams[0].queue.max = queue;
    config
}

/// Responds to each request a second after it came.
async fn slow(mut pipes: Pipes) {
    while let Some(mut pipe) = pipes.recv().await {
        tokio::task::spawn_local(async move {
            while pipe.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {
                sleep(Duration::from_secs(1)).await;
                if pipe.write_all(OK).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// So many requests, one after the other in the same instant: number, status and time of each, in
/// the order of their ends.
async fn at_once(edge: &Rc<Edge>, count: usize) -> Vec<(usize, u16, u64)> {
    let (ended, mut asking) = (Rc::new(RefCell::new(Vec::new())), Vec::new());
    for number in 0..count {
        let (edge, ended) = (Rc::clone(edge), Rc::clone(&ended));
        asking.push(tokio::task::spawn_local(async move {
            let status = status(&edge.exchange(GET).await);
            ended.borrow_mut().push((number, status, edge.now()));
        }));
        tokio::task::yield_now().await;
    }
    for one in asking {
        one.await.expect("no panic");
    }
    ended.take()
}

#[tokio::test(start_paused = true)]
async fn max_connections_lets_requests_wait_in_their_order() {
    on_raw_edge(config(&["1"], 3), |edge, pipes| async move {
        tokio::task::spawn_local(slow(pipes));
        let ended = at_once(&edge, 5).await;
        let expected = [(4, 503, 0), (0, 200, 1_000), (1, 200, 2_000), (2, 200, 3_000)];
        assert_eq!(ended[..4], expected);
        assert_eq!(ended[4], (3, 200, 4_000));
        let line = edge.line().await;
        assert_eq!(line["error"]["kind"], "connection_limit_reached", "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn wait_for_room_ends_after_max_wait_exactly() {
    let mut config = config(&["1"], 10);
    config.upstreams[0].queue.max_wait = Duration::from_millis(4_500);
    on_raw_edge(config, |edge, pipes| async move {
        tokio::task::spawn_local(slow(pipes));
        let ended: Vec<_> = at_once(&edge, 7).await;
        // One is served each second, and the others give up together.
        let (served, given_up): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|(_, status, _)| *status == 200);
        let times: Vec<u64> = served.iter().map(|(_, _, at)| *at).collect();
        assert_eq!(times, [1_000, 2_000, 3_000, 4_000, 5_000]);
        let given_up: Vec<_> = given_up.iter().map(|(_, status, at)| (*status, *at)).collect();
        assert_eq!(given_up, [(503, 4_500), (503, 4_500)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn full_address_leaves_its_requests_to_another_and_to_a_backup() {
    let mut config = config(&["1", "2", "3"], 0);
    config.upstreams[0].endpoints[2].backup = true;
    on_raw_edge(config, |edge, pipes| async move {
        tokio::task::spawn_local(slow(pipes));
        let ended = at_once(&edge, 4).await;
        let mut statuses: Vec<u16> = ended.iter().map(|(_, status, _)| *status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 503]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn client_that_leaves_the_line_gives_its_place_to_the_next() {
    on_raw_edge(config(&["1"], 2), |edge, pipes| async move {
        tokio::task::spawn_local(slow(pipes));
        let first = tokio::task::spawn_local({
            let edge = Rc::clone(&edge);
            async move { status(&edge.exchange(GET).await) }
        });
        tokio::task::yield_now().await;
        let mut leaving = edge.connect();
        leaving.write_all(GET.as_bytes()).await.expect("an open pipe");
        sleep(Duration::from_millis(100)).await;
        let third = tokio::task::spawn_local({
            let edge = Rc::clone(&edge);
            async move { (status(&edge.exchange(GET).await), edge.now()) }
        });
        sleep(Duration::from_millis(100)).await;
        drop(leaving);
        assert_eq!(first.await.expect("no panic"), 200);
        assert_eq!(third.await.expect("no panic"), (200, 2_000));
    })
    .await;
}

/// A client that leaves while its request is in progress frees the place at the endpoint.
#[tokio::test(start_paused = true)]
async fn client_that_leaves_its_request_frees_the_place() {
    on_raw_edge(config(&["1"], 1), |edge, mut pipes| async move {
        let mut leaving = edge.connect();
        leaving.write_all(GET.as_bytes()).await.expect("an open pipe");
        let _silent = pipes.recv().await.expect("a connection");
        tokio::task::spawn_local(slow(pipes));
        drop(leaving);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(status(&edge.exchange(GET).await), 200);
    })
    .await;
}

/// A tunnel is in progress until it ends.
#[tokio::test(start_paused = true)]
async fn tunnel_keeps_its_place_until_it_ends() {
    on_raw_edge(config(&["1"], 0), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let upgrade =
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        client.write_all(upgrade.as_bytes()).await.expect("an open pipe");
        let mut far = pipes.recv().await.expect("a connection");
        assert!(far.read(&mut [0; 1024]).await.expect("a request") > 0);
        let accept = b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        far.write_all(accept).await.expect("an open pipe");
        assert!(client.read(&mut [0; 1024]).await.expect("a response") > 0);
        tokio::task::spawn_local(slow(pipes));
        assert_eq!(status(&edge.exchange(GET).await), 503);
        drop((client, far));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&edge.exchange(GET).await), 200);
    })
    .await;
}
