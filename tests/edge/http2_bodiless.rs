//! Responses that have no content, towards clients of HTTP/2: their HEADERS frame ends the stream,
//! and 204 has no length, which clients take for an error of the protocol (RFC 9110, sections 6.4.1
//! and 8.6).

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    grpc::to_http2,
    harness::{Edge, config, on_raw_edge},
};

/// A response's status, its fields, and whether its HEADERS frame ended the stream.
type Taken = (StatusCode, HeaderMap, bool);

async fn ask(edge: &Edge, method: Method) -> Taken {
    let (mut sender, connection) =
        h2::client::handshake(edge.connect()).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    let request =
        Request::builder().method(method).uri("http://a.test/").body(()).expect("a request");
    let (response, _) = sender.send_request(request, true).expect("an open connection");
    let (head, body) = response.await.expect("a response").into_parts();
    (head.status, head.headers, body.is_end_stream())
}

/// What a client gets of this response of an HTTP/1.1 endpoint.
async fn of_http1(method: Method, response: &'static str) -> Taken {
    let mut taken = None;
    let end = &mut taken;
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut vec![0; 4096]).await.is_ok_and(|count| count > 0));
            pipe.write_all(response.as_bytes()).await.expect("an open pipe");
        });
        *end = Some(ask(&edge, method).await);
        assert!(edge.line().await["error"].is_null());
    })
    .await;
    taken.expect("a response")
}

/// The same of an HTTP/2 endpoint, with so much DATA behind it.
async fn of_http2(status: u16, length: &'static str, data: &'static str) -> Taken {
    let mut taken = None;
    let end = &mut taken;
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let pipe = pipes.recv().await.expect("a connection");
            let mut connection = h2::server::handshake(pipe).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response = Response::builder().status(status).header("content-length", length);
                let response = response.body(()).expect("a response");
                let mut body = respond.send_response(response, data.is_empty()).expect("a stream");
                if !data.is_empty() {
                    body.send_data(Bytes::from_static(data.as_bytes()), true).expect("a stream");
                }
            }
        });
        *end = Some(ask(&edge, Method::GET).await);
        let line = edge.line().await;
        assert!(line["error"].is_null(), "{line}");
    })
    .await;
    taken.expect("a response")
}

#[tokio::test(start_paused = true)]
async fn no_content_has_no_length_and_no_body() {
    for method in [Method::GET, Method::HEAD] {
        for length in ["content-length: 5\r\n", "content-length: 0\r\n", ""] {
            let response = format!("HTTP/1.1 204 No Content\r\nx-kept: 1\r\n{length}\r\n").leak();
            let (status, fields, ended) = of_http1(method.clone(), response).await;
            assert_eq!(
                (status.as_u16(), fields.get("content-length"), ended),
                (204, None, true),
                "{method} {length}"
            );
            assert_eq!(fields["x-kept"], "1");
        }
    }
    for (length, data) in [("5", ""), ("0", ""), ("5", "hello")] {
        let (status, fields, ended) = of_http2(204, length, data).await;
        assert_eq!(
            (status.as_u16(), fields.get("content-length"), ended),
            (204, None, true),
            "{length} {data}"
        );
    }
}

/// The length of what the client has already.
#[tokio::test(start_paused = true)]
async fn not_modified_keeps_its_length_and_has_no_body() {
    let response = "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"a\"\r\n\r\n";
    let (status, fields, ended) = of_http1(Method::GET, response).await;
    assert_eq!(
        (status.as_u16(), &fields["content-length"], &fields["etag"], ended),
        (304, &"5".parse().expect("a value"), &"\"a\"".parse().expect("a value"), true)
    );
    for data in ["", "hello"] {
        let (status, fields, ended) = of_http2(304, "5", data).await;
        assert_eq!(
            (status.as_u16(), &fields["content-length"], ended),
            (304, &"5".parse().expect("a value"), true),
            "{data}"
        );
    }
}
