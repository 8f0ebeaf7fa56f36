//! What a proxy may say of its client, and a client may not say of itself; and the version that
//! each message came in.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::config::Config;

use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    harness::{config, on_edge, on_edge_of, status},
    recorder::{NEXT, on_recorded, play},
};

/// A field of each kind, and one that is a client's own.
const CLAIMS: [&str; 40] = [
    "Forwarded",
    "Forwarded-For",
    "X-Forwarded",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Original-Forwarded-For",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Remote-Addr",
    "X-Remote-User",
    "X-Auth-Request-User",
    "X-WebAuth-User",
    "X-SSL-Client-Verify",
    "X-Scheme",
    "X-Host",
    "Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Fastly-SSL",
    "Incap-Client-IP",
    "Ali-CDN-Real-IP",
    "X-Sucuri-ClientIP",
    "Front-End-Https",
    "WL-Proxy-Client-IP",
    "Client-Cert",
    "SSL-Client-Subject-DN",
];

fn trusting() -> Config {
    let mut config = config(&[]);
    config.client_ip.proxies =
        vec!["192.0.2.1".parse::<std::net::IpAddr>().expect("an address").into()];
    config
}

fn request(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx-own: kept\r\n{lines}connection: close\r\n\r\n")
}

/// Those of these names that reached the endpoint.
fn arrived(edge: &crate::harness::Edge, names: &[&str]) -> Vec<String> {
    let seen = edge.seen.borrow();
    let headers = &seen.last().expect("a request").headers;
    assert_eq!(headers["x-own"], "kept");
    names
        .iter()
        .filter(|name| headers.contains_key(**name))
        .map(|name| (*name).to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_stranger_do_not_cross() {
    on_edge(&[], |edge| async move {
        for name in CLAIMS {
            assert_eq!(status(&edge.exchange(&request(&format!("{name}: evil\r\n"))).await), 200);
            assert_eq!(arrived(&edge, &[name]), [""; 0]);
        }
        let all = CLAIMS.map(|name| format!("{name}: evil\r\n")).concat();
        edge.exchange(&request(&all)).await;
        assert_eq!(arrived(&edge, &CLAIMS), [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_stranger_do_not_cross_over_http_2() {
    on_edge(&[], |edge| async move {
        let names = CLAIMS.map(str::to_lowercase);
        let claims: Vec<_> = names.iter().map(|name| (name.as_str(), "evil")).collect();
        let fields = frames::fields(&[&frames::GET[..], &[("x-own", "kept")], &claims].concat());
        let mut client = edge.connect();
        let ask = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
        client.write_all(&[frames::hello(&[]), ask].concat()).await.expect("an open pipe");
        frames::until(&mut client, frames::DATA).await.expect("a response");
        assert_eq!(arrived(&edge, &CLAIMS), [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_trusted_proxy_cross() {
    on_edge_of(trusting(), |edge| async move {
        for name in CLAIMS {
            // It does not take back what it says.
            for connection in ["", &format!("connection: {name}\r\n")] {
                assert_eq!(
                    status(
                        &edge.exchange(&request(&format!("{name}: said\r\n{connection}"))).await
                    ),
                    200
                );
                assert_eq!(arrived(&edge, &[name]), [name], "{connection}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn claims_in_disguise_never_cross() {
    on_edge_of(trusting(), |edge| async move {
        for name in CLAIMS.iter().filter(|name| name.contains('-')) {
            for disguise in [name.replace('-', "_"), name.replacen('-', "_", 1)] {
                assert_eq!(
                    status(&edge.exchange(&request(&format!("{disguise}: evil\r\n"))).await),
                    200
                );
                assert_eq!(arrived(&edge, &[&disguise]), [""; 0]);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn claims_in_trailers_never_cross() {
    on_recorded(&[], |edge, recorder| async move {
        let names = CLAIMS.map(|name| format!("{name}: evil\r\n")).concat();
        let announced = CLAIMS.join(", ");
        let head =
            format!("POST / HTTP/1.1\r\nhost: a\r\ntrailer: {announced}, x-own\r\ntransfer-encoding: chunked\r\n\r\n");
        play(&edge, &recorder, format!("{head}2\r\nhi\r\n0\r\n{names}x-own: kept\r\n\r\n{NEXT}").as_bytes()).await;
        let request = recorder.requests.borrow()[0].clone();
        assert_eq!(request.all("trailer"), ["x-own"]);
        assert_eq!(request.trailers, [("x-own".to_owned(), "kept".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn via_of_a_request_of_http_2_says_so() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let fields = frames::fields(&[&frames::GET[..], &[("via", "1.1 a")]].concat());
        let ask = frames::frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields);
        client
            .write_all(&[frames::hello(&[]), frames::get(1), ask].concat())
            .await
            .expect("an open pipe");
        for _ in 0..2 {
            frames::until(&mut client, frames::DATA).await.expect("a response");
        }
        let via: Vec<_> =
            edge.seen.borrow().iter().map(|seen| seen.headers["via"].clone()).collect();
        assert_eq!(via, ["2 weir", "1.1 a, 2 weir"]);
    })
    .await;
}

/// An absolute target may leave out its path; `:path` may not (RFC 9113, section 8.3.1).
#[tokio::test(start_paused = true)]
async fn path_of_a_request_of_http_2_begins_with_a_slash() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let get = [frames::GET[0], frames::GET[1], frames::GET[2], (":path", "?x=1")];
        let ask = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &frames::fields(&get));
        client.write_all(&[frames::hello(&[]), ask].concat()).await.expect("an open pipe");
        let mut came = Vec::new();
        let _closed =
            tokio::time::timeout(std::time::Duration::from_secs(5), client.read_to_end(&mut came))
                .await;
        assert!(edge.seen.borrow().is_empty());
    })
    .await;
}
