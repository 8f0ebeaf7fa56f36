//! PostgreSQL and Redis over TLS, verified: by their own authority, by their name, or not at all.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::bench::{migrated, on, until};
use crate::process::{Serving, auth, folder};
use weir_test::postgres::Server;
use weir_test::redis::Redis;

/// An authority, and a certificate for `localhost` that it signed, as files: `ca.pem`,
/// `server.pem`, `server.key`.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).expect("a certificate");
    let server = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate =
        params.signed_by(&server, &Issuer::new(authority, key)).expect("a certificate");
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", server.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

/// A port that nobody listens on: neither server takes one that is open already.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_spoken_to_over_tls_and_verified() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let database = migrated(server);
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let port = free_port();
    server.down();
    server.up_with_tls(folder.path(), port);
    let ca = folder.path().join("ca.pem").display().to_string();
    let url = |host: &str, more: &str| {
        format!("postgres://auth_app:app@{host}:{port}/{}?{more}", database.name)
    };
    for (address, fits) in [
        (url("localhost", &format!("sslmode=verify-full&sslrootcert={ca}")), true),
        (url("localhost", "sslmode=require"), true),
        // Another name than the certificate's, and an authority that is not known.
        (url("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ca}")), false),
        (url("localhost", "sslmode=verify-full"), false),
    ] {
        let connected = auth::database::Database::from_url(&address, None)
            .expect("an address")
            .connect("tls")
            .await;
        assert_eq!(
            connected.is_ok(),
            fits,
            "{address}: {}",
            connected.err().map(|error| error.cause).unwrap_or_default()
        );
        if let Ok(mut connection) = connected {
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            assert!(
                sqlx::query_scalar::<_, bool>(sql)
                    .fetch_one(&mut connection)
                    .await
                    .expect("an response"),
                "{address}"
            );
        }
    }
    let bench = on(&database, |settings| {
        let address = url("localhost", &format!("sslmode=verify-full&sslrootcert={ca}"));
        settings.database = auth::database::Database::from_url(&address, None).expect("an address");
    })
    .await;
    bench.person().await;
    server.down();
}

#[test]
fn postgres_in_the_clear_is_said_once_at_the_start() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let (database, keys, folder) =
        (migrated(server), folder(), tempfile::tempdir().expect("a folder"));
    certificates(folder.path());
    let port = free_port();
    server.down();
    server.up_with_tls(folder.path(), port);
    for (mode, times) in [("disable", 1), ("require", 0)] {
        let mut command = auth(keys.path(), &["serve"]);
        let url =
            format!("postgres://auth_app:app@127.0.0.1:{port}/{}?sslmode={mode}", database.name);
        command.env_remove("PGPASSWORD").env("DATABASE_URL", url);
        let serving = Serving::start(command);
        let said = serving
            .early
            .iter()
            .filter(|line| line["message"].to_string().contains("is not encrypted"))
            .count();
        assert_eq!(said, times, "{mode}: {:?}", serving.early);
    }
    server.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_spoken_to_over_tls_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let port = free_port();
    let redis = Redis::start_with_tls(folder.path(), port);
    let with = async |host: &str, ca: bool| {
        crate::bench::with(|settings| {
            settings.redis = Some(format!("rediss://{host}:{port}").into());
            settings.redis_ca = ca.then(|| folder.path().join("ca.pem"));
        })
        .await
    };
    let bench = with("localhost", true).await;
    until("redis is in use", async || bench.auth.cache.is_up() == Some(true)).await;
    let ada = bench.person().await;
    bench.me(&ada.access).await;
    assert!(redis.ask(&["DBSIZE"]) != "0", "the cache is filled");
    // It goes on without it: another name than the certificate's, and an authority that is not
    // known.
    for (host, ca) in [("127.0.0.1", true), ("localhost", false)] {
        let bench = with(host, ca).await;
        bench.person().await;
        assert_eq!(bench.auth.cache.is_up(), Some(false), "{host} {ca}");
    }
}
