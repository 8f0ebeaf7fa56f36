//! Endpoints that close their connections right behind a response, and do not say so.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::harness::{Edge, Pipes, config, on_raw_edge, status};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
const EMPTY_POST: &str =
    "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

/// An endpoint that closes 5 ms behind each response, or where it behaves keeps its connections.
struct Endpoint {
    behaves: Cell<bool>,
    connections: Cell<usize>,
}

fn serve(mut pipes: Pipes) -> Rc<Endpoint> {
    let endpoint = Rc::new(Endpoint { behaves: Cell::new(false), connections: Cell::new(0) });
    let serving = Rc::clone(&endpoint);
    tokio::task::spawn_local(async move {
        while let Some(mut pipe) = pipes.recv().await {
            serving.connections.set(serving.connections.get() + 1);
            let endpoint = Rc::clone(&serving);
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 1024];
                while pipe.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    pipe.write_all(OK).await.expect("an open pipe");
                    if !endpoint.behaves.get() {
                        // What comes meanwhile is lost.
                        let _lost = timeout(Duration::from_millis(5), pipe.read(&mut buffer)).await;
                        return;
                    }
                }
            });
        }
    });
    endpoint
}

/// Number of these requests, sent one after the other, with a status other than 200.
async fn lost(edge: &Edge, count: usize, request: &str, pause: u64) -> usize {
    let mut lost = 0;
    for _ in 0..count {
        lost += usize::from(status(&edge.exchange(request).await) != 200);
        sleep(Duration::from_millis(pause)).await;
    }
    lost
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_closes_behind_responses_loses_nothing_once_that_is_known() {
    for request in [POST, EMPTY_POST, PUT] {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            serve(pipes);
            assert_eq!(lost(&edge, 6, request, 1).await, 3, "{request}");
            assert_eq!(lost(&edge, 300, request, 1).await, 0, "{request}");
        })
        .await;
    }
}

/// Requests that can be sent again tell as well, and so do connections that are found closed.
#[tokio::test(start_paused = true)]
async fn habit_is_learned_without_a_loss() {
    for (request, pause) in [(GET, 1), (POST, 20)] {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            serve(pipes);
            assert_eq!(lost(&edge, 12, request, pause).await, 0);
            assert_eq!(lost(&edge, 300, POST, 1).await, 0);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn reuse_comes_back_when_the_endpoint_behaves() {
    for (between, request) in [(GET, GET), (POST, POST)] {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            let endpoint = serve(pipes);
            lost(&edge, 12, request, 1).await;
            endpoint.behaves.set(true);
            // Requests that may be sent again use kept connections at once; those that may not are
            // judged by how long theirs stay.
            lost(&edge, 20, between, 200).await;
            let before = endpoint.connections.get();
            assert_eq!(lost(&edge, 100, POST, 1).await, 0);
            assert!(
                endpoint.connections.get() - before <= 1,
                "{}",
                endpoint.connections.get() - before
            );
        })
        .await;
    }
}

/// One connection that is closed now and then changes nothing.
#[tokio::test(start_paused = true)]
async fn connections_closed_now_and_then_are_no_habit() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let lengths = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&lengths);
        tokio::task::spawn_local(async move {
            while let Some(mut pipe) = pipes.recv().await {
                let noted = Rc::clone(&noted);
                tokio::task::spawn_local(async move {
                    let (mut served, mut buffer) = (0, [0; 1024]);
                    while served < 10 && pipe.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                        pipe.write_all(OK).await.expect("an open pipe");
                        served += 1;
                    }
                    noted.borrow_mut().push(served);
                });
            }
        });
        assert_eq!(lost(&edge, 100, POST, 20).await, 0);
        assert_eq!(*lengths.borrow(), [10; 10]);
    })
    .await;
}
