//! TLS over real sockets, and certificates that change while it runs.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};

use crate::{certificates::Authority, process::Weir};

/// One GET over TLS: the certificate that was shown, and the response.
pub fn get(authority: &Authority, address: SocketAddr) -> (CertificateDer<'static>, String) {
    let client = authority.client(&["http/1.1"], &[&TLS13, &TLS12], None);
    let name = ServerName::try_from("a.test").expect("a name");
    let session = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).expect("a connection"));
    stream
        .write_all(b"OPTIONS * HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .expect("a handshake");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer with an end");
    (stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned(), answer)
}

#[test]
fn renewed_certificates_are_shown_without_a_restart() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let (cert, key) = (authority.path("a.pem"), authority.path("a.key"));
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }} }} ]\n\
         routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\" }} ]\n",
        cert.display(),
        key.display()
    ));
    let (shown, answer) = get(&authority, weir.address);
    assert_eq!(shown, authority.certificate("a"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    std::fs::write(&cert, "half a certificate").expect("a file");
    weir.says("cannot use the changed listener certificates");
    assert_eq!(get(&authority, weir.address).0, shown);
    authority.issue("a", &["a.test"]);
    weir.says("listener certificates changed");
    assert_eq!(get(&authority, weir.address).0, authority.certificate("a"));
}

/// What curl prints for these arguments, and whether it succeeded.
fn curl(arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new("curl");
    command.args(["--silent", "--max-time", "30", "--noproxy", "*"]).args(arguments);
    let done = command.output().expect("curl of Debian's package `curl`");
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn curl_learns_that_it_sent_plain_http_to_a_tls_port() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }} }} ]\n\
         routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\" }} ]\n",
        authority.path("a.pem").display(),
        authority.path("a.key").display()
    ));
    let url = format!("http://{}/", weir.address);
    let (fine, said) = curl(&["--write-out", " %{http_code}", &url]);
    assert!(fine && said.ends_with(" 400"), "{said}");
    assert!(said.contains("the plain HTTP request was sent to HTTPS port"), "{said}");
}

#[test]
fn curl_needs_a_certificate_for_one_name_and_none_for_the_other() {
    let authority = Authority::new();
    authority.issue("a", &["a.test", "admin.test"]);
    authority.issue("client", &["client.test"]);
    authority.revoke(&["gone"], 2100);
    let path = |file: &str| authority.path(file).display().to_string();
    let weir = Weir::run(&format!(
        "listeners:\n- address: \"127.0.0.1:0\"\n  tls:\n    \
         certificates: [ {{ cert: {}, key: {} }} ]\n    client_ca: {ca}\n    client_crl: {}\n    \
         client_auth: none\n    client_auth_names: [ {{ name: admin.test, client_auth: required }} ]\n\
         routes: [ {{ path: /, respond: {{ status: 200, body: fine }} }} ]\n",
        path("a.pem"),
        path("a.key"),
        path("ca.crl"),
        ca = path("ca.pem"),
    ));
    let port = weir.address.port();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let get = |name: &str, more: &[&str]| {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("https://{name}:{port}/");
        let arguments = [&["--cacert", &ca, "--resolve", &resolve, &url], more].concat();
        curl(&arguments)
    };
    assert_eq!(get("a.test", &[]), (true, "fine".to_owned()));
    assert!(!get("admin.test", &[]).0);
    assert_eq!(get("admin.test", &["--cert", &cert, "--key", &key]), (true, "fine".to_owned()));
}
