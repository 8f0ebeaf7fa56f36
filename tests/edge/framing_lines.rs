//! Lines: control bytes, folding, names, the request line and the host.

use crate::recorder::{NEXT, on_recorded, one_request, play, refused, refused_with};

async fn refused_gets(fields: &[&[u8]]) {
    for field in fields {
        refused(&[&[&b"GET / HTTP/1.1\r\nhost: a\r\n"[..], *field, b"\r\n\r\n"].concat()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bare_cr_lf_nul_and_controls_in_lines() {
    refused_gets(&[
        b"x: a\rb",
        b"x: a\nb",
        b"x: a\x00b",
        b"x: a\x01",
        b"x: \x7f",
        b"x\r: y",
        b"\rx: y",
        b"\nx: y",
    ])
    .await;
    refused(&[
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.1\r\nhost: a\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\n",
        b"GET / HTTP/1.1\rhost: a\r\r",
        b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\rGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn folding() {
    refused_gets(&[b"x: a\r\n b", b"x: a\r\n\tb", b" x: a", b"x: a\r\n \r\ny: z"]).await;
    refused(&[b"GET / HTTP/1.1\r\n host: a\r\n\r\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn names() {
    refused_gets(&[
        b"no colon",
        b"nocolon",
        b": empty",
        b"x y: z",
        b"x : y",
        b"x\t: y",
        b"x(): y",
        b"\"x\": y",
        b"x\xc3\xa9: y",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn names_of_64_kib() {
    let name = [&b"GET / HTTP/1.1\r\nhost: a\r\n"[..], &[b'x'; 65_536], b": y\r\n\r\n"].concat();
    refused_with("431", &[&name]).await;
}

#[tokio::test(start_paused = true)]
async fn fields_that_are_too_many_or_too_large() {
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(33_000));
    refused_with("431", &[many.as_bytes(), large.as_bytes()]).await;
    let fits = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}x: {}\r\n\r\n",
        "x: y\r\n".repeat(98),
        "y".repeat(32_000)
    );
    one_request(&[(&fits, "GET / ")]).await;
}

#[tokio::test(start_paused = true)]
async fn request_lines() {
    refused(&[
        b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /  HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /\tHTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /a\tb HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /a\x0bb HTTP/1.1\r\nhost: a\r\n\r\n",
        b"G\xc3\xa9T / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET:/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"(GET) / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET\r\nhost: a\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn versions() {
    for version in [
        "",
        " ",
        " HTTP/0.9",
        " HTTP/1.2",
        " HTTP/2.0",
        " HTTP/2",
        " HTTP/3.7",
        " http/1.1",
        " HTTP/1.10",
        " HTTP/01.1",
        " HTTP/1.",
        " HTTP/1,1",
        " HTTP 1.1",
        " XTTP/1.1",
        " HTTP/1.1x",
    ] {
        refused(&[format!("GET /{version}\r\nhost: a\r\n\r\n").as_bytes()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn targets() {
    for target in [
        "a",
        "a/b",
        "?x",
        "",
        "a.test:80",
        "//#",
        "/#f",
        "/a#",
        "/?q#f",
        "http:/a/",
        "http//a/",
        "ftp://a/",
        "*x",
        "**",
        "http://",
        "http:///x",
        "http://u@a/",
        "http://a b/",
        "http://a:x/",
        "http://a#f",
        "mailto:a@b",
        "\\a",
    ] {
        refused(&[format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()]).await;
    }
    refused(&[b"GET * HTTP/1.1\r\nhost: a\r\n\r\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn connect_and_pri() {
    refused(&[
        b"CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"CONNECT http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn rejects_request_line_above_8_kib() {
    let line =
        |length: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(length - 14));
    refused_with("414", &[line(8_193).as_bytes(), &[b'x'; 9_000], line(60_000).as_bytes()]).await;
    let longest = line(8_192);
    let told = format!("GET /{} ", "x".repeat(8_192 - 14));
    one_request(&[(&longest, &told)]).await;
}

#[tokio::test(start_paused = true)]
async fn hosts() {
    for host in [
        "",
        "host:\r\n",
        "host: \t\r\n",
        "host:\r\nhost: a\r\n",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a, b\r\n",
        "host: a,b\r\n",
        "host: a b\r\n",
        "host: u@a\r\n",
        "host: u:p@a\r\n",
        "host: a/b\r\n",
        "host: http://a\r\n",
        "host: a:x\r\n",
        "host: a:99999\r\n",
        "host: a:-1\r\n",
        "host: a:80:80\r\n",
        "host: [::1\r\n",
        "host: ::1\r\n",
        "host: [::1]x\r\n",
        "host: a?b\r\n",
        "host: a\\b\r\n",
        "host: :80\r\n",
        "host: \"a\"\r\n",
        "host: a\u{0}\r\n",
        "host: caf\u{e9}\r\n",
        "host: a%zz\r\n",
        "host: a%0\r\n",
    ] {
        refused(&[format!("GET / HTTP/1.1\r\n{host}\r\n").as_bytes()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn target_absolute_form_wins_over_host() {
    on_recorded(&[], |edge, recorder| async move {
        let get = "GET http://b.test:81/x?y HTTP/1.1\r\nhost: a.test\r\n\r\n";
        play(&edge, &recorder, format!("{get}{NEXT}").as_bytes()).await;
        let requests = recorder.requests.borrow();
        assert_eq!(
            (requests[0].told().as_str(), requests[0].all("host")),
            ("GET /x?y ", vec!["b.test:81"])
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_target_cross_as_they_came() {
    for target in
        ["/%01%2e%2E//../x", "/?a=b&&c==%23;|", "/\u{e9}?\u{1f600}", "/a:b@c!$&'()*+,;=~_-."]
    {
        one_request(&[(
            &format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"),
            &format!("GET {target} "),
        )])
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_empty_line_before_a_request_is_no_request() {
    one_request(&[("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n", "GET / ")]).await;
}
