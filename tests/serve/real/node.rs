//! Node's own HTTP/2 client: one session, many small requests, cookies as browsers send them.

use crate::{process::Weir, programs::NODE, real::scale, upstream::answering};

/// `COUNT` requests on one session, one after the other; how many got 200, or what ended it.
const MANY: &str = "
const http2 = require('http2');
const [address, count] = process.argv.slice(1);
const session = http2.connect(`http://${address}`);
session.on('error', (error) => console.log(String(error)));
session.on('goaway', (code) => console.log('goaway', code));
let good = 0;
const ask = (left) => {
    if (left === 0) { console.log(good); session.close(); return; }
    const request = session.request({ ':path': '/', ':method': left % 2 ? 'GET' : 'POST' });
    request.on('response', (fields) => { if (fields[':status'] === 200) good += 1; });
    request.on('error', (error) => console.log(String(error)));
    request.resume().on('close', () => ask(left - 1));
    request.end(left % 2 ? undefined : 'body');
};
ask(Number(count));
";

/// A request with so many cookies, each a field line of its own, and one field of so many bytes;
/// its status.
const COOKIES: &str = "
const http2 = require('http2');
const [address, count, bytes] = process.argv.slice(1);
const session = http2.connect(`http://${address}`);
session.on('error', (error) => console.log(String(error)));
const cookie = Array.from({ length: Number(count) }, (_, number) => `c${number}=1`);
const request = session.request({ ':path': '/', cookie, 'x-large': 'v'.repeat(Number(bytes)) });
request.on('response', (fields) => { console.log(fields[':status']); session.close(); });
request.on('error', (error) => console.log(String(error)));
request.end();
";

fn started(settings: &str) -> Weir {
    let upstream = answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    // The client opens no other connection when this one has carried enough.
    let listener = "{ address: '127.0.0.1:0', max_requests: 100000000 }";
    Weir::run(&format!(
        "listeners: [ {listener} ]\nroutes: [ {{ path: /, upstream: 'http://{upstream}' }} ]\naccess_log: {{ to: none }}\n{settings}"
    ))
}

#[test]
fn node_session_with_many_small_requests_keeps_its_connection() {
    let weir = started("");
    let requests = (6_000 * scale()).to_string();
    assert_eq!(NODE.prints(&["-e", MANY, &weir.address.to_string(), &requests], &[]), requests);
}

#[test]
fn node_request_with_a_field_line_for_each_cookie_is_one_cookie() {
    let weir = started("");
    let ask = |cookies: &str, bytes: &str| {
        NODE.prints(&["-e", COOKIES, &weir.address.to_string(), cookies, bytes], &[])
    };
    assert_eq!(ask("180", "1"), "200");
    assert_eq!(ask("2", "20000"), "200");
}

#[test]
fn node_request_with_large_fields_passes_where_header_limits_allow_it() {
    let weir = started("header_limits: { size: 256KiB, count: 1000 }\n");
    let ask =
        |bytes: &str| NODE.prints(&["-e", COOKIES, &weir.address.to_string(), "2", bytes], &[]);
    // Node sends no more than 64 KiB of fields by itself.
    assert_eq!(ask("60000"), "200");
}
