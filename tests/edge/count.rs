//! Rules that count responses, like failed logins: no number of parallel guesses passes them.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};
use weir::config::Config;

use crate::harness::{Edge, Pipes, on_raw_edge, parsed, status};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A route whose rule has this burst and counts responses of these statuses.
fn counting(burst: u32, statuses: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nupstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         zones: {{ failed: {{ key: client_ip, rate: 1r/h }} }}\nroutes:\n\
         - path: /\n  upstream: app\n  limits: [ {{ zone: failed, burst: {burst}, count: {statuses} }} ]"
    ))
}

async fn heard(pipe: &mut DuplexStream) -> String {
    let mut buffer = vec![0; 8192];
    let count = pipe.read(&mut buffer).await.expect("an open pipe");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// A client whose request is under way, and its endpoint.
async fn under_way(edge: &Rc<Edge>, pipes: &mut Pipes) -> (DuplexStream, DuplexStream) {
    let mut client = edge.connect();
    client.write_all(GET.as_bytes()).await.expect("an open pipe");
    let mut endpoint = pipes.recv().await.expect("a connection");
    assert!(heard(&mut endpoint).await.starts_with("GET / "));
    (client, endpoint)
}

/// The endpoint responds with this status, and the client gets it.
async fn answer(mut pair: (DuplexStream, DuplexStream), code: u16) {
    let response = format!("HTTP/1.1 {code} A\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    pair.1.write_all(response.as_bytes()).await.expect("an open pipe");
    assert_eq!(status(&heard(&mut pair.0).await), code);
}

async fn answered(edge: &Rc<Edge>, pipes: &mut Pipes, code: u16) {
    let pair = under_way(edge, pipes).await;
    answer(pair, code).await;
}

#[tokio::test(start_paused = true)]
async fn responses_of_other_statuses_cost_nothing() {
    on_raw_edge(counting(1, "[ 401, 403 ]"), |edge, mut pipes| async move {
        for code in [200, 200, 404, 200, 401, 302, 403] {
            answered(&edge, &mut pipes, code).await;
        }
        assert_eq!(Rc::clone(&edge).get().await, (503, 0), "two have failed");
        let lines = [edge.line().await, edge.line().await];
        assert_eq!(lines[0]["limit"]["decision"], "pass");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guesses_under_way_hold_their_places() {
    on_raw_edge(counting(1, "[ 401 ]"), |edge, mut pipes| async move {
        let one = under_way(&edge, &mut pipes).await;
        let two = under_way(&edge, &mut pipes).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        answer(one, 200).await;
        let three = under_way(&edge, &mut pipes).await;
        answer(two, 401).await;
        answer(three, 401).await;
        for _ in 0..3 {
            assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        }
        let mut other = edge.connect_from("198.51.100.1");
        other.write_all(GET.as_bytes()).await.expect("an open pipe");
        assert!(pipes.recv().await.is_some(), "another client has its own");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn client_that_leaves_before_the_response_frees_its_place() {
    on_raw_edge(counting(0, "[ 401 ]"), |edge, mut pipes| async move {
        let (client, _endpoint) = under_way(&edge, &mut pipes).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
        drop(client);
        sleep(Duration::from_secs(3)).await;
        answered(&edge, &mut pipes, 401).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_of_the_response_is_enough_to_be_counted() {
    on_raw_edge(counting(0, "[ 401 ]"), |edge, mut pipes| async move {
        let (mut client, mut endpoint) = under_way(&edge, &mut pipes).await;
        let head = "HTTP/1.1 401 A\r\ncontent-length: 9\r\n\r\n";
        endpoint.write_all(head.as_bytes()).await.expect("an open pipe");
        assert_eq!(status(&heard(&mut client).await), 401);
        // It knows that the guess was wrong, so leaving now does not undo it.
        drop((client, endpoint));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(Rc::clone(&edge).get().await, (503, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn responses_of_weir_itself_count_too() {
    on_raw_edge(counting(0, "[ 502 ]"), |edge, _pipes| async move {
        edge.world.refusing.store(true, Ordering::Relaxed);
        assert_eq!(Rc::clone(&edge).get().await.0, 502);
        assert_eq!(Rc::clone(&edge).get().await.0, 503);
    })
    .await;
}
