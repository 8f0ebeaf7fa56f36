//! Connections: how many, how long, and whose.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};
use weir::{
    config::Config,
    downstream::{connection_limits::ConnectionLimits, listener::ListenerPolicy},
};

use crate::harness::{config, on_door, on_edge, open_door, status};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn trusting(networks: &[&str]) -> Config {
    let mut config = config(&[]);
    config.client_ip.proxies =
        networks.iter().map(|network| network.parse().expect("a network")).collect();
    config
}

/// What comes back until the connection is closed, and nothing where it never was open.
async fn all(mut client: DuplexStream, bytes: &[u8]) -> String {
    // A refused connection takes no bytes.
    let _refused = client.write_all(bytes).await;
    let mut came = String::new();
    client.read_to_string(&mut came).await.expect("an end");
    came
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_a_client_may_have_are_closed_at_once() {
    let door =
        || ListenerPolicy { occupancy: Arc::new(ConnectionLimits::new(4, 2)), ..open_door() };
    on_door(trusting(&["10.0.0.0/8"]), door(), |edge| async move {
        let held = [edge.connect_from("192.0.2.1"), edge.connect_from("192.0.2.1")];
        assert_eq!((all(edge.connect_from("192.0.2.1"), GET).await.as_str(), edge.now()), ("", 0));
        assert_eq!(status(&all(edge.connect_from("192.0.2.2"), LAST.as_bytes()).await), 200);
        drop(held);
        sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(status(&all(edge.connect_from("192.0.2.1"), LAST.as_bytes()).await), 200);
        let _held = [(); 4].map(|()| edge.connect_from("10.0.0.9"));
        assert_eq!(all(edge.connect_from("192.0.2.3"), GET).await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn max_requests_ends_connection_with_close() {
    on_door(config(&[]), ListenerPolicy { max_requests: 3, ..open_door() }, |edge| async move {
        let mut client = edge.connect();
        let mut answers = Vec::new();
        for _ in 0..3 {
            client.write_all(GET).await.expect("an open pipe");
            let mut buffer = [0; 1024];
            let count = client.read(&mut buffer).await.expect("an answer");
            answers.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
        let closes: Vec<_> =
            answers.iter().map(|answer| answer.contains("connection: close")).collect();
        assert_eq!(
            (closes, client.read(&mut [0; 1]).await.expect("an end")),
            (vec![false, false, true], 0)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_connection_ends_after_its_hour() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let mut buffer = [0; 1024];
        while client.write_all(GET).await.is_ok()
            && client.read(&mut buffer).await.is_ok_and(|count| count > 0)
        {
            sleep(std::time::Duration::from_secs(60)).await;
        }
        assert!((3_600_000..=3_660_000).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

/// Of 192.0.2.7 in version 1, and of 192.0.2.8 in version 2.
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x12\x67\0\x50";

fn behind_proxies() -> ListenerPolicy {
    ListenerPolicy { proxy_protocol: true, ..open_door() }
}

#[tokio::test(start_paused = true)]
async fn proxy_protocol_sets_client_address() {
    on_door(trusting(&["10.0.0.0/8"]), behind_proxies(), |edge| async move {
        let headers = [TEXT, BINARY, b"PROXY UNKNOWN\r\n"];
        for (header, client) in headers.into_iter().zip(["192.0.2.7", "192.0.2.8", "10.0.0.9"]) {
            let claim = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nconnection: close\r\n\r\n";
            let answer = all(edge.connect_from("10.0.0.9"), &[header, claim.as_bytes()].concat()).await;
            assert_eq!(status(&answer), 200);
            let line = edge.line().await;
            let believed = if client == "10.0.0.9" { "6.6.6.6" } else { client };
            assert_eq!((&line["peer"], &line["client"]), (&client.into(), &believed.into()));
        }
    })
    .await;
}

/// Heads that were read ahead are no requests yet.
#[tokio::test(start_paused = true)]
async fn max_requests_of_a_pipeline_are_all_answered() {
    for sent in [1_000, 1_100] {
        on_door(
            config(&[]),
            ListenerPolicy { max_requests: 1_000, ..open_door() },
            |edge| async move {
                let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
                let (mut reader, mut writer) = tokio::io::split(edge.connect());
                let mut answers = String::new();
                let write = async {
                    // Those behind the last are not taken.
                    let _closed = writer.write_all(&request.repeat(sent)).await;
                };
                let (_, read) = tokio::join!(write, reader.read_to_string(&mut answers));
                read.expect("text");
                assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 1_000, "of {sent}");
                assert_eq!(edge.seen.borrow().len(), 1_000, "of {sent}");
                assert_eq!(answers.matches("\r\nconnection: close\r\n").count(), 1, "of {sent}");
                let last = answers.rfind("HTTP/1.1").expect("an answer");
                assert!(answers[last..].contains("\r\nconnection: close\r\n"), "of {sent}");
            },
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_protocol_is_required_and_only_from_trusted_proxies() {
    on_door(trusting(&["10.0.0.0/8"]), behind_proxies(), |edge| async move {
        let header = TEXT;
        for (peer, bytes) in [
            ("10.0.0.9", LAST.as_bytes().to_vec()),
            ("192.0.2.1", [header, LAST.as_bytes()].concat()),
            ("10.0.0.9", [b"PROXY TCP4 nobody\r\n", LAST.as_bytes()].concat()),
            ("10.0.0.9", [header, header, LAST.as_bytes()].concat()),
        ] {
            let answer = all(edge.connect_from(peer), &bytes).await;
            assert!(!answer.contains(" 200 "), "{answer}");
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn proxy_protocol_header_without_configuration_is_400() {
    on_door(trusting(&["10.0.0.0/8"]), open_door(), |edge| async move {
        for header in [TEXT, BINARY] {
            let answer =
                all(edge.connect_from("10.0.0.9"), &[header, LAST.as_bytes()].concat()).await;
            assert_eq!(
                (status(&answer), edge.line().await["client"].as_str()),
                (400, Some("10.0.0.9"))
            );
        }
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connection_takes_nothing_away_of_what_a_trusted_proxy_says() {
    on_door(trusting(&["10.0.0.0/8"]), open_door(), |edge| async move {
        let said = [
            ("x-forwarded-for", "192.0.2.7", "192.0.2.7, 10.0.0.9"),
            ("x-forwarded-proto", "https", "https"),
            ("x-forwarded-host", "public.test", "public.test"),
        ];
        let lines = said
            .map(|(name, value, _)| format!("{name}: {value}\r\nconnection: {name}\r\n"))
            .concat();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: a\r\n{lines}connection: x-real-ip, host, close\r\n\r\n"
        );
        assert_eq!(status(&all(edge.connect_from("10.0.0.9"), request.as_bytes()).await), 200);
        let seen = &edge.seen.borrow()[0].headers;
        for (name, _, crosses) in said {
            assert_eq!(seen[name], crosses, "{name}");
        }
        assert_eq!(
            (&seen["x-real-ip"], &seen["host"]),
            (&"192.0.2.7".parse().expect("a value"), &"a".parse().expect("a value"))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn proxy_protocol_has_header_timeout() {
    on_door(trusting(&["10.0.0.0/8"]), behind_proxies(), |edge| async move {
        assert_eq!(all(edge.connect_from("10.0.0.9"), b"PROXY TCP4 ").await, "");
        assert!((10_000..=10_200).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn max_connections_per_client_counts_clients_behind_a_proxy() {
    let door = ListenerPolicy {
        proxy_protocol: true,
        occupancy: Arc::new(ConnectionLimits::new(10, 1)),
        ..open_door()
    };
    on_door(trusting(&["10.0.0.0/8"]), door, |edge| async move {
        let mut first = edge.connect_from("10.0.0.9");
        first.write_all(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n").await.expect("an open pipe");
        sleep(std::time::Duration::from_millis(1)).await;
        let from = |address: &str| {
            [format!("PROXY TCP6 {address} ::1 1 2\r\n").as_bytes(), LAST.as_bytes()].concat()
        };
        assert_eq!(all(edge.connect_from("10.0.0.9"), &from("2001:db8::2")).await, "");
        assert_eq!(
            status(&all(edge.connect_from("10.0.0.9"), &from("2001:db8:0:1::2")).await),
            200
        );
    })
    .await;
}
