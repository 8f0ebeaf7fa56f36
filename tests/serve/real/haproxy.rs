//! HAProxy in front of weir, over one HTTP/2 connection that all of its clients share: what one of
//! them does is no other's loss.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use tempfile::TempDir;

use crate::{
    http1::{Client, Framing, Head, read_body},
    process::Weir,
    programs::{HAPROXY, Running},
    real::scale,
    upstream::upstream,
};

struct Fronted {
    haproxy: Running,
    _weir: Weir,
    _folder: TempDir,
}

/// HAProxy before weir before this upstream.
fn fronted(upstream: SocketAddr) -> Fronted {
    let weir = Weir::run(&format!(
        "routes: [ {{ path: /, upstream: 'http://{upstream}' }} ]\naccess_log: {{ to: none }}\n"
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("haproxy.cfg");
    let config = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen all\n  bind fd@0\n  http-reuse always\n  server weir {} proto h2\n",
        weir.address
    );
    std::fs::write(&file, config).expect("a file");
    let haproxy = HAPROXY.listens_on_stdin(&["-db", "-f", file.to_str().expect("a path in UTF-8")]);
    Fronted { haproxy, _weir: weir, _folder: folder }
}

#[test]
fn haproxy_and_its_clients_keep_their_connection() {
    let upstream = upstream(|mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            read_body(&mut wire, head.framing(Framing::Empty), |_| {})?;
            wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let fronted = fronted(upstream);
    let ask = |number: u32| {
        let mut client = Client::connect(fronted.haproxy.address);
        let post: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
        let get: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let answered = (0..2_000 * scale()).filter(|turn| {
            let (method, request) =
                if (turn + number).is_multiple_of(2) { ("GET", get) } else { ("POST", post) };
            let status = client
                .send(request)
                .and_then(|()| client.answer(method))
                .map(|answer| answer.status);
            if !matches!(status, Ok(200)) {
                client = Client::connect(fronted.haproxy.address);
            }
            matches!(status, Ok(200))
        });
        answered.count()
    };
    let ask = &ask;
    let answered: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    assert_eq!(answered, [2_000 * scale() as usize; 8]);
}

/// An upstream that responds to `/slow` when it is told to, and tells of each request.
fn slow() -> (SocketAddr, Receiver<()>, Sender<()>) {
    let ((tell, asked), (allow, allowed)) = (channel(), channel());
    let allowed = Mutex::new(allowed);
    let address = upstream(move |mut wire| {
        while let Some(head) = Head::read(&mut wire)? {
            if head.second() == "/slow" {
                tell.send(()).map_err(io::Error::other)?;
                allowed.lock().expect("no panic").recv().map_err(io::Error::other)?;
            }
            wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    (address, asked, allow)
}

/// HAProxy lets control bytes in a field pass.
#[test]
fn malformed_request_behind_haproxy_costs_its_sender_only() {
    let (address, asked, allow) = slow();
    let fronted = fronted(address);
    let mut good = Client::connect(fronted.haproxy.address);
    good.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").expect("an open connection");
    asked.recv().expect("a request");
    for malformed in [&b"x-a: a\x01b"[..], b"x-a: a\x7fb", b"x-a: \x01"] {
        let mut bad = Client::connect(fronted.haproxy.address);
        bad.send(&[b"GET / HTTP/1.1\r\nhost: a\r\n", malformed, b"\r\n\r\n"].concat())
            .expect("an open connection");
        let status = bad.answer("GET").expect("a response").status;
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(malformed));
    }
    allow.send(()).expect("an upstream");
    assert_eq!(good.answer("GET").expect("a response").status, 200);
}
