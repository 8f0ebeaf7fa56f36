//! A request that comes back to where it was: `Via` tells (RFC 9110, section 7.6.3).

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use weir::{config::Config, runtime::io::Io, upstream::settings::Protocol};

use crate::{
    harness::{Edge, Pipes, config, on_raw_edge, status},
    recorder::on_recorded,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Connects the upstream to weir's own listener.
fn close_the_loop(edge: &Rc<Edge>, mut pipes: Pipes) {
    let edge = Rc::clone(edge);
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            let from = SocketAddr::from(([10, 0, 0, 1], 4711));
            edge.worker.take(Box::new(pipe) as Box<dyn Io>, from, Arc::clone(&edge.door));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn loop_ends_with_508_after_eight_passes() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for trusted in [false, true] {
            let mut looping: Config = config(&[]);
            looping.upstreams[0].protocol = protocol;
            if trusted {
                looping.client_ip.proxies = vec!["10.0.0.0/8".parse().expect("a network")];
            }
            on_raw_edge(looping, |edge, pipes| async move {
                close_the_loop(&edge, pipes);
                let answer = edge.exchange(GET).await;
                assert_eq!(status(&answer), 508, "{answer}");
                assert!(
                    answer.contains("proxy-status: weir; error=proxy_loop_detected; "),
                    "{answer}"
                );
                let (mut passed, mut found) = (0, 0);
                for _ in 0..10 {
                    let line = edge.line().await;
                    if line["error"].is_null() {
                        passed += 1;
                    } else {
                        assert_eq!(line["error"]["kind"], "proxy_loop_detected");
                        found += 1;
                    }
                }
                assert_eq!((passed, found), (9, 1), "{protocol:?}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn loop_is_told_by_the_own_name_alone() {
    let nine = |element: &str| [element; 9].join(", ");
    for (via, expected) in [
        (format!("via: {}\r\n", ["1.1 weir"; 8].join(", ")), 200),
        (format!("via: {}\r\n", nine("1.1 weir")), 508),
        (format!("Via: {}\r\n", nine("HTTP/2.0 Weir (edge)")), 508),
        ("via: 1.0 weir\r\n".repeat(9), 508),
        (format!("via: {}\r\nconnection: via\r\n", nine("2 weir")), 508),
        (format!("via: {}\r\n", nine("1.1 weirdo")), 200),
        (format!("via: {}\r\n", nine("1.1 proxy (weir)")), 200),
        (format!("via: {}\r\n", nine("weir")), 200),
    ] {
        on_recorded(&[], |edge, _recorder| async move {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{via}connection: close\r\n\r\n");
            assert_eq!(status(&edge.exchange(&request).await), expected, "{via}");
        })
        .await;
    }
}
