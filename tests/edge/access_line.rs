//! What the access line says of requests that nobody could read, and which id it has.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{config, on_edge, on_edge_of, parsed, status};

#[tokio::test(start_paused = true)]
async fn line_of_a_refused_request_has_its_method_and_path() {
    let long = format!("/{}", "x".repeat(9_000));
    for (request, told) in [
        (
            "GET /a?b HTTP/1.1\r\nhost: a\r\nbad line\r\n\r\n".to_owned(),
            ["GET", "/a?b", "HTTP/1.1", "400"],
        ),
        (
            "PUT /a HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            ["PUT", "/a", "HTTP/1.0", "400"],
        ),
        ("\r\nGET /a#b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), ["GET", "/a#b", "HTTP/1.1", "400"]),
        (
            "GET /<script> HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            ["GET", "/<script>", "HTTP/1.1", "400"],
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            ["CONNECT", "a.test:443", "HTTP/1.1", "400"],
        ),
        (
            "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            ["GET", "ftp://a/", "HTTP/1.1", "400"],
        ),
        ("GET http://a:x/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), ["GET", "/", "HTTP/1.1", "400"]),
        (
            "GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
            ["GET", "/a", "HTTP/1.1", "400"],
        ),
        (
            format!("GET /a HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200)),
            ["GET", "/a", "HTTP/1.1", "431"],
        ),
        (
            format!("GET {long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            ["GET", &long[..1_024], "HTTP/1.1", "414"],
        ),
        ("\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned(), ["-", "-", "HTTP/1.1", "400"]),
    ] {
        on_edge(&[], |edge| async move {
            edge.exchange(&request).await;
            let line = edge.line().await;
            let fields = ["method", "path", "proto"]
                .map(|field| line[field].as_str().unwrap_or_default().to_owned());
            assert_eq!(
                (fields.as_slice(), line["status"].to_string().as_str()),
                (&told.map(str::to_owned)[..3], told[3])
            );
            assert!(edge.seen.borrow().is_empty());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn line_of_a_refused_request_is_told_from_its_pieces() {
    let request =
        "GET /one HTTP/1.1\r\nhost: a\r\n\r\nPOST /two?x HTTP/1.1\r\nhost: a\r\nbad line\r\n\r\n";
    for piece in [1, 7, 20, 40, 60] {
        on_edge(&[], |edge| async move {
            let mut client = edge.connect();
            for bytes in request.as_bytes().chunks(piece) {
                client.write_all(bytes).await.expect("an open pipe");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut responses = String::new();
            client.read_to_string(&mut responses).await.expect("an end");
            // The second leaves when the connection is closed, a second later.
            let lines = [edge.line().await, edge.line_within(Duration::from_secs(2)).await];
            let asked =
                lines.map(|line| format!("{} {} {}", line["method"], line["path"], line["status"]));
            assert_eq!(asked, ["\"GET\" \"/one\" 200", "\"POST\" \"/two?x\" 400"], "{piece}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn line_of_a_head_that_took_too_long_has_its_method_and_path() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\nx: ").await.expect("an open pipe");
        let line = edge.line_within(Duration::from_secs(11)).await;
        assert_eq!(
            (&line["method"], &line["path"], &line["status"]),
            (&"GET".into(), &"/slow".into(), &408.into())
        );
        drop(client);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn line_of_a_refused_body_is_that_of_its_request() {
    on_edge(&[], |edge| async move {
        edge.exchange("POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nGET /no HTTP/1.1\r\n").await;
        let line = edge.line().await;
        assert_eq!((&line["method"], &line["path"]), (&"POST".into(), &"/up".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn x_request_id_of_the_line_is_the_one_that_is_forwarded() {
    let mut trusting = config(&[]);
    trusting.client_ip.proxies =
        vec!["192.0.2.1".parse::<std::net::IpAddr>().expect("an address").into()];
    on_edge_of(trusting, |edge| async move {
        let long = format!("x-request-id: {}\r\n", "i".repeat(1_025));
        for (fields, taken) in [
            ("x-request-id: cdn-42\r\n", Some("cdn-42")),
            ("", None),
            ("x-request-id: a\r\nx-request-id: b\r\n", None),
            ("x-request-id: a b\r\n", None),
            ("x-request-id: \u{e9}\r\n", None),
            ("x-request-id:\r\n", None),
            ("x-request-id: cdn-42\r\nconnection: x-request-id\r\n", None),
            (&long, None),
        ] {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
            assert_eq!(status(&edge.exchange(&request).await), 200);
            let id = edge.line().await["id"].as_str().expect("an id").to_owned();
            let seen = edge.seen.borrow();
            let forwarded: Vec<_> =
                seen.last().expect("a request").headers.get_all("x-request-id").iter().collect();
            assert_eq!(forwarded, [id.as_str()], "{fields}");
            assert!(!id.is_empty() && taken.is_none_or(|taken| taken == id), "{fields}: {id}");
            assert!(taken.is_some() || !fields.contains(&id), "{fields}: {id}");
        }
        let stranger =
            "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\nconnection: close\r\n\r\n";
        let mut client = edge.connect_from("198.51.100.1");
        client.write_all(stranger.as_bytes()).await.expect("an open pipe");
        assert_ne!(edge.line().await["id"], "mine");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn line_of_a_refused_head_has_the_length_of_its_response() {
    on_edge(&[], |edge| async move {
        let response = edge.exchange("GET / HTTP/1.1\nhost: a\r\n\r\n").await;
        let (_, body) = response.split_once("\r\n\r\n").expect("a response");
        assert_eq!(status(&response), 400);
        assert_eq!(edge.line().await["bytes_out"], body.len());
        // It takes too long, and gets no response.
        let mut client = edge.connect();
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("an open pipe");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("an end");
        let line = edge.line().await;
        assert!(rest.is_empty());
        assert_eq!(line["status"], 408);
        assert_eq!(line["bytes_out"], 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn json_line_has_the_referer_and_the_user_agent_if_they_were_sent() {
    on_edge(&[], |edge| async move {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nReferer: http://a/\"\r\n\
            user-agent: caf\u{e9} \u{7}\r\nuser-agent: 2\r\nconnection: close\r\n\r\n";
        edge.exchange(&request.replace('\u{7}', "b")).await;
        let line = edge.line().await;
        assert_eq!(
            (&line["referer"], &line["user_agent"]),
            (&"http://a/\"".into(), &"caf\u{e9} b".into())
        );
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let line = edge.line().await;
        assert!(line.get("referer").is_none() && line.get("user_agent").is_none(), "{line}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn line_of_a_format_has_the_fields_of_request_and_response() {
    let config = |escape: &str| {
        parsed(&format!(
            "listeners: [ ':1' ]\naccess_log:\n  format: '$remote_addr \"$request\" $status \
             $body_bytes_sent \"$http_x_a\" $sent_http_x_b $sent_http_x_c $scheme $route \
             $request_time'\n  escape: {escape}\n\
             routes: [ {{ path: /, respond: {{ status: 201, body: abc, headers: {{ x-b: '1' }} }} }} ]"
        ))
    };
    for (escape, expected) in [
        ("default", "192.0.2.1 \"GET /x\\x22?y HTTP/1.1\" 201 3 \"a, \\x5C\" 1 - http / 0.000"),
        ("json", "192.0.2.1 \"GET /x\\\"?y HTTP/1.1\" 201 3 \"a, \\\\\" 1  http / 0.000"),
    ] {
        on_edge_of(config(escape), |edge| async move {
            let request = "GET /x\"?y HTTP/1.1\r\nhost: a\r\nx-a: a\r\nX-A: \\\r\n\
                connection: close\r\n\r\n";
            edge.exchange(request).await;
            assert_eq!(edge.text_line_within(Duration::from_millis(60)).await, expected);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn line_of_a_request_is_left_out_where_its_route_has_log_off() {
    let config = parsed(
        "listeners: [ ':1' ]\nzones: { z: { key: global, rate: 1r/h } }\nroutes:\n\
         - { path: /, respond: { status: 200 } }\n\
         - { path: /off, log: off, respond: { status: 200 }, limits: [ { zone: z } ] }\n",
    );
    on_edge_of(config, |edge| async move {
        let ask = |path: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: a\r\n{more}connection: close\r\n\r\n")
        };
        for (path, more, expected) in [
            ("/off", "", 200),
            ("/off/x", "", 503),
            ("/o%66f", "", 503),
            ("/off", "content-length: 0\r\ncontent-length: 1\r\n", 400),
            ("/last", "", 200),
        ] {
            assert_eq!(status(&edge.exchange(&ask(path, more)).await), expected, "{path} {more:?}");
        }
        // A head that cannot be read has no route whose setting could count.
        let lines = [edge.line().await, edge.line().await];
        let paths = lines.map(|line| format!("{} {}", line["path"], line["status"]));
        assert_eq!(paths, ["\"/off\" 400", "\"/last\" 200"]);
    })
    .await;
}
