//! curl, whose nghttp2 takes a response by the letter.

use crate::{process::Weir, programs::CURL, upstream::answering};

fn ask(version: &str, response: &'static str, more: &[&str]) -> String {
    let upstream = answering(|_| response.as_bytes().to_vec());
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: 'http://{upstream}' }} ]\naccess_log: {{ to: none }}\n"
    ));
    let url = format!("http://{}/", weir.address);
    let args = [
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "%{http_code} %{http_version}",
        version,
    ];
    CURL.prints(&[&args, more, &[&url]].concat(), &[])
}

#[test]
fn curl_takes_a_response_without_content_that_has_a_length() {
    for (version, shown) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        let no_content = ask(version, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", &[]);
        assert_eq!(no_content, format!("204 {shown}"));
        let unchanged = ask(version, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", &[]);
        assert_eq!(unchanged, format!("304 {shown}"));
        let head = ask(
            version,
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            &["--head", "--output", "/dev/null"],
        );
        assert_eq!(head, format!("200 {shown}"));
    }
}

/// A login cookie of 16 KiB.
#[test]
fn curl_gets_through_with_a_large_cookie() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let cookie = format!("cookie: a={}", "v".repeat(16_384));
    for (version, shown) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        assert_eq!(ask(version, ok, &["--header", &cookie]), format!("200 {shown}"));
    }
}
