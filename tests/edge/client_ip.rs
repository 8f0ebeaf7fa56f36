//! The client address from a field of any name: believed from trusted proxies alone, and exactly
//! one address.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::config::Config;

use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    harness::{Edge, on_edge_of, parsed, status},
    recorder::{NEXT, on_recorded_of, play},
};

/// Peer that is trusted, and one that is not.
const PROXY: &str = "10.0.0.9";
const STRANGER: &str = "203.0.113.9";

fn reading(client_ip: &str) -> Config {
    parsed(&format!(
        "listeners: [ ':1' ]\nclient_ip: {{ trusted_proxies: [ 10.0.0.0/8, 192.0.2.1 ], {client_ip} }}\n\
         upstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         zones: {{ z: {{ key: client_ip, rate: 1r/h }} }}\n\
         routes: [ {{ path: /, upstream: app, limits: [ {{ zone: z }} ] }} ]"
    ))
}

async fn ask(edge: &Edge, from: &str, fields: &str) -> u16 {
    let mut client = edge.connect_from(from);
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an open pipe");
    status(&response)
}

fn forwarded(edge: &Edge, name: &str) -> Option<String> {
    let seen = edge.seen.borrow();
    let value = seen.last().expect("a request").headers.get(name)?;
    Some(value.to_str().expect("text").to_owned())
}

#[tokio::test(start_paused = true)]
async fn field_of_any_name_is_the_client_of_a_trusted_proxy_alone() {
    for name in ["cf-connecting-ip", "X-Real-IP", "true-client-ip", "X-Our_Client"] {
        on_edge_of(reading(&format!("header: {name}")), |edge| async move {
            let of = |client: &str| format!("{name}: {client}\r\n");
            assert_eq!(ask(&edge, PROXY, &of("198.51.100.1")).await, 200);
            assert_eq!(forwarded(&edge, "x-real-ip").as_deref(), Some("198.51.100.1"));
            assert_eq!(ask(&edge, PROXY, &of("198.51.100.1:99")).await, 503, "the same client");
            assert_eq!(ask(&edge, PROXY, &of("198.51.100.2")).await, 200);
            assert_eq!(ask(&edge, STRANGER, &of("198.51.100.3")).await, 200);
            assert_eq!(forwarded(&edge, "x-real-ip").as_deref(), Some(STRANGER));
            assert_eq!(ask(&edge, STRANGER, &of("198.51.100.4")).await, 503);
            assert_eq!(ask(&edge, PROXY, &of("198.51.100.3")).await, 200, "never counted");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn field_that_is_not_one_address_is_refused_and_costs_nobody() {
    on_edge_of(reading("header: x-client"), |edge| async move {
        for fields in [
            "x-client: 1.1.1.1, 198.51.100.1\r\n",
            "x-client: 198.51.100.1\r\nx-client: 198.51.100.1\r\n",
            "x-client: 198.51.100.1\r\nX-Client: 1.1.1.1\r\n",
            "x-client: unknown\r\n",
            "x-client:\r\n",
        ] {
            assert_eq!(ask(&edge, PROXY, fields).await, 400, "{fields}");
            assert_eq!(
                ask(&edge, PROXY, &format!("x-forwarded-for: 1.1.1.1\r\n{fields}")).await,
                400
            );
        }
        assert!(edge.seen.borrow().is_empty(), "nothing was forwarded");
        assert_eq!(ask(&edge, PROXY, "x-client: 198.51.100.1\r\n").await, 200);
        assert_eq!(ask(&edge, PROXY, "").await, 200, "the proxy itself");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn own_field_crosses_from_a_trusted_proxy_alone_and_in_one_spelling() {
    let siblings = ["x_our_client", "x.our.client", "X-Our_Client", "x~our~client"];
    on_edge_of(reading("header: x-our-client"), |edge| async move {
        assert_eq!(ask(&edge, PROXY, "x-our-client: 198.51.100.1\r\nx-own: 1\r\n").await, 200);
        assert_eq!(forwarded(&edge, "x-our-client").as_deref(), Some("198.51.100.1"));
        assert_eq!(ask(&edge, STRANGER, "X-Our-Client: 1.1.1.1\r\nx-own: 2\r\n").await, 200);
        assert_eq!(forwarded(&edge, "x-own").as_deref(), Some("2"));
        assert_eq!(forwarded(&edge, "x-our-client"), None);
        for (last, name) in siblings.into_iter().enumerate() {
            for from in [format!("203.0.113.{}", 20 + last), format!("10.0.0.{}", 20 + last)] {
                assert_eq!(ask(&edge, &from, &format!("{name}: 1.1.1.1\r\n")).await, 200);
                assert_eq!(forwarded(&edge, name), None, "{name} from {from}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn own_field_of_a_stranger_does_not_cross_over_http_2() {
    let mut config = reading("header: x-our-client");
    config.client_ip.proxies.truncate(1);
    on_edge_of(config, |edge| async move {
        let claims = [("x-our-client", "1.1.1.1"), ("x_our_client", "1.1.1.1"), ("x-own", "1")];
        let fields = frames::fields(&[&frames::GET[..], &claims].concat());
        let mut client = edge.connect();
        let ask = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
        client.write_all(&[frames::hello(&[]), ask].concat()).await.expect("an open pipe");
        frames::until(&mut client, frames::DATA).await.expect("a response");
        assert_eq!(forwarded(&edge, "x-own").as_deref(), Some("1"));
        assert_eq!(forwarded(&edge, "x-our-client"), None);
        assert_eq!(forwarded(&edge, "x_our_client"), None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn own_field_is_never_a_trailer() {
    on_recorded_of(reading("header: x-our-client"), |edge, recorder| async move {
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-own\r\ntransfer-encoding: chunked\r\n\r\n";
        let trailers = "X-Our-Client: 1.1.1.1\r\nx_our_client: 1.1.1.1\r\nx-own: kept\r\n";
        let request = format!("{head}2\r\nhi\r\n0\r\n{trailers}\r\n{NEXT}");
        play(&edge, &recorder, request.as_bytes()).await;
        let request = recorder.requests.borrow()[0].clone();
        assert_eq!(request.trailers, [("x-own".to_owned(), "kept".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn list_is_read_past_trusted_proxies_unless_it_is_not_recursive() {
    for (recursive, client) in [("true", "198.51.100.1"), ("false", "10.1.1.1")] {
        on_edge_of(reading(&format!("recursive: {recursive}")), |edge| async move {
            let list = "x-forwarded-for: 198.51.100.1, 10.1.1.1\r\n";
            assert_eq!(ask(&edge, PROXY, list).await, 200);
            assert_eq!(forwarded(&edge, "x-real-ip").as_deref(), Some(client));
        })
        .await;
    }
}
