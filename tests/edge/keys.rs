//! What a request is counted by, and that leaving a part of it out, or writing it in another way,
//! does not make it another client.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::config::Config;

use crate::{
    harness::{on_edge_of, parsed, status},
    http2,
};

const ROUTES: &str = "routes: [ { path: /, upstream: app, limits: [ { zone: z } ] } ]";

/// One zone `z` of these settings, and these routes.
pub fn zone(settings: &str, routes: &str) -> Config {
    let file = format!(
        "listeners: [ ':1' ]\nclient_ip: {{ trusted_proxies: [ 192.0.2.1 ], header: forwarded }}\n\
         upstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\nzones: {{ z: {{ {settings}, rate: 1r/h }} }}\n{routes}"
    );
    parsed(&file)
}

/// The statuses of these requests, each on a connection of its own.
async fn statuses(config: Config, requests: &[&str]) -> Vec<u16> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let requests: Vec<String> =
        requests.iter().map(|request| format!("{request}connection: close\r\n\r\n")).collect();
    on_edge_of(config, |edge| async move {
        let mut statuses = Vec::new();
        for request in &requests {
            statuses.push(status(&edge.exchange(request).await));
        }
        sender.send(statuses).expect("a test that waits");
    })
    .await;
    receiver.await.expect("statuses")
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n";

#[tokio::test(start_paused = true)]
async fn key_of_several_parts_counts_what_is_there() {
    for key in [
        "[ client_ip, 'header:x-api-key' ]",
        "[ 'cookie:sid', client_ip ]",
        "[ 'query:key', global ]",
        "[ 'header:x-api-key', route ]",
    ] {
        assert_eq!(
            statuses(zone(&format!("key: {key}"), ROUTES), &[GET, GET]).await,
            [200, 503],
            "{key}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn key_of_which_all_parts_are_absent_is_exempt() {
    for key in [
        "'header:x-api-key'",
        "[ 'header:x-api-key' ]",
        "[ 'header:x-api-key', 'cookie:sid', 'query:key' ]",
    ] {
        assert_eq!(
            statuses(zone(&format!("key: {key}"), ROUTES), &[GET, GET]).await,
            [200, 200],
            "{key}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn missing_exempt_of_a_list_is_written_to_mean_it() {
    for (missing, expected) in [
        ("exempt", [200, 200]),
        ("empty", [200, 503]),
        ("share", [200, 503]),
        ("reject", [503, 503]),
    ] {
        let settings = format!("key: [ client_ip, 'header:x-api-key' ], missing: {missing}");
        assert_eq!(statuses(zone(&settings, ROUTES), &[GET, GET]).await, expected, "{missing}");
    }
}

#[tokio::test(start_paused = true)]
async fn host_counts_where_http_1_0_names_none() {
    let default_authority = "GET / HTTP/1.0\r\n";
    for key in [
        "host",
        "[ client_ip, host ]",
        "'header:host'",
        "[ client_ip, host ], missing: exempt",
        "host, missing: reject",
    ] {
        let statuses = statuses(
            zone(&format!("key: {key}"), ROUTES),
            &[default_authority, default_authority, GET],
        )
        .await;
        assert_eq!(statuses, [200, 503, 200], "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn header_host_is_the_host_however_it_is_said() {
    let requests =
        [GET, "GET / HTTP/1.1\r\nhost: A.:80\r\n", "GET http://a/ HTTP/1.1\r\nhost: b\r\n"];
    assert_eq!(statuses(zone("key: 'header:host'", ROUTES), &requests).await, [200, 503, 503]);
    on_edge_of(zone("key: 'header:Host'", ROUTES), |edge| async move {
        for expected in [200, 503] {
            let request =
                Request::builder().uri("http://a/").body(Full::default()).expect("a request");
            let response =
                http2::client(&edge).await.send_request(request).await.expect("a response");
            assert_eq!(response.status(), expected);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn basic_user_has_one_bucket_for_all_passwords() {
    let with = |credentials: &str| format!("{GET}authorization: {credentials}\r\n");
    // max:a, max:b, eva:a, and two texts that are no Base 64.
    let requests =
        ["Basic bWF4OmE=", "basic  bWF4OmI", "Basic ZXZhOmE=", "Basic bWF4 OmE=", "Basic !"];
    let requests = requests.map(with);
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let of_user = statuses(zone("key: basic_user", ROUTES), &requests).await;
    assert_eq!(of_user, [200, 503, 200, 200, 503]);
    let bearer = with("Bearer bWF4OmE=");
    let others = statuses(zone("key: basic_user", ROUTES), &[GET, &bearer, GET, &bearer]).await;
    assert_eq!(others, [200; 4], "they have no such user");
}

#[tokio::test(start_paused = true)]
async fn cookies_and_parameters_have_one_bucket_for_all_spellings() {
    let with = |cookie: &str| format!("{GET}cookie: {cookie}\r\n");
    let cookies =
        [with("sid=1"), with("sid =1"), with("sid= 1"), with("a=b;sid=\"1\""), with("sid=2")];
    let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
    assert_eq!(
        statuses(zone("key: 'cookie:sid'", ROUTES), &cookies).await,
        [200, 503, 503, 503, 200]
    );
    let asking = |query: &str| format!("GET /?{query} HTTP/1.1\r\nhost: a\r\n");
    let queries =
        [asking("key=a+b"), asking("key=a%20b"), asking("k%65y=%61+b"), asking("key=a%2Bb")];
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    assert_eq!(statuses(zone("key: 'query:key'", ROUTES), &queries).await, [200, 503, 503, 200]);
}

#[tokio::test(start_paused = true)]
async fn empty_elements_of_a_forwarding_field_hide_nobody() {
    let from = |list: &str| format!("{GET}forwarded: {list}\r\n");
    let lists = [
        from("for=198.51.100.6"),
        from("for=198.51.100.6,"),
        from("for=198.51.100.6, ,"),
        from("for=198.51.100.7,"),
    ];
    let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
    assert_eq!(statuses(zone("key: client_ip", ROUTES), &lists).await, [200, 503, 503, 200]);
}

#[tokio::test(start_paused = true)]
async fn routes_that_differ_by_method_or_exactness_have_buckets_of_their_own() {
    let route =
        |pattern: &str| format!("- {{ {pattern}, upstream: app, limits: [ {{ zone: z }} ] }}\n");
    let routes = [
        "path: /x, methods: [ GET ]",
        "path: /x, methods: [ POST ]",
        "path_exact: /x, methods: [ POST ]",
        "path: /y",
    ];
    let routes = format!("routes:\n{}", routes.map(route).concat());
    let config = zone("key: [ client_ip, route ]", &routes);
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["GET /x", "POST /x", "POST = /x", "/y"]);
    let asking = |line: &str| format!("{line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n");
    let requests = ["GET /x", "POST /x", "POST /x/y", "GET /y", "GET /x"].map(asking);
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    assert_eq!(statuses(config, &requests).await, [200, 200, 200, 200, 503]);
}

/// The response to a request without the part of a key that it must have.
async fn rejected(reject: &str, fields: &str) -> String {
    let settings = "key: [ client_ip, 'header:x-api-key' ], missing: reject";
    let config = zone(
        settings,
        &format!(
            "{ROUTES}\nreject: {{ headers: [ retry-after, proxy-status, ratelimit ], {reject} }}"
        ),
    );
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request = format!("{GET}{fields}connection: close\r\n\r\n");
    on_edge_of(config, |edge| async move {
        sender.send(edge.exchange(&request).await).expect("a test that waits");
        let limit = &edge.line().await["limit"];
        assert_eq!(
            (&limit["reason"], &limit["missing"]),
            (&"missing_key".into(), &"header:x-api-key".into())
        );
        assert_eq!(limit["retry_ms"], 0);
    })
    .await;
    receiver.await.expect("a response")
}

#[tokio::test(start_paused = true)]
async fn reject_for_a_missing_part_says_which_and_no_time() {
    let told = "the field x-api-key is missing";
    for (reject, fields, body) in [
        ("body: problem", "", format!("\"detail\":\"{told}\",\"zone\":\"z\"}}")),
        ("body: auto", "accept: text/html\r\n", format!("<p>{told}.</p>")),
        ("body: auto", "accept: text/plain\r\n", format!("401 Unauthorized: {told}\n")),
        ("body: text", "", format!("401 Unauthorized: {told}\n")),
        ("body: none", "", "\r\n\r\n".to_owned()),
    ] {
        let response = rejected(&format!("status: 401, {reject}"), fields).await;
        assert!(response.starts_with("HTTP/1.1 401 ") && response.ends_with(&body), "{response}");
        assert!(response.contains(&format!("details=\"zone z: {told}\"\r\n")), "{response}");
        for time in ["retry-after", "retry_after", "again", "too many", "\r\nratelimit:"] {
            assert!(!response.contains(time), "{time}: {response}");
        }
        assert!(response.contains("\r\nratelimit-policy: "), "{response}");
    }
}

/// A fresh value in front of the real one would be a fresh bucket with each request, and many
/// servers read the last.
#[tokio::test(start_paused = true)]
async fn key_repeated_with_other_values_is_rejected() {
    let get = |query: &str, fields: &str| format!("GET /{query} HTTP/1.1\r\nhost: a\r\n{fields}");
    for (part, once, twice) in [
        (
            "header:x-api-key",
            get("", "x-api-key: k\r\n"),
            get("", "x-api-key: 1\r\nx-api-key: k\r\n"),
        ),
        (
            "header:x-api-key",
            get("", "x-api-key: k\r\n"),
            get("", "x-api-key:\r\nx-api-key: k\r\n"),
        ),
        (
            "header:authorization",
            get("", "authorization: Bearer k\r\n"),
            get("", "authorization: x\r\nauthorization: Bearer k\r\n"),
        ),
        ("cookie:sid", get("", "cookie: sid=k\r\n"), get("", "cookie: sid=1; sid=k\r\n")),
        ("cookie:sid", get("", "cookie: sid=k\r\n"), get("", "cookie: sid=1\r\ncookie: sid=k\r\n")),
        ("query:key", get("?key=k", ""), get("?key=1&key=k", "")),
        ("query:key", get("?key=k", ""), get("?k%65y=1&key=k", "")),
    ] {
        for missing in ["exempt", "empty", "share", "reject"] {
            let config = zone(&format!("key: '{part}', missing: {missing}"), ROUTES);
            assert_eq!(
                statuses(config, &[&once, &twice, &once]).await,
                [200, 503, 503],
                "{part} {missing}"
            );
        }
        // No bucket was charged: the first of the two values is still to be had, and so is the
        // second.
        let config = zone(&format!("key: '{part}'"), ROUTES);
        assert_eq!(statuses(config, &[&twice, &once]).await, [503, 200], "{part}");
    }
    let same = get("?key=k&key=k", "x-api-key: k\r\nx-api-key: k\r\ncookie: sid=k; sid=k\r\n");
    let config = zone("key: [ 'header:x-api-key', 'cookie:sid', 'query:key' ]", ROUTES);
    assert_eq!(statuses(config, &[&same, &same]).await, [200, 503]);
}

#[tokio::test(start_paused = true)]
async fn reject_for_a_repeated_part_says_which_and_no_time() {
    on_edge_of(
        zone("key: 'cookie:sid'", &format!("{ROUTES}\nreject: {{ body: text }}")),
        |edge| async move {
            let request =
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncookie: sid=a; sid=b\r\n\r\n";
            let response = edge.exchange(request).await;
            assert!(
                response
                    .ends_with("503 Service Unavailable: the cookie sid appears more than once\n"),
                "{response}"
            );
            assert!(!response.contains("retry-after"), "{response}");
            let limit = &edge.line().await["limit"];
            assert_eq!(
                (&limit["reason"], &limit["repeated"]),
                (&"repeated_key".into(), &"cookie:sid".into())
            );
            assert_eq!((limit.get("missing"), &limit["retry_ms"]), (None, &0.into()));
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn reject_for_a_missing_part_is_nothing_grpc_tries_again() {
    on_edge_of(zone("key: 'query:key%20x', missing: reject", ROUTES), |edge| async move {
        let request = Request::post("http://a/").header("content-type", "application/grpc");
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let response = http2::client(&edge).await.send_request(request).await.expect("a response");
        let field = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(field("grpc-status").as_deref(), Some("3"));
        assert_eq!(
            field("grpc-message").as_deref(),
            Some("the query parameter key%2520x is missing")
        );
        assert_eq!(field("retry-after"), None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_above_max_body_is_refused_before_it_is_charged_or_waits() {
    let routes = "routes: [ { path: /, upstream: app, limits: [ { zone: z, burst: 1, max_wait: 1h } ], request: { max_body: 5 } } ]";
    on_edge_of(zone("key: client_ip", routes), |edge| async move {
        let post = |body: &str| {
            format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        assert_eq!(status(&edge.exchange(&post("123456")).await), 413);
        assert_eq!(status(&edge.exchange(&post("12345")).await), 200);
        assert_eq!(status(&edge.exchange(&post("123456")).await), 413);
        // An offer to change protocols changes nothing about its body.
        let upgrade = post("123456").replace("connection: close", "connection: upgrade, close\r\nupgrade: x");
        assert_eq!(status(&edge.exchange(&upgrade).await), 413);
        assert_eq!(edge.now(), 0, "nobody waited");
        let large = Request::post("http://a/").body(Full::new(Bytes::from_static(b"123456"))).expect("a request");
        let response = http2::client(&edge).await.send_request(large).await.expect("a response");
        assert_eq!((response.status().as_u16(), edge.now()), (413, 0));
        assert_eq!(status(&edge.exchange(&post("")).await), 200);
        assert_eq!(edge.now(), 3_600_000, "the place behind the first was free");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn method_not_allowed_lists_those_that_are_and_keeps_the_connection() {
    let routes = "routes: [ { path: /x, methods: [ GET, PUT ], upstream: app }, { path_exact: /x, methods: [ DELETE ], upstream: app } ]";
    on_edge_of(zone("key: client_ip", routes), |edge| async move {
        let mut client = edge.connect();
        for (request, allowed) in [
            (
                "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
                "DELETE, GET, HEAD, PUT",
            ),
            ("POST //x/y HTTP/1.1\r\nhost: a\r\n\r\n", "GET, HEAD, PUT"),
            ("TRACE /x/y HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n", "GET, HEAD, PUT"),
        ] {
            client.write_all(request.as_bytes()).await.expect("an open pipe");
            let mut response = vec![0; 4096];
            let count = client.read(&mut response).await.expect("an open pipe");
            let response = String::from_utf8_lossy(&response[..count]).into_owned();
            assert!(
                response.starts_with("HTTP/1.1 405 ") && !response.contains("connection: close"),
                "{response}"
            );
            assert!(response.contains(&format!("\r\nallow: {allowed}\r\n")), "{response}");
            assert_eq!(edge.line().await["status"], 405);
        }
        let options =
            "OPTIONS /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n";
        let response = edge.exchange(options).await;
        assert!(
            response.starts_with("HTTP/1.1 200 ")
                && response.contains("\r\nallow: DELETE, GET, HEAD, PUT\r\n"),
            "{response}"
        );
        let request =
            Request::post("http://a/x").body(Full::<Bytes>::default()).expect("a request");
        let response = http2::client(&edge).await.send_request(request).await.expect("a response");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"DELETE, GET, HEAD, PUT".parse().expect("a value"))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn method_in_another_case_takes_the_route_of_its_method() {
    let routes = "routes: [ { path: /, methods: [ POST ], upstream: app, limits: [ { zone: z } ] }, { path: /, upstream: app } ]";
    for key in ["client_ip", "[ client_ip, method ]"] {
        on_edge_of(zone(&format!("key: {key}"), routes), |edge| async move {
            for (method, expected) in [("POST", 200), ("post", 503), ("Post", 503), ("PUT", 200)] {
                let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                assert_eq!(status(&edge.exchange(&request).await), expected, "{method} {key}");
            }
            let request = Request::builder().method("pOST").uri("http://a/").body(Full::<Bytes>::default());
            let response = http2::client(&edge).await.send_request(request.expect("a request")).await.expect("a response");
            assert_eq!(response.status(), 503);
        })
        .await;
    }
    on_edge_of(zone("key: client_ip", ROUTES), |edge| async move {
        edge.exchange(
            "post / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(edge.seen.borrow()[0].method, "post");
        assert_eq!(edge.line().await["method"], "post");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn field_that_looks_like_a_counted_one_is_refused() {
    let settings = "key: [ 'header:x-api-key', 'header:plain' ], missing: exempt";
    for (fields, expected) in [
        ("x_api_key: 1\r\nplain: 1\r\n", 400),
        ("x-api_key: 1\r\n", 400),
        ("x-api-key: 1\r\nx_api_key: 2\r\nplain: 1\r\n", 400),
        ("x-api-key: 1\r\nplain: 1\r\nother_field: 1\r\n", 200),
    ] {
        assert_eq!(
            statuses(zone(settings, ROUTES), &[&format!("{GET}{fields}")]).await,
            [expected],
            "{fields}"
        );
    }
    // Where nothing counts by it, such a field is one like any other.
    assert_eq!(
        statuses(zone("key: client_ip", ROUTES), &[&format!("{GET}x_api_key: 1\r\n")]).await,
        [200]
    );
    let underscore = zone("key: 'header:x_api_key'", ROUTES);
    assert_eq!(statuses(underscore.clone(), &[&format!("{GET}x-api-key: 1\r\n")]).await, [400]);
    assert_eq!(statuses(underscore, &[&format!("{GET}x_api_key: 1\r\n")]).await, [200]);
}
