//! PROXY headers towards endpoints: each connection belongs to the client that its header names.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weir::{config::Config, upstream::settings::ProxyHeader};

use crate::harness::{config_to, on_raw_edge, status};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(version: ProxyHeader) -> Config {
    let mut config = config_to(&["1"]);
    config.upstreams[0].proxy_header = Some(version);
    config
}

async fn read(pipe: &mut DuplexStream) -> Vec<u8> {
    let mut piece = vec![0; 4096];
    let count = pipe.read(&mut piece).await.expect("an open pipe");
    piece.truncate(count);
    piece
}

/// Reads to the end of a head.
async fn request(pipe: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        all.extend(read(pipe).await);
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn ask(client: &mut DuplexStream) {
    client.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_proxy_header_serves_its_client_alone() {
    on_raw_edge(config(ProxyHeader::V1), |edge, mut pipes| async move {
        let (mut one, mut other) =
            (edge.connect_from("192.0.2.1"), edge.connect_from("2001:db8::2"));
        let mut kept = Vec::new();
        for (client, header) in [
            (&mut one, "PROXY TCP4 192.0.2.1 0.0.0.0 4711 0\r\n"),
            (&mut other, "PROXY TCP6 2001:db8::2 :: 4711 0\r\n"),
        ] {
            ask(client).await;
            let mut pipe = pipes.recv().await.expect("a connection");
            let received = request(&mut pipe).await;
            assert!(received.starts_with(&format!("{header}GET /x HTTP/1.1\r\n")), "{received}");
            pipe.write_all(OK).await.expect("an open pipe");
            assert_eq!(status(&String::from_utf8_lossy(&read(client).await)), 200);
            kept.push(pipe);
        }
        // Each client goes on with its own, which says the header once.
        for (client, pipe) in [&mut one, &mut other].into_iter().zip(&mut kept) {
            ask(client).await;
            assert!(request(pipe).await.starts_with("GET /x HTTP/1.1\r\n"));
            pipe.write_all(OK).await.expect("an open pipe");
            assert_eq!(status(&String::from_utf8_lossy(&read(client).await)), 200);
        }
        assert!(pipes.try_recv().is_none());
        // It goes with its client.
        drop(one);
        assert_eq!(kept[0].read(&mut [0; 1]).await.expect("an end"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn proxy_header_names_the_client_of_a_trusted_proxy_without_its_port() {
    let mut config = config(ProxyHeader::V2);
    let trusted = crate::harness::parsed(
        "listeners: [ ':1' ]\nclient_ip: { trusted_proxies: [ 192.0.2.0/24 ] }\n\
         routes: [ { path: /, upstream: 'http://a:1' } ]",
    );
    config.client_ip = trusted.client_ip;
    on_raw_edge(config, |edge, mut pipes| async move {
        let mut proxy = edge.connect_from("192.0.2.1");
        for last in [7, 8] {
            let text =
                format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.{last}\r\n\r\n");
            proxy.write_all(text.as_bytes()).await.expect("an open pipe");
            // Another client of the same proxy has another connection.
            let mut pipe = pipes.recv().await.expect("a connection");
            let mut header = [0; 28];
            pipe.read_exact(&mut header).await.expect("a header");
            let rest = [0x21, 0x11, 0, 12, 198, 51, 100, last, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(header[12..], rest);
            request(&mut pipe).await;
            pipe.write_all(OK).await.expect("an open pipe");
            assert_eq!(status(&String::from_utf8_lossy(&read(&mut proxy).await)), 200);
        }
    })
    .await;
}
