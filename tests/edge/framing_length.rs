//! How long a body is: every spelling that could be read in two ways is refused, and a body stays a
//! body.

use crate::recorder::{NEXT, on_recorded, one_request, play, refused, refused_with};

/// A POST with these field lines and a request in its body.
fn post(fields: &[u8]) -> Vec<u8> {
    [
        b"POST / HTTP/1.1\r\nhost: a\r\n",
        fields,
        b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    ]
    .concat()
}

async fn refused_posts(fields: &[&[u8]]) {
    let posts: Vec<_> = fields.iter().map(|fields| post(fields)).collect();
    refused(&posts.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn cl_te() {
    refused_posts(&[
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 0\r\ntransfer-encoding: chunked\r\n",
        b"Content-Length: 5\r\nx: y\r\nTransfer-Encoding: Chunked\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn te_cl() {
    refused_posts(&[b"transfer-encoding: chunked\r\ncontent-length: 5\r\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn te_0_a_body_in_chunks_stays_a_body_of_every_method() {
    let chunked = "transfer-encoding: chunked\r\nhost: a\r\n\r\n1a\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\r\n";
    for method in ["GET", "OPTIONS", "DELETE", "POST", "QUERY"] {
        let request = format!("{method} / HTTP/1.1\r\n{chunked}");
        one_request(&[(&request, &format!("{method} / GET /smuggled HTTP/1.1\r\n\r\n"))]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cl_0_a_body_with_a_length_stays_a_body_of_every_method() {
    let framed = "content-length: 26\r\nhost: a\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    for method in ["GET", "OPTIONS", "DELETE", "POST", "TRACE"] {
        let request = format!("{method} / HTTP/1.1\r\n{framed}");
        one_request(&[(&request, &format!("{method} / GET /smuggled HTTP/1.1\r\n\r\n"))]).await;
    }
}

/// Its response has none, so that it is read to the byte.
#[tokio::test(start_paused = true)]
async fn response_to_head_keeps_its_length() {
    for framed in [
        "content-length: 7\r\n\r\nGET / x",
        "transfer-encoding: chunked\r\n\r\n7\r\nGET / x\r\n0\r\n\r\n",
    ] {
        on_recorded(&[], |edge, recorder| async move {
            let answers =
                edge.exchange(&format!("HEAD / HTTP/1.1\r\nhost: a\r\n{framed}{NEXT}")).await;
            assert_eq!(recorder.seen(), ["HEAD / GET / x", "GET /next "]);
            let (first, next) = answers.split_once("\r\n\r\n").expect("a head");
            assert!(
                first.starts_with("HTTP/1.1 200 ") && next.starts_with("HTTP/1.1 200 "),
                "{answers}"
            );
            assert!(next.ends_with("\r\n\r\nGET /next "), "{answers}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn te_spellings() {
    for value in [
        &b"xchunked"[..],
        b"chunkedx",
        b"\"chunked\"",
        b"'chunked'",
        b"chunked;q=1",
        b",chunked",
        b"chunked,",
        b"chunked, chunked",
        b"gzip, chunked",
        b"chunked, identity",
        b"identity",
        b"",
        b"chunked\r\n ",
        b"\r\n chunked",
        b"chunked\rx",
        b"chunked\nx: y",
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\x00",
        b"chunked\x7f",
        b"chunked\xa0",
        b"chunk\xc3\xa9d",
        b"chunked\r\ntransfer-encoding: chunked",
        b"chunked\r\ntransfer-encoding: identity",
        b"identity\r\ntransfer-encoding: chunked",
    ] {
        refused_posts(&[&[b"transfer-encoding: ", value, b"\r\n"].concat()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn te_names() {
    refused_posts(&[
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding\t: chunked\r\n",
        b"transfer encoding: chunked\r\n",
        b" transfer-encoding: chunked\r\n",
        b"\ttransfer-encoding: chunked\r\n",
        b"x: y\rtransfer-encoding: chunked\r\n",
        b"x: y\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding\x00: chunked\r\n",
        b"\x00transfer-encoding: chunked\r\n",
        b"transfer-encoding\xff: chunked\r\n",
        b"transfer-encoding\r\n: chunked\r\n",
        b"transfer-encoding\r\n : chunked\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn te_in_http_1_0() {
    refused(&[b"POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn http_1_0_without_a_length_has_no_body() {
    one_request(&[("POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", "POST / ")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn cl_spellings() {
    for value in [
        "+5",
        "-5",
        "-0",
        "0x5",
        "5_0",
        "5e0",
        "5.0",
        "5 0",
        "5,5",
        "5, 6",
        "5;",
        "\"5\"",
        "",
        "five",
        "99999999999999999999",
        "18446744073709551616",
        "9223372036854775808",
        "00000000000000000000005",
        "5\r\n 0",
        "\r\n 5",
        "\u{b}5",
        "5\r\ncontent-length: 5",
        "5\r\ncontent-length: 6",
        "5\r\nContent-Length: 0",
    ] {
        refused_posts(&[format!("content-length: {value}\r\n").as_bytes()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn space_around_a_length_is_no_part_of_it() {
    one_request(&[(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \t 2 \t\r\n\r\nhi",
        "POST / hi",
    )])
    .await;
    one_request(&[("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:2\r\n\r\nhi", "POST / hi")]).await;
    one_request(&[("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 02\r\n\r\nhi", "POST / hi")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn cl_or_te_named_in_connection_is_still_the_framing() {
    for connection in
        ["content-length", "transfer-encoding", "host", "x-forwarded-for, host, content-length"]
    {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n");
        one_request(&[
            (&format!("{head}content-length: 2\r\n\r\nhi"), "POST / hi"),
            (&format!("{head}transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "POST / hi"),
        ])
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn lookalikes_with_underscores_are_no_framing_and_do_not_cross() {
    let fields = "content_length: 5\r\ntransfer_encoding: chunked\r\n";
    one_request(&[(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"), "POST / ")]).await;
    on_recorded(&[], |edge, recorder| async move {
        let more = "x_forwarded_for: 6.6.6.6\r\nx_real-ip: 6.6.6.6\r\nproxy: evil\r\nhttp2-settings: x\r\nx_mine: y\r\n";
        play(&edge, &recorder, format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}{more}\r\n{NEXT}").as_bytes()).await;
        let request = &recorder.requests.borrow()[0];
        for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x_real-ip", "proxy", "http2-settings"] {
            assert_eq!(request.all(name), [""; 0], "{name}");
        }
        assert_eq!(request.all("x_mine"), ["y"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn max_body_refuses_announced_length_before_reading() {
    refused_with("413", &[b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1048577\r\n\r\n"]).await;
}

/// The upstream has seen a part of it, and never its end.
#[tokio::test(start_paused = true)]
async fn body_above_route_max_body_is_refused_and_never_complete() {
    let chunked = |length: usize| {
        let chunks = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).repeat(length / 0x8000);
        let rest = length % 0x8000;
        let last =
            if rest == 0 { String::new() } else { format!("{rest:x}\r\n{}\r\n", "x".repeat(rest)) };
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{last}0\r\n\r\n"
        )
    };
    refused_with("413", &[chunked(1_048_577).as_bytes()]).await;
    one_request(&[(&chunked(1_048_576), &format!("POST / {}", "x".repeat(1_048_576)))]).await;
}
