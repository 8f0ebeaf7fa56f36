//! HTTP/2 over TLS: who agrees on it, and for whose names a connection is.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    certificates::Authority,
    frames,
    harness::{config, on_door, status},
    http2::{Sender, over},
    tls::{ALL, connect, door, exchange, one, settings},
};

/// The status and version a client gets for this host.
async fn ask(sender: &mut Sender, host: &str) -> (u16, Version) {
    let request =
        Request::get(format!("https://{host}/")).body(Full::<Bytes>::default()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    (response.status().as_u16(), response.version())
}

#[tokio::test(start_paused = true)]
async fn alpn_h2_uses_http2() {
    let (authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        for offers in [&["h2"][..], &["h2", "http/1.1"], &["http/1.1", "h2"]] {
            let stream = connect(&edge, authority.client(offers, ALL, None), "a.test")
                .await
                .expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "{offers:?}");
            assert_eq!(ask(&mut over(stream).await, "a.test").await, (200, Version::HTTP_2));
            assert_eq!(edge.line().await["proto"], "HTTP/2.0");
        }
        assert!(edge.seen.borrow().iter().all(|seen| seen.headers["x-forwarded-proto"] == "https"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn alpn_without_h2_uses_http1() {
    let (authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        for (offers, agreed) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
            let stream = connect(&edge, authority.client(offers, ALL, None), "a.test")
                .await
                .expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
            assert_eq!(status(&exchange(stream, "a.test").await.expect("an answer")), 200);
            assert_eq!(edge.line().await["proto"], "HTTP/1.1");
        }
    })
    .await;
}

/// Clients may use a connection for other names, and are to be told for which it is not (RFC 9113,
/// section 9.1.2).
#[tokio::test(start_paused = true)]
async fn http2_stream_of_another_certificate_is_421() {
    let authority = Authority::new();
    authority.issue("a", &["a.test", "also.a.test"]);
    authority.issue("b", &["b.test"]);
    on_door(config(&[]), door(settings(&authority, &["a", "b"])), |edge| async move {
        let stream = connect(&edge, authority.client(&["h2"], ALL, None), "a.test")
            .await
            .expect("a handshake");
        let mut sender = over(stream).await;
        for (host, expected) in
            [("a.test", 200), ("b.test", 421), ("also.a.test", 200), ("b.test:443", 421)]
        {
            assert_eq!(ask(&mut sender, host).await, (expected, Version::HTTP_2), "{host}");
        }
        assert_eq!(ask(&mut sender, "a.test").await.0, 200);
        assert_eq!(edge.seen.borrow().len(), 3);
    })
    .await;
}

/// One that agrees on it and says nothing, or not all it has to begin with, has the time of a head.
#[tokio::test(start_paused = true)]
async fn timeout_header_cuts_silent_client() {
    for begin in [&b""[..], b"PRI * HT", &frames::hello(&[(4, 1)])[..34]] {
        let (authority, door) = one();
        on_door(config(&[]), door, |edge| async move {
            let mut stream = connect(&edge, authority.client(&["h2"], ALL, None), "a.test")
                .await
                .expect("a handshake");
            let agreed = edge.now();
            stream.write_all(begin).await.expect("an open pipe");
            let _closed = stream.read_to_end(&mut Vec::new()).await;
            assert!((10_000..=10_600).contains(&(edge.now() - agreed)), "{}", edge.now());
        })
        .await;
    }
}
