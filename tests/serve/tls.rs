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
