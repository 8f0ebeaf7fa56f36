//! TLS with clients: who is shown which certificate, what is refused, and what the upstream learns.

use std::{fs, io, rc::Rc, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, SignatureScheme,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir::downstream::{
    drain::Idle,
    listener::ListenerPolicy,
    tls::{
        Tls,
        settings::{CertificateFiles, ClientAuth, ClientAuthSettings, MinVersion, TlsSettings},
    },
};

use crate::{
    certificates::Authority,
    harness::{Edge, config, on_door, open_door, status},
};

pub const ALL: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

pub type Stream = Box<TlsStream<DuplexStream>>;

pub fn settings(authority: &Authority, stems: &[&str]) -> TlsSettings {
    let files = |stem: &&str| CertificateFiles {
        cert: authority.path(&format!("{stem}.pem")),
        key: authority.path(&format!("{stem}.key")),
    };
    TlsSettings {
        certificates: stems.iter().map(files).collect(),
        min_version: MinVersion::Tls12,
        http2: true,
        client_auth: None,
    }
}

/// Clients must show a certificate of this authority.
fn required(authority: &Authority) -> ClientAuthSettings {
    ClientAuthSettings::required(authority.path("ca.pem"))
}

pub fn door(settings: TlsSettings) -> ListenerPolicy {
    ListenerPolicy {
        tls: Some(Tls::load(settings).expect("certificates of the test")),
        ..open_door()
    }
}

/// An authority with a certificate for `a.test`, and a door with it.
pub fn one() -> (Rc<Authority>, ListenerPolicy) {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let door = door(settings(&authority, &["a"]));
    (Rc::new(authority), door)
}

pub async fn connect(edge: &Edge, client: ClientConfig, name: &str) -> io::Result<Stream> {
    connect_with(edge, Arc::new(client), name).await
}

async fn connect_with(edge: &Edge, client: Arc<ClientConfig>, name: &str) -> io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    Box::pin(TlsConnector::from(client).connect(name, edge.connect())).await.map(Box::new)
}

pub async fn exchange(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    host: &str,
) -> io::Result<String> {
    stream
        .write_all(
            format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(start_paused = true)]
async fn tls_request_is_forwarded_as_https() {
    let (authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        let stream = connect(&edge, authority.client(&["http/1.1"], ALL, None), "a.test")
            .await
            .expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = exchange(stream, "a.test").await.expect("an answer with an end");
        assert_eq!(status(&answer), 200, "{answer}");
        let seen = &edge.seen.borrow()[0];
        assert_eq!(seen.headers["x-forwarded-proto"], "https");
        assert_eq!(seen.headers["host"], "a.test");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_sni_selects_exact_then_wildcard_then_first() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    authority.issue("wild", &["*.b.test", "x.b.test"]);
    authority.issue("exact", &["x.b.test", "y.b.test"]);
    let door = door(settings(&authority, &["a", "wild", "exact"]));
    on_door(config(&[]), door, |edge| async move {
        for (name, stem) in
            [("a.test", "a"), ("x.b.test", "wild"), ("y.b.test", "exact"), ("z.b.test", "wild")]
        {
            let stream =
                connect(&edge, authority.client(&[], ALL, None), name).await.expect("a handshake");
            assert_eq!(
                stream.get_ref().1.peer_certificates(),
                Some(&[authority.certificate(stem)][..]),
                "{name}"
            );
        }
        // The first is shown, and the client finds that it is for another name.
        let other = connect(&edge, authority.client(&[], ALL, None), "other.test")
            .await
            .expect_err("a wrong name");
        assert!(other.to_string().contains("certificate not valid for name"), "{other}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_host_of_another_certificate_is_421() {
    let authority = Authority::new();
    authority.issue("a", &["a.test", "also.a.test"]);
    authority.issue("b", &["b.test"]);
    let door = door(settings(&authority, &["a", "b"]));
    on_door(config(&[]), door, |edge| async move {
        for (host, expected) in
            [("a.test", 200), ("also.a.test:443", 200), ("A.test", 200), ("b.test", 421)]
        {
            let stream = connect(&edge, authority.client(&[], ALL, None), "a.test")
                .await
                .expect("a handshake");
            let answer = exchange(stream, host).await.expect("an answer");
            assert_eq!(status(&answer), expected, "{answer}");
        }
        assert_eq!(edge.seen.borrow().len(), 3);
    })
    .await;
}

/// A client that would send early data, were it let.
fn eager(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut client = authority.client(&[], versions, None);
    client.enable_early_data = true;
    Arc::new(client)
}

#[tokio::test(start_paused = true)]
async fn tls_session_resumes_only_at_its_listener() {
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let authority = Rc::new(Authority::new());
        authority.issue("a", &["a.test"]);
        let client = eager(&authority, versions);
        for _listener in 0..2 {
            let client = Arc::clone(&client);
            on_door(config(&[]), door(settings(&authority, &["a"])), |edge| async move {
                let mut stream = connect_with(&edge, client, "a.test").await.expect("a handshake");
                assert_eq!(status(&exchange(&mut stream, "a.test").await.expect("an answer")), 200);
                assert!(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Full));
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_resumed_without_early_data() {
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let (authority, door) = one();
        on_door(config(&[]), door, |edge| async move {
            let client = eager(&authority, versions);
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let mut stream =
                    connect_with(&edge, Arc::clone(&client), "a.test").await.expect("a handshake");
                assert_eq!(status(&exchange(&mut stream, "a.test").await.expect("an answer")), 200);
                let kind = stream.get_ref().1.handshake_kind();
                assert!(kind == Some(expected), "{kind:?} and not {expected:?}");
                // What the listener gave it to resume with lets it send nothing early.
                let name = ServerName::try_from("a.test").expect("a name");
                let mut next = ClientConnection::new(Arc::clone(&client), name).expect("a client");
                assert!(next.early_data().is_none());
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_are_too_old_or_speak_another_protocol_are_refused() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let door = door(TlsSettings { min_version: MinVersion::Tls13, ..settings(&authority, &["a"]) });
    on_door(config(&[]), door, |edge| async move {
        let old = connect(&edge, authority.client(&[], &[&TLS12], None), "a.test")
            .await
            .expect_err("too old");
        assert!(old.to_string().contains("ProtocolVersion"), "{old}");
        let other = connect(&edge, authority.client(&["ftp"], ALL, None), "a.test")
            .await
            .expect_err("not HTTP");
        assert!(other.to_string().contains("NoApplicationProtocol"), "{other}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_show_a_certificate_where_that_is_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("a", &["a.test"]);
    authority.issue("client", &["client.test"]);
    stranger.issue("client", &["client.test"]);
    fs::copy(stranger.path("client.pem"), authority.path("stranger.pem")).expect("a file");
    fs::copy(stranger.path("client.key"), authority.path("stranger.key")).expect("a file");
    let asking =
        TlsSettings { client_auth: Some(required(&authority)), ..settings(&authority, &["a"]) };
    on_door(config(&[]), door(asking), |edge| async move {
        for (stem, fine) in [(Some("client"), true), (Some("stranger"), false), (None, false)] {
            // In TLS 1.3 a client learns of its refusal only when it reads.
            let answer = match connect(&edge, authority.client(&[], ALL, stem), "a.test").await {
                Ok(stream) => exchange(stream, "a.test").await,
                Err(error) => Err(error),
            };
            assert_eq!(answer.is_ok_and(|answer| status(&answer) == 200), fine, "{stem:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_silent_handshake_is_cut_after_ten_seconds() {
    let (_authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        for begun in [&b""[..], b"\x16\x03\x01\x00\x40\x01"] {
            let start = Instant::now();
            let mut client = edge.connect();
            client.write_all(begun).await.expect("an open pipe");
            client.read_to_end(&mut Vec::new()).await.expect("an end");
            let took = start.elapsed();
            assert!(
                (Duration::from_secs(10)..=Duration::from_millis(10_200)).contains(&took),
                "{took:?}"
            );
        }
    })
    .await;
}

/// It cannot have asked for anything: a stop does not wait its ten seconds.
#[tokio::test(start_paused = true)]
async fn shutdown_closes_silent_tls_handshake() {
    let (_authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        for begun in [&b""[..], b"\x16\x03\x01\x00\x40\x01"] {
            let mut client = edge.connect();
            client.write_all(begun).await.expect("an open pipe");
            sleep(Duration::from_millis(1)).await;
            let told = Instant::now();
            edge.order.by(told + Duration::from_secs(8), Idle::Close);
            client.read_to_end(&mut Vec::new()).await.expect("an end");
            assert!((299..=301).contains(&told.elapsed().as_millis()), "{:?}", told.elapsed());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changed_certificates_are_taken_and_broken_ones_are_not() {
    let (authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        let tls = edge.door.tls.as_ref().expect("a door with TLS");
        let shown = async || {
            tls.refresh();
            let stream = connect(&edge, authority.client(&[], ALL, None), "a.test")
                .await
                .expect("a handshake");
            stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
        };
        let first = authority.certificate("a");
        assert_eq!(shown().await, first);
        fs::write(authority.path("a.pem"), "half a cert").expect("a file");
        assert_eq!(shown().await, first);
        authority.issue("a", &["a.test"]);
        assert_eq!(shown().await, authority.certificate("a"));
        assert_ne!(shown().await, first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn redirect_listener_sends_every_request_to_https() {
    let to = |port| ListenerPolicy { redirect: Some(port), ..open_door() };
    for (port, expected) in [(443, "https://a.test/x?y"), (8443, "https://a.test:8443/x?y")] {
        on_door(config(&[]), to(port), |edge| async move {
            let request = "POST /x?y HTTP/1.1\r\nhost: A.test:80\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let answer = edge.exchange(request).await;
            assert_eq!(status(&answer), 308);
            assert!(answer.contains(&format!("location: {expected}\r\n")), "{answer}");
            assert_eq!(status(&edge.exchange("GET / HTTP/1.0\r\n\r\n").await), 400);
            assert_eq!(edge.seen.borrow().len(), 0);
        })
        .await;
    }
}

/// Sends bytes of plain HTTP to a listener of TLS, piece by piece, and returns all that comes back.
async fn plain(edge: &Edge, pieces: &[&str]) -> String {
    let mut client = edge.connect();
    for piece in pieces {
        client.write_all(piece.as_bytes()).await.expect("an open pipe");
        sleep(Duration::from_millis(1)).await;
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("text, and not an alert");
    answer
}

#[tokio::test(start_paused = true)]
async fn plain_http_to_tls_gets_400_in_words_and_a_line() {
    let (_authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        for pieces in [
            &["GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n"][..],
            &["G", "ET /x HTTP/1.1\r\nho", "st: a.test\r\n\r\n"],
            &["OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n"],
            &["POST /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nbody"],
            &["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
            &["SSH-2.0-OpenSSH_9.9\r\n"],
        ] {
            let answer = plain(&edge, pieces).await;
            assert_eq!(status(&answer), 400, "{answer}");
            assert!(answer.contains("the plain HTTP request was sent to HTTPS port"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer}");
            let line = edge.line().await;
            assert_eq!(line["status"], 400, "{line}");
            assert_eq!(line["error"]["kind"], "http_request_error", "{line}");
        }
        assert_eq!(edge.seen.borrow().len(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn plain_http_to_tls_is_read_within_the_limits_of_heads() {
    let (_authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        let start = Instant::now();
        // As on a listener without TLS: there is no response to an unfinished head.
        assert_eq!(plain(&edge, &["GET / HTTP/1.1\r\n"]).await, "");
        assert_eq!(edge.line().await["status"], 408);
        let took = start.elapsed();
        assert!((10_000..10_700).contains(&took.as_millis()), "{took:?}");
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40_000));
        assert_eq!(status(&plain(&edge, &[&long]).await), 431);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn plain_http_to_tls_is_charged_as_other_refused_requests_are() {
    let (_authority, door) = one();
    on_door(config(&["1r/m"]), door, |edge| async move {
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
        assert_eq!(status(&plain(&edge, &[request]).await), 400);
        assert_eq!(status(&plain(&edge, &[request]).await), 503);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_neither_tls_nor_http_get_an_alert() {
    let (_authority, door) = one();
    on_door(config(&[]), door, |edge| async move {
        let mut client = edge.connect();
        client.write_all(b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00").await.expect("an open pipe");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an end");
        // A record of an alert (RFC 8446, section 6), and nothing else.
        assert_eq!((answer.first(), answer.len()), (Some(&21), 7), "{answer:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_listener_of_http1_offers_no_http2() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let door = door(TlsSettings { http2: false, ..settings(&authority, &["a"]) });
    on_door(config(&[]), door, |edge| async move {
        let both = authority.client(&["h2", "http/1.1"], ALL, None);
        let stream = connect(&edge, both, "a.test").await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(status(&exchange(stream, "a.test").await.expect("a response")), 200);
        let only = connect(&edge, authority.client(&["h2"], ALL, None), "a.test").await;
        let error = only.expect_err("no common protocol").to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn plain_listener_of_http1_refuses_the_preface_of_http2() {
    let door = ListenerPolicy { http2: false, ..open_door() };
    on_door(config(&[]), door, |edge| async move {
        let answer = edge.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert_eq!(status(&answer), 400, "{answer}");
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(request).await), 200);
    })
    .await;
}

/// A client that knows only some schemes of signatures.
fn knowing(authority: &Authority, knows: fn(SignatureScheme) -> bool) -> ClientConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let all = provider.signature_verification_algorithms.mapping.iter();
    let known: Vec<_> = all.filter(|(scheme, _)| knows(*scheme)).copied().collect();
    provider.signature_verification_algorithms.mapping = known.leak();
    let mut roots = rustls::RootCertStore::empty();
    for root in weir::runtime::pem::certificates(&authority.path("ca.pem")).expect("a file") {
        roots.add(root).expect("a certificate");
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(ALL)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test(start_paused = true)]
async fn tls_certificates_of_one_name_are_chosen_by_the_schemes_of_the_client() {
    let is_rsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("RSA");
    let is_ecdsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("ECDSA");
    let authority = Authority::new();
    authority.issue("ecdsa", &["a.test"]);
    authority.issue_rsa("rsa", &["a.test"]);
    authority.issue("other", &["b.test"]);
    // Whatever their order in the file: ECDSA is what clients prefer.
    for stems in [["other", "ecdsa", "rsa"], ["rsa", "other", "ecdsa"]] {
        on_door(config(&[]), door(settings(&authority, &stems)), |edge| {
            let authority = &authority;
            let shown = move |edge: Rc<Edge>, client: ClientConfig| async move {
                let stream = connect(&edge, client, "a.test").await.expect("a handshake");
                stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
            };
            let clients = [
                (authority.client(&[], ALL, None), "ecdsa"),
                (knowing(authority, is_ecdsa), "ecdsa"),
                (knowing(authority, is_rsa), "rsa"),
            ]
            .map(|(client, stem)| (client, authority.certificate(stem)));
            async move {
                for (client, expected) in clients {
                    assert_eq!(shown(Rc::clone(&edge), client).await, expected);
                }
            }
        })
        .await;
    }
}

/// Certificates are asked for by name: required for `admin.test`, optional else.
fn by_name(authority: &Authority) -> ListenerPolicy {
    authority.issue("a", &["a.test", "admin.test", "127.0.0.1"]);
    authority.issue("client", &["client.test"]);
    let clients = ClientAuthSettings {
        usual: ClientAuth::Optional,
        names: vec![("admin.test".to_owned(), ClientAuth::Required)],
        ..required(authority)
    };
    door(TlsSettings { client_auth: Some(clients), ..settings(authority, &["a"]) })
}

#[tokio::test(start_paused = true)]
async fn client_certificate_is_required_by_name_and_no_host_evades_it() {
    let authority = Authority::new();
    let door = by_name(&authority);
    on_door(config(&[]), door, |edge| async move {
        for (name, host, stem, expected) in [
            ("a.test", "a.test", None, Some(200)),
            ("a.test", "a.test", Some("client"), Some(200)),
            ("admin.test", "admin.test", None, None),
            ("admin.test", "admin.test", Some("client"), Some(200)),
            // With a certificate too: the other name may have another policy.
            ("a.test", "admin.test", None, Some(421)),
            ("a.test", "ADMIN.test.:443", None, Some(421)),
            ("a.test", "admin.test", Some("client"), Some(421)),
            ("admin.test", "a.test", Some("client"), Some(421)),
            // Without a server name.
            ("127.0.0.1", "admin.test", None, Some(421)),
            ("127.0.0.1", "a.test", None, Some(200)),
        ] {
            let answer = match connect(&edge, authority.client(&[], ALL, stem), name).await {
                Ok(stream) => exchange(stream, host).await,
                Err(error) => Err(error),
            };
            let got = answer.ok().map(|answer| status(&answer)).filter(|status| *status != 0);
            assert_eq!(got, expected, "{name} {host} {stem:?}");
        }
    })
    .await;
}

/// A session that was begun without a certificate is not resumed where one is required.
#[tokio::test(start_paused = true)]
async fn session_without_a_certificate_is_not_resumed_where_one_is_required() {
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let authority = Authority::new();
        let door = by_name(&authority);
        on_door(config(&[]), door, |edge| async move {
            let client = Arc::new(authority.client(&[], versions, None));
            for (name, fine) in [("a.test", true), ("admin.test", false)] {
                let answer = match connect_with(&edge, Arc::clone(&client), name).await {
                    Ok(stream) => exchange(stream, name).await,
                    Err(error) => Err(error),
                };
                assert_eq!(answer.is_ok_and(|answer| status(&answer) == 200), fine, "{name}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn client_certificate_is_told_to_endpoints_and_by_no_client() {
    let authority = Authority::new();
    let door = by_name(&authority);
    let mut config = config(&[]);
    let edited = crate::harness::parsed(
        "listeners: [ ':1' ]
routes:
- path: /
  upstream: 'http://a:1'
  request:
    headers:
      set:
        x-subject: \"{tls_client_subject}\"
        x-print: \"{tls_client_fingerprint}\"
        x-verified: \"{tls_client_verified}\"
",
    );
    config.routes[0].request_edits = edited.routes[0].request_edits.clone();
    on_door(config, door, |edge| async move {
        let spoof = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx-subject: CN=root\r\n\
                     X_Subject: CN=root\r\nx_print: 00\r\nx.verified: true\r\n\r\n";
        for (stem, verified) in [(Some("client"), "true"), (None, "false")] {
            let client = authority.client(&[], ALL, stem);
            let mut stream = connect(&edge, client, "a.test").await.expect("a handshake");
            stream.write_all(spoof.as_bytes()).await.expect("an open pipe");
            stream.read_to_string(&mut String::new()).await.expect("a response");
            let headers = edge.seen.borrow().last().expect("a request").headers.clone();
            assert_eq!(headers["x-verified"], verified);
            let subject = headers.get("x-subject").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(subject, stem.map(|_| "CN=rcgen self signed cert"), "{headers:?}");
            let print = headers.get("x-print").map(|value| value.len());
            assert_eq!(print, stem.map(|_| 64), "{headers:?}");
            let others = headers.keys().filter(|name| name.as_str().starts_with(['x']));
            let others = others.filter(|name| !name.as_str().starts_with("x-"));
            assert_eq!(others.count(), 0, "{headers:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn revoked_client_certificate_is_refused_and_so_is_one_without_a_current_list() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    authority.issue("client", &["client.test"]);
    authority.issue("other", &["other.test"]);
    authority.revoke(&["gone"], 2100);
    let clients =
        ClientAuthSettings { crl: Some(authority.path("ca.crl")), ..required(&authority) };
    let door = door(TlsSettings { client_auth: Some(clients), ..settings(&authority, &["a"]) });
    on_door(config(&[]), door, |edge| async move {
        let clients =
            ["client", "other"].map(|stem| Arc::new(authority.client(&[], ALL, Some(stem))));
        let passes = async || {
            edge.door.tls.as_ref().expect("a door with TLS").refresh();
            let mut passed = Vec::new();
            // The same clients, which would resume their sessions.
            for client in &clients {
                let answer = match connect_with(&edge, Arc::clone(client), "a.test").await {
                    Ok(stream) => exchange(stream, "a.test").await,
                    Err(error) => Err(error),
                };
                passed.push(answer.is_ok_and(|answer| status(&answer) == 200));
            }
            passed
        };
        assert_eq!(passes().await, [true, true]);
        authority.revoke(&["gone", "client"], 2100);
        assert_eq!(passes().await, [false, true]);
        // A list that cannot be read changes nothing, and one out of date vouches for no one.
        fs::write(authority.path("ca.crl"), "half a list").expect("a file");
        assert_eq!(passes().await, [false, true]);
        authority.revoke(&["gone"], 2001);
        assert_eq!(passes().await, [false, false]);
    })
    .await;
}
