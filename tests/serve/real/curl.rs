//! curl, whose nghttp2 takes a response by the letter.

use crate::{certificates::Authority, http1, process::Weir, programs::CURL, upstream::answering};

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

/// Results of curl for repeated uploads of this many bytes that are rejected.
fn rejected(url: &str, length: usize, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("body");
    std::fs::write(&body, vec![b'x'; length]).expect("room on the disk");
    let data = format!("@{}", body.display());
    let args = [
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} ",
        "--data-binary",
        &data,
    ];
    let codes = (0..10).map(|_| CURL.prints(&[&args, more, &[url]].concat(), &[]));
    codes.collect::<Vec<_>>().join(" ")
}

/// curl 7.88 reports a stream error if it reads the response and a reset together.
#[test]
fn curl_reads_the_response_to_a_rejected_upload_over_http2() {
    let authority = Authority::new();
    authority.issue("weir", &["127.0.0.1"]);
    let [cert, key, ca] =
        ["weir.pem", "weir.key", "ca.pem"].map(|name| authority.path(name).display().to_string());
    let upstream = answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    for tls in [true, false] {
        let listener = if tls {
            format!(
                "{{ address: '127.0.0.1:0', tls: {{ certificates: [ {{ cert: '{cert}', key: '{key}' }} ] }} }}"
            )
        } else {
            "'127.0.0.1:0'".to_owned()
        };
        let weir = Weir::run(&format!(
            "listeners: [ {listener} ]\nzones: {{ none: {{ key: global, rate: 1r/d }} }}\naccess_log: {{ to: none }}\n\
             routes: [ {{ path: /, upstream: 'http://{upstream}', limits: [ {{ zone: none }} ] }} ]\n"
        ));
        let (url, more) = if tls {
            (format!("https://{}/", weir.address), ["--http2", "--cacert", &ca])
        } else {
            assert_eq!(http1::get(weir.address, "/").status, 200);
            let url = format!("http://{}/", weir.address);
            (url, ["--http2-prior-knowledge", "--max-redirs", "0"])
        };
        // The only request of the day.
        let _first = rejected(&url, 1, &more);
        for length in [1_000, 100_000, 900_000] {
            let codes = rejected(&url, length, &more);
            assert_eq!(codes, ["503"; 10].join(" "), "{url} {length}");
        }
    }
}

/// A real client over a real socket: never faster than the rate, and complete.
#[test]
fn curl_downloads_at_the_rate_of_the_route() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("large"), vec![b'x'; 96 << 10]).expect("room on the disk");
    let weir = Weir::run(&format!(
        "routes:\n- path: /\n  files: {{ root: '{}' }}\n  \
           response: {{ limit_rate: 64KiB, limit_rate_after: 32KiB }}\naccess_log: {{ to: none }}\n",
        folder.path().display()
    ));
    let url = format!("http://{}/large", weir.address);
    for version in ["--http2-prior-knowledge", "--http1.1"] {
        let wanted = "%{http_code} %{size_download} %{time_total}";
        let args = ["--silent", "--output", "/dev/null", "--write-out", wanted, version, &url];
        let told = CURL.prints(&args, &[]);
        let (rest, time) = told.rsplit_once(' ').expect("three values");
        assert_eq!(rest, format!("200 {}", 96 << 10), "{version}");
        let time: f64 = time.parse().expect("seconds");
        assert!((1.0..10.0).contains(&time), "{version}: {time} s for 64 KiB behind the first 32");
    }
}
