//! h2load, nghttp2's load generator.

use crate::{process::Weir, programs::H2LOAD, upstream::answering};

#[test]
#[ignore = "400,000 requests: scripts/test.sh --slow"]
fn h2load_loses_no_request_and_no_connection() {
    let upstream = answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    // A connection would end with its 10,000th request by default, and h2load opens no other.
    let listener = "listeners: [ { address: '127.0.0.1:0', max_requests: 1M } ]";
    let weir = Weir::run(&format!(
        "{listener}\nroutes: [ {{ path: /, upstream: 'http://{upstream}' }} ]\naccess_log: {{ to: none }}\n"
    ));
    let url = format!("http://{}/", weir.address);
    let said = H2LOAD.prints(&["-n", "400000", "-c", "10", "-m", "32", &url], &[]);
    assert!(said.contains("400000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
}
