//! uWSGI behind weir: its applications read a body in chunks as empty, and one that weir has
//! collected as what it is; and it closes its connections behind each response without saying so.

use std::thread;

use tempfile::TempDir;

use crate::{
    http1::Client,
    process::Weir,
    programs::{Running, UWSGI},
};

/// Tells of a request what an application sees: its method, its length, and how much of its body
/// there is to read.
const APPLICATION: &str = "
def application(environ, start_response):
    length = environ.get('CONTENT_LENGTH', '')
    body = environ['wsgi.input'].read(int(length)) if length else environ['wsgi.input'].read()
    told = '{} {} {}'.format(environ['REQUEST_METHOD'], length or 'none', len(body)).encode()
    start_response('200 OK', [('Content-Length', str(len(told)))])
    return [told]
";

fn uwsgi() -> (Running, TempDir) {
    // It says here that its plugin is missing, where it is.
    UWSGI.prints(&["--plugin", "python3", "--python-version"], &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("application.py");
    std::fs::write(&file, APPLICATION).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let args = ["--protocol", "http", "--plugin", "python3", "--need-app", "--wsgi-file", file];
    (UWSGI.listens_on_stdin(&args), folder)
}

/// What the application sees of a body of so many bytes in two chunks.
fn seen(weir: &Weir, method: &str, path: &str, length: usize) -> String {
    let body = "x".repeat(length);
    let (first, second) = body.split_at(length / 2);
    let chunk = |piece: &str| {
        if piece.is_empty() { String::new() } else { format!("{:x}\r\n{piece}\r\n", piece.len()) }
    };
    let mut client = Client::connect(weir.address);
    let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    client
        .send(format!("{head}{}{}0\r\n\r\n", chunk(first), chunk(second)).as_bytes())
        .expect("an open connection");
    let answer = client.answer(method).expect("a response");
    assert_eq!(answer.status, 200, "{method} {path} {length}");
    String::from_utf8(answer.body).expect("text")
}

#[test]
fn uwsgi_reads_bodies_that_were_collected() {
    let (uwsgi, _folder) = uwsgi();
    let weir = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ 'http://{}' ], keepalive: {{ max_idle: 0 }} }} }}\naccess_log: {{ to: none }}\n\
         routes:\n- {{ path: /plain, upstream: app }}\n- {{ path: /buffered, upstream: app, request: {{ buffer: 64KiB }} }}\n",
        uwsgi.address
    ));
    // Why there is such a key.
    assert_eq!(seen(&weir, "POST", "/plain", 2), "POST none 0");
    for method in ["POST", "PUT", "PATCH"] {
        for length in [0, 1, 2, 1_000, 64 * 1024] {
            assert_eq!(
                seen(&weir, method, "/buffered", length),
                format!("{method} {length} {length}")
            );
        }
    }
    assert_eq!(seen(&weir, "POST", "/buffered", 64 * 1024 + 1), "POST none 0");
}

/// Clients that ask at once, and how often each asks.
const CLIENTS: usize = 4;
const EACH: usize = 75;
/// Connections that are found closed before weir knows the habit, and those that its clients have
/// on their way at that moment.
const LOST: usize = 3 + CLIENTS - 1;

#[test]
fn uwsgi_that_closes_behind_each_response_loses_few_posts() {
    let (uwsgi, _folder) = uwsgi();
    let weir = Weir::run(&format!(
        "workers: 1\nroutes: [ {{ path: /, upstream: 'http://{}' }} ]\naccess_log: {{ to: none }}\n",
        uwsgi.address
    ));
    let address = weir.address;
    let ask = move || {
        let mut client = Client::connect(address);
        let post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
        let statuses = (0..EACH).map(|_| {
            client.send(post).expect("an open connection");
            client.answer("POST").expect("a response").status
        });
        statuses.filter(|status| *status != 200).count()
    };
    let asking: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(ask)).collect();
    let lost: usize = asking.into_iter().map(|one| one.join().expect("no panic")).sum();
    assert!(lost <= LOST, "{lost} of {} were lost", CLIENTS * EACH);
}
