//! A format of the access log beside a real nginx: the same lines for the same requests.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    http1::{Client, PATIENCE},
    nginx::Nginx,
    process::Weir,
    upstream::noting,
};

/// Variables whose values do not depend on the time or the process.
const VARIABLES: &str = "$remote_addr|$realip_remote_addr|$remote_user|$request|$request_method|\
    $request_uri|$uri|$document_uri|$args|$query_string|$is_args|$server_protocol|$scheme|$host|\
    $status|$body_bytes_sent|$upstream_status|$limit_req_status|$http_x_a|$http_x_none|\
    $http_user_agent|${http_referer}|$sent_http_x_none|$sent_http_content_length";

/// Requests, which end with their own blank line.
const REQUESTS: [&str; 8] = [
    "GET /a?b=c&d HTTP/1.1\r\nhost: site.test\r\nuser-agent: curl/8\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: SITE.test:80\r\nUser-Agent: \"x\" \\ caf\u{e9}\t.\r\n\r\n",
    "GET /x/../a? HTTP/1.1\r\nhost: site.test\r\nx-a:\r\nreferer: http://a/\"\r\n\r\n",
    "HEAD //a/./b?x=%C3%A9 HTTP/1.1\r\nhost: site.test\r\nx-a: 1\r\n\r\n",
    "POST /a HTTP/1.1\r\nhost: site.test\r\ncontent-length: 3\r\nx-a: {\"a\":1}\r\n\r\nabc",
    "GET /a HTTP/1.1\r\nhost: site.test\r\nauthorization: Basic dXNlci0xOnB3\r\n\r\n",
    "GET /limited HTTP/1.1\r\nhost: site.test\r\n\r\n",
    "PUT /a HTTP/1.0\r\nhost: site.test\r\ncontent-length: 0\r\n\r\n",
];

/// Lines of a log, once there are so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask_all(address: std::net::SocketAddr) {
    for request in REQUESTS {
        let mut client = Client::connect(address);
        client.send(request.as_bytes()).expect("an open connection");
        let method = request.split(' ').next().expect("a method");
        client.answer(method).expect("a response");
    }
}

#[test]
fn log_format_writes_the_lines_of_nginx() {
    let (upstream, _) = noting();
    for escape in ["default", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (folder.path().join("weir.log"), folder.path().join("nginx.log"));
        let zone = "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;";
        let nginx = Nginx::start(
            &format!("{zone}\nlog_format own escape={escape} '{VARIABLES}';"),
            &format!(
                "access_log {} own;\nlocation / {{ proxy_pass http://{upstream}; }}\n\
                 location /limited {{ limit_req zone=z burst=1; proxy_pass http://{upstream}; }}",
                theirs.display()
            ),
        );
        let weir = Weir::run(&format!(
            "workers: 1\nzones: {{ z: {{ key: client_ip, rate: 1r/s }} }}\n\
             access_log: {{ to: '{}', escape: {escape}, format: '{}' }}\nroutes:\n\
             - {{ path: /, upstream: 'http://{upstream}' }}\n\
             - {{ path: /limited, upstream: 'http://{upstream}', limits: [ {{ zone: z, burst: 1 }} ] }}\n",
            ours.display(),
            VARIABLES.replace("${", "$${"),
        ));
        ask_all(nginx.address);
        ask_all(weir.address);
        let count = REQUESTS.len();
        for (own, other) in lines(&ours, count).iter().zip(&lines(&theirs, count)) {
            assert_eq!(own, other, "escape={escape}");
        }
    }
}
