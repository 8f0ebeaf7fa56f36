//! A real HTTP/2 endpoint that ends its connections gracefully (GOAWAY) again and again: no request
//! is lost.

use std::{net::SocketAddr, thread};

use crate::{http1::Client, nginx::Nginx, process::Weir};

const CLIENTS: usize = 16;
const EACH: usize = 800;

/// Statuses but 200 of requests one after the other on one connection.
fn failures(weir: SocketAddr, request: &[u8], method: &str) -> Vec<u16> {
    let mut client = Client::connect(weir);
    let mut ask = || {
        client.send(request).expect("a connection");
        client.answer(method).expect("a response").status
    };
    (0..EACH).map(|_| ask()).filter(|status| *status != 200).collect()
}

#[test]
fn goaway_of_nginx_after_each_100_requests_loses_none_of_12800() {
    let nginx =
        Nginx::start_with("http2", "", "keepalive_requests 100; location / { return 200 ok; }");
    let running = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ \"http://{}\" ], protocol: http2 }} }}\nroutes: [ {{ path: /, upstream: app }} ]",
        nginx.address
    ));
    let weir = running.address;
    let get = (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], "GET");
    let post = (&b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"[..], "POST");
    let failed: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..CLIENTS)
            .map(|number| if number % 2 == 0 { get } else { post })
            .map(|(request, method)| scope.spawn(move || (method, failures(weir, request, method))))
            .collect();
        asking
            .into_iter()
            .map(|one| one.join().expect("no panic"))
            .filter(|(_, failed)| !failed.is_empty())
            .collect()
    });
    assert_eq!(failed, []);
}
