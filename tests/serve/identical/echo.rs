//! Bodies up and down in every framing, against a small handler on Python's own `http.server`.

use std::fs;

use crate::{
    identical::both::{Both, Request},
    python::Python,
};

const SCRIPT: &str = include_str!("echo.py");
const SIZES: [usize; 9] = [0, 1, 15, 4096, 8191, 65_537, 1 << 20, (1 << 20) + 1, 8 << 20];

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at * 17 % 253).expect("below 253")).collect()
}

/// In pieces of growing size.
fn chunked(body: &[u8]) -> Vec<u8> {
    let (mut framed, mut rest, mut size) = (Vec::new(), body, 1);
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(size.min(rest.len()));
        framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        (rest, size) = (left, size * 3);
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

#[test]
fn bodies_come_back_as_they_were_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("echo.py");
    fs::write(&script, SCRIPT).expect("a file");
    let python = Python::start(&[script.to_str().expect("a path in UTF-8")]);
    let mut both = Both::before(python.address);
    for size in SIZES {
        for target in ["/length", "/chunked", "/close", "/none"] {
            let sent = bytes(size);
            for method in ["POST", "PUT", "PATCH"] {
                let length = Request {
                    body: sent.clone(),
                    ..Request::new(method, target, &format!("content-length: {size}"))
                };
                let pieces = Request {
                    body: chunked(&sent),
                    ..Request::new(method, target, "transfer-encoding: chunked")
                };
                for request in [length, pieces] {
                    let answer = both.ask(&request);
                    let (status, body) =
                        if target == "/none" { (204, &[][..]) } else { (201, &sent[..]) };
                    assert!(
                        answer.status == status && answer.body == body,
                        "{method} {target} {size}"
                    );
                }
            }
            for method in ["GET", "HEAD", "DELETE"] {
                both.ask(&Request::new(method, &format!("{target}/{size}"), ""));
            }
        }
    }
    assert!(both.asked > 300, "{}", both.asked);
}
