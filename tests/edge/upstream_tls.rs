//! TLS to endpoints: who is believed, and what becomes of a request when nobody is.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;
use weir::{
    config::Config,
    upstream::settings::{ClientPair, SecureSettings},
};

use crate::{
    certificates::Authority,
    harness::{config, on_raw_edge, status},
    http2::{client, get},
};

/// An upstream of `app.test` that only this authority vouches for.
pub fn secured(authority: &Authority) -> Config {
    let mut config = config(&[]);
    let upstream = &mut config.upstreams[0];
    upstream.endpoints[0].tls = true;
    upstream.secure = Some(SecureSettings {
        ca: Some(authority.path("ca.pem")),
        server_name: Some("app.test".into()),
        client: None,
        fingerprints: Vec::new(),
    });
    config
}

/// SHA-256 of the certificate of an authority.
fn fingerprint(authority: &Authority, stem: &str) -> [u8; 32] {
    let digest =
        ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &authority.certificate(stem));
    digest.as_ref().try_into().expect("32 bytes")
}

/// An endpoint with the certificate `app` of this authority, which speaks these protocols.
pub fn endpoint(authority: &Authority, alpn: &[&str]) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_file(authority.path("app.key")).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config =
        builder.with_single_cert(vec![authority.certificate("app")], key).expect("a certificate");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

async fn answer(acceptor: TlsAcceptor, pipe: DuplexStream) -> Option<String> {
    let stream = Box::pin(acceptor.accept(pipe)).await.ok()?;
    let name = stream.get_ref().1.server_name().map(str::to_owned);
    let answer = hyper::service::service_fn(async |_| {
        Ok::<_, hyper::Error>(http::Response::new(http_body_util::Full::new(
            bytes::Bytes::from_static(b"ok"),
        )))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    served.ok().and(name)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// The status and kind a client and the log get from an endpoint with this certificate and these
/// protocols.
async fn outcome(
    believed: &Authority,
    shown: &Authority,
    names: &[&str],
    alpn: &'static [&'static str],
) -> (u16, String) {
    shown.issue("app", names);
    let (acceptor, mut got) = (endpoint(shown, alpn), None);
    let outcome = &mut got;
    on_raw_edge(secured(believed), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                tokio::task::spawn_local(answer(acceptor.clone(), pipe));
            }
        });
        let status = status(&edge.exchange(GET).await);
        *outcome = Some((
            status,
            edge.line().await["error"]["kind"].as_str().unwrap_or_default().to_owned(),
        ));
    })
    .await;
    got.expect("an outcome")
}

#[tokio::test(start_paused = true)]
async fn only_a_certificate_for_its_name_by_somebody_trusted_is_believed() {
    let (known, stranger) = (Authority::new(), Authority::new());
    let fine = (200, String::new());
    let refused = (502, "tls_certificate_error".to_owned());
    assert_eq!(outcome(&known, &known, &["app.test"], &["http/1.1"]).await, fine);
    assert_eq!(outcome(&known, &known, &["app.test"], &[]).await, fine);
    assert_eq!(outcome(&known, &known, &["other.test"], &[]).await, refused);
    assert_eq!(outcome(&known, &stranger, &["app.test"], &[]).await, refused);
    assert_eq!(
        outcome(&known, &known, &["app.test"], &["h2"]).await,
        (502, "tls_alert_received".to_owned())
    );
}

/// It is the same the next time.
#[tokio::test(start_paused = true)]
async fn hold_does_not_wait_on_a_tls_verdict() {
    let (known, stranger) = (Authority::new(), Authority::new());
    stranger.issue("app", &["app.test"]);
    known.issue("app", &["app.test"]);
    for acceptor in [endpoint(&stranger, &[]), endpoint(&known, &["h2"])] {
        let mut held = secured(&known);
        held.upstreams[0].hold = std::time::Duration::from_secs(15);
        on_raw_edge(held, |edge, mut pipes| async move {
            tokio::task::spawn_local(async move {
                while let Some(pipe) = pipes.recv().await {
                    tokio::task::spawn_local(answer(acceptor.clone(), pipe));
                }
            });
            assert_eq!((status(&edge.exchange(GET).await), edge.now()), (502, 0));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn tls_bytes_before_upstream_handshake_are_no_response() {
    on_raw_edge(secured(&Authority::new()), |edge, mut pipes| async move {
        let mut client = client(&edge).await;
        let asked = tokio::task::spawn_local(async move { client.send_request(get("/")).await });
        for _ in 0..2 {
            let mut pipe = pipes.recv().await.expect("a connection");
            let early = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
            pipe.write_all(early).await.expect("an open pipe");
            if asked.is_finished() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            if asked.is_finished() {
                break;
            }
        }
        assert_eq!(asked.await.expect("no panic").expect("an answer").status(), 502);
        assert_eq!(edge.line().await["error"]["kind"], "tls_protocol_error");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeout_connect_covers_upstream_tls_handshake() {
    on_raw_edge(secured(&Authority::new()), |edge, mut pipes| async move {
        let held = tokio::task::spawn_local(async move {
            let mut held = Vec::new();
            while let Some(pipe) = pipes.recv().await {
                held.push(pipe);
            }
        });
        assert_eq!(status(&edge.exchange(GET).await), 504);
        assert_eq!(edge.line().await["error"]["kind"], "connection_timeout");
        held.abort();
    })
    .await;
}

/// Responds by `acceptor` on every connection; the status and kind a client and the log get.
async fn served_by(config: Config, acceptor: TlsAcceptor) -> (u16, String) {
    let mut got = None;
    let outcome = &mut got;
    on_raw_edge(config, |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                tokio::task::spawn_local(answer(acceptor.clone(), pipe));
            }
        });
        let status = status(&edge.exchange(GET).await);
        let line = edge.line().await;
        *outcome = Some((status, line["error"]["kind"].as_str().unwrap_or_default().to_owned()));
    })
    .await;
    got.expect("an outcome")
}

#[tokio::test(start_paused = true)]
async fn fingerprint_stands_for_authority_and_name_and_beside_ca_for_neither() {
    let (known, stranger) = (Authority::new(), Authority::new());
    known.issue("app", &["app.test"]);
    stranger.issue("app", &["other.test"]);
    let pinned = |of: &Authority, ca: bool| {
        let mut config = secured(&known);
        let secure = config.upstreams[0].secure.as_mut().expect("TLS");
        secure.fingerprints = vec![[7; 32], fingerprint(of, "app")];
        secure.ca = secure.ca.take().filter(|_| ca);
        config
    };
    let (fine, refused) = ((200, String::new()), (502, "tls_certificate_error".to_owned()));
    let shows = |authority| endpoint(authority, &[]);
    assert_eq!(served_by(pinned(&stranger, false), shows(&stranger)).await, fine);
    assert_eq!(served_by(pinned(&known, false), shows(&stranger)).await, refused);
    assert_eq!(served_by(pinned(&known, true), shows(&known)).await, fine);
    assert_eq!(served_by(pinned(&stranger, true), shows(&stranger)).await, refused);
    assert_eq!(served_by(pinned(&stranger, true), shows(&known)).await, refused);
}

/// A certificate is public: without its key it proves nothing.
#[tokio::test(start_paused = true)]
async fn fingerprint_without_the_key_is_refused() {
    let (owner, thief) = (Authority::new(), Authority::new());
    owner.issue("app", &["app.test"]);
    thief.issue("app", &["app.test"]);
    let key = PrivateKeyDer::from_pem_file(thief.path("app.key")).expect("a key");
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).expect("a key");
    let stolen = rustls::sign::CertifiedKey::new(vec![owner.certificate("app")], key);
    let builder = ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let shown = rustls::sign::SingleCertAndKey::from(stolen);
    let server = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
    let mut config = secured(&owner);
    let secure = config.upstreams[0].secure.as_mut().expect("TLS");
    (secure.ca, secure.fingerprints) = (None, vec![fingerprint(&owner, "app")]);
    let (status, kind) = served_by(config, Arc::new(server).into()).await;
    assert_eq!((status, &*kind), (502, "tls_certificate_error"));
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_wants_a_client_certificate_gets_the_configured_one() {
    let authority = Authority::new();
    authority.issue("app", &["app.test"]);
    authority.issue("weir", &["weir.test"]);
    let mut roots = rustls::RootCertStore::empty();
    for root in weir::runtime::pem::certificates(&authority.path("ca.pem")).expect("a file") {
        roots.add(root).expect("a certificate");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_client_cert_verifier(verifier.build().expect("a verifier"));
    let key = PrivateKeyDer::from_pem_file(authority.path("app.key")).expect("a key");
    let shown = builder.with_single_cert(vec![authority.certificate("app")], key);
    let acceptor = TlsAcceptor::from(Arc::new(shown.expect("a certificate")));
    let mut config = secured(&authority);
    let without = served_by(config.clone(), acceptor.clone()).await.0;
    config.upstreams[0].secure.as_mut().expect("TLS").client =
        Some(ClientPair { cert: authority.path("weir.pem"), key: authority.path("weir.key") });
    assert_eq!((without, served_by(config, acceptor).await.0), (502, 200));
}
