//! HTTP/2 to endpoints: one connection, trailers both ways, and gRPC's words for what weir responds
//! itself.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use weir::{config::Config, proxy::header_edits::Message, upstream::settings::Protocol};

use crate::{
    certificates::Authority,
    harness::{Edge, Pipes, config, on_raw_edge, status},
    header_edits::edits,
    http2::Local,
    upstream_tls::{endpoint, secured},
};

pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

pub fn to_http2(limits: &[&str]) -> Config {
    let mut config = config(limits);
    config.upstreams[0].protocol = Protocol::Http2;
    config
}

/// A body of one piece and trailers.
pub fn body(text: &'static str, trailers: &[(&'static str, &'static str)]) -> Body {
    let trailers: HeaderMap = trailers
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    Full::new(Bytes::from_static(text.as_bytes()))
        .with_trailers(std::future::ready(Some(Ok(trailers))))
        .boxed_unsync()
}

/// Requests seen by an endpoint that responds to everything.
#[derive(Default)]
struct Heard {
    connections: u32,
    requests: Vec<(http::request::Parts, HeaderMap)>,
}

async fn hear(
    heard: Rc<RefCell<Heard>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let trailers = body.collect().await?.trailers().cloned().unwrap_or_default();
    heard.borrow_mut().requests.push((head, trailers));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    Ok(Response::new(self::body("reply", &[("grpc-status", "0")])))
}

fn serve(mut pipes: Pipes) -> Rc<RefCell<Heard>> {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let of_endpoint = Rc::clone(&heard);
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            of_endpoint.borrow_mut().connections += 1;
            let heard = Rc::clone(&of_endpoint);
            let service = service_fn(move |request| hear(Rc::clone(&heard), request));
            let mut builder = server::Builder::new(Local);
            builder.max_concurrent_streams(10);
            tokio::task::spawn_local(builder.serve_connection(TokioIo::new(pipe), service));
        }
    });
    heard
}

pub async fn client(edge: &Edge) -> SendRequest<Body> {
    let (sender, connection) =
        http2::handshake(Local, TokioIo::new(edge.connect())).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    sender
}

fn call() -> Request<Body> {
    let request = Request::post("http://a.test/pkg.Service/Method")
        .header("content-type", "application/grpc");
    request.header("te", "trailers").body(body("ask", &[("x-sum", "7")])).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn grpc_call_passes_with_trailers_both_ways() {
    on_raw_edge(to_http2(&[]), |edge, pipes| async move {
        let heard = serve(pipes);
        let response = client(&edge).await.send_request(call()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let collected = response.into_body().collect().await.expect("a whole answer");
        assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "reply");
        let heard = heard.borrow();
        let (head, trailers) = &heard.requests[0];
        assert_eq!(head.uri.to_string(), "http://a.test/pkg.Service/Method");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(trailers["x-sum"], "7");
        assert!(!head.headers.contains_key("host"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_share_one_connection_until_its_streams_are_full() {
    on_raw_edge(to_http2(&[]), |edge, pipes| async move {
        let heard = serve(pipes);
        let one = Rc::clone(&edge);
        let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&one.exchange(get).await), 200);
        for (at_once, connections) in [(10, 1), (15, 2)] {
            let mut asking = Vec::new();
            for _ in 0..at_once {
                let edge = Rc::clone(&edge);
                asking.push(tokio::task::spawn_local(
                    async move { status(&edge.exchange(get).await) },
                ));
            }
            for one in asking {
                assert_eq!(one.await.expect("no panic"), 200);
            }
            assert_eq!(heard.borrow().connections, connections, "{at_once} at once");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn over_tls_it_is_agreed_on_or_there_is_no_answer() {
    let authority = Authority::new();
    authority.issue("app", &["app.test"]);
    for (alpn, expected) in [(&["h2"][..], 200), (&[], 502)] {
        let mut config = secured(&authority);
        config.upstreams[0].protocol = Protocol::Http2;
        let acceptor = endpoint(&authority, alpn);
        on_raw_edge(config, |edge, mut pipes| async move {
            tokio::task::spawn_local(async move {
                while let Some(pipe) = pipes.recv().await {
                    let Ok(stream) = Box::pin(acceptor.accept(pipe)).await else { continue };
                    let service = service_fn(move |request| hear(Rc::default(), request));
                    let serving =
                        server::Builder::new(Local).serve_connection(TokioIo::new(stream), service);
                    tokio::task::spawn_local(serving);
                }
            });
            let answer =
                edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            assert_eq!(status(&answer), expected, "{answer}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_reject_has_grpc_status() {
    on_raw_edge(to_http2(&["30r/m"]), |edge, pipes| async move {
        let _heard = serve(pipes);
        let mut client = client(&edge).await;
        client.send_request(call()).await.expect("an answer");
        let response = client.send_request(call()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        for (name, value) in
            [("content-type", "application/grpc"), ("grpc-status", "14"), ("retry-after", "1")]
        {
            assert_eq!(headers[name], value);
        }
        assert!(hyper::body::Body::is_end_stream(response.body()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn header_edit_of_host_is_the_authority() {
    let mut config = to_http2(&[]);
    config.routes[0].request_edits = edits(Message::Request, &[("host", "inner:8000")], &[]);
    on_raw_edge(config, |edge, pipes| async move {
        let heard = serve(pipes);
        client(&edge).await.send_request(call()).await.expect("an answer");
        let heard = heard.borrow();
        assert_eq!(
            heard.requests[0].0.uri.authority().map(http::uri::Authority::as_str),
            Some("inner:8000")
        );
        assert!(!heard.requests[0].0.headers.contains_key("host"));
    })
    .await;
}

/// HTTP/1.0 may name no host, and HTTP/2 must: then it is the endpoint's own.
#[tokio::test(start_paused = true)]
async fn authority_of_a_request_that_names_no_host_is_the_endpoints() {
    on_raw_edge(to_http2(&[]), |edge, pipes| async move {
        let heard = serve(pipes);
        for (request, authority) in [
            ("GET /p HTTP/1.0\r\n\r\n", "10.0.0.1:80"),
            ("GET /p HTTP/1.0\r\nhost: a.test\r\n\r\n", "a.test"),
        ] {
            let response = edge.exchange(request).await;
            assert!(status(&response) == 200 && response.ends_with("reply"), "{response}");
            let (head, _) = heard.borrow_mut().requests.pop().expect("a request");
            assert_eq!(head.uri.to_string(), format!("http://{authority}/p"));
            assert_eq!(head.headers.contains_key("x-forwarded-host"), authority == "a.test");
        }
    })
    .await;
}
