//! TLS on a listener: handshakes, and certificates that change at run time.
//!
//! Guarantees: only TLS 1.2 and 1.3, and no early data, as a replayed request would be executed
//! twice. Changed files take effect within [`LOOK_INTERVAL`] for new connections; when they cannot
//! be used the old ones stay.

use std::{
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::ServerSessionMemoryCache,
    version::{TLS12, TLS13},
};

use self::{
    certificates::{Certificates, Pair, PairError},
    client_auth::{ClientAuthNames, ClientCertificate},
    hello::Hello,
    settings::{ClientAuth, MinVersion, TlsSettings},
};
use crate::runtime::{io::Io, pem};

pub mod certificates;
pub mod client_auth;
mod error;
mod hello;
pub mod settings;
pub mod validity;

pub use error::TlsError;

/// Interval between looks at the files.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Time-out of a handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Limit on the sessions that a listener remembers for TLS 1.2 clients without tickets.
const SESSIONS: usize = 4096;
/// ALPN name of HTTP/2 (RFC 9113, section 3.2).
const HTTP2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1 (RFC 7301, section 6).
const HTTP1: &[u8] = b"http/1.1";

/// TLS of one listener, shared by all workers.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    current: RwLock<Arc<Current>>,
    seen: Mutex<Seen>,
}

/// Fingerprints of the files at two moments, by [`pem::fingerprint`].
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Content that is in use.
    used: u64,
    /// Content that was last found unusable, so that this is logged once.
    unusable: Option<u64>,
}

/// New content of the files, ready to be used.
#[derive(Debug)]
pub struct RenewedCertificates {
    used: u64,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current {
    /// Where certificates of clients are required, optional, and not asked for. Each has sessions of
    /// its own: one that was begun without a certificate is not resumed where one is required.
    configs: [Option<Arc<ServerConfig>>; 3],
    names: Arc<Names>,
}

/// Meanings of the server names of a listener.
#[derive(Debug)]
struct Names {
    certificates: Arc<Certificates>,
    client_auth: ClientAuthNames,
}

/// Connection of a TLS listener.
pub enum Accepted {
    /// The handshake is done.
    Tls(Box<dyn Io>, TlsInfo),
    /// The client sends plain HTTP.
    Plain(Box<dyn Io>),
}

/// Handshake result.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    name: Option<String>,
    names: Arc<Names>,
    /// True if HTTP/2 was negotiated.
    pub http2: bool,
    /// Verified certificate of the client, if it showed one.
    pub client: Option<Rc<ClientCertificate>>,
}

impl Tls {
    /// Reads the files of the settings.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not fit together.
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        // The fingerprint before the files: if they change in between, the next look sees a
        // difference. The other order would keep the old content for ever.
        let seen = Mutex::new(Seen { used: fingerprint(&settings), unusable: None });
        let current = RwLock::new(Arc::new(Current::read(&settings)?));
        Ok(Self { settings, current, seen })
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Does the handshake on a new connection, unless the client sends plain HTTP.
    ///
    /// # Errors
    /// When it fails; the client gets the alert that TLS defines, if any.
    pub async fn accept(&self, io: Box<dyn Io>) -> io::Result<Accepted> {
        let start = match hello::read(io).await? {
            Hello::Tls(start) => start,
            Hello::Plain(io) => return Ok(Accepted::Plain(io)),
        };
        // Cloned, so the lock is not held during the handshake, and a change does not affect it.
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        // Host names are compared without case (RFC 9110, section 4.2.3).
        let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let config = current.config(name.as_deref())?;
        let stream = Box::pin(start.into_stream(config)).await?;
        let (_, session) = stream.get_ref();
        // Of a resumed session too: the library keeps the chain that was verified when it began.
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let secured = TlsInfo {
            name,
            names: Arc::clone(&current.names),
            http2: session.alpn_protocol() == Some(HTTP2),
            client: shown.map(|shown| Rc::new(ClientCertificate::of(shown))),
        };
        Ok(Accepted::Tls(Box::new(stream), secured))
    }

    /// Reads the files if their content differs from what is in use. Nothing changes before
    /// [`renew`](Self::renew).
    ///
    /// # Errors
    /// When the new content cannot be used.
    pub fn reread(&self) -> Result<Option<RenewedCertificates>, TlsError> {
        self.read_unless_used(fingerprint(&self.settings))
    }

    fn read_unless_used(&self, now: u64) -> Result<Option<RenewedCertificates>, TlsError> {
        if self.seen().used == now {
            return Ok(None);
        }
        // `used` is the content from before the read, for the same reason as in `load`.
        Ok(Some(RenewedCertificates {
            used: now,
            current: Arc::new(Current::read(&self.settings)?),
        }))
    }

    /// Uses the new content for new connections. Older sessions are not resumed.
    pub fn renew(&self, RenewedCertificates { used, current }: RenewedCertificates) {
        // Handshakes in progress keep their own `Arc`, so the lock is held only for the swap.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        *self.seen() = Seen { used, unusable: None };
    }

    /// Checks whether the files changed, and uses them if possible. Logs either outcome once.
    pub fn refresh(&self) {
        let now = fingerprint(&self.settings);
        let first = self.settings.certificates[0].cert.display();
        match self.read_unless_used(now) {
            // The usable content is back. If the unusable one returns, it is logged again.
            Ok(None) => self.seen().unusable = None,
            Ok(Some(renewed)) => {
                self.renew(renewed);
                tracing::info!(%first, "listener certificates changed; new connections use them");
            }
            Err(error) => {
                // The look repeats every few seconds, and one broken file is one message.
                if self.seen().unusable.replace(now) == Some(now) {
                    return;
                }
                tracing::error!(%first, cause = %error, "cannot use the changed listener certificates; \
                    keeping the current ones");
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let pairs: Result<Vec<Pair>, PairError> =
            settings.certificates.iter().map(Pair::read).collect();
        let certificates = Arc::new(Certificates::new(pairs?));
        let client_auth = ClientAuthNames::new(settings.client_auth.as_ref());
        let mut configs = [const { None }; 3];
        for auth in client_auth.all() {
            let config = config(settings, auth, &certificates)?;
            configs[auth as usize] = Some(Arc::new(config));
        }
        Ok(Self { configs, names: Arc::new(Names { certificates, client_auth }) })
    }

    /// Configuration for a server name.
    fn config(&self, name: Option<&str>) -> io::Result<Arc<ServerConfig>> {
        let auth = self.names.client_auth.of(name);
        // There is one for each requirement that a name may have.
        let missing = || io::Error::other("no TLS configuration for the server name");
        self.configs[auth as usize].clone().ok_or_else(missing)
    }
}

/// Builds the configuration for clients with this requirement.
fn config(
    settings: &TlsSettings,
    auth: ClientAuth,
    certificates: &Arc<Certificates>,
) -> Result<ServerConfig, TlsError> {
    let versions = match settings.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12][..],
        MinVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions)?;
    let builder = match &settings.client_auth {
        Some(clients) if auth != ClientAuth::None => {
            builder.with_client_cert_verifier(client_auth::verifier(clients, auth)?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(certificates) as _);
    // In order of preference: the first of these that a client offers is chosen.
    let protocols = [settings.http2.then_some(HTTP2), Some(HTTP1)];
    config.alpn_protocols = protocols.into_iter().flatten().map(<[u8]>::to_vec).collect();
    // Sessions and tickets begin empty with each reading. A session resumed across a change
    // would skip the verification by the new client CAs.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

impl TlsInfo {
    /// Returns true if a request for this host came on a connection that was opened with another
    /// certificate (RFC 9110, section 15.5.20), or for a name of which something else is required.
    #[must_use]
    pub fn misdirects(&self, host: &str) -> bool {
        let Names { certificates, client_auth } = &*self.names;
        // Names that share a certificate may share a connection (RFC 9113, section 9.1.1).
        let other =
            |name: &String| name != host && certificates.choose(name) != certificates.choose(host);
        // Without a server name the client chose no certificate, so no host is the wrong one. But
        // it must not evade the requirement of a host by that.
        self.name.as_ref().is_some_and(other)
            || client_auth.of(Some(host)) != client_auth.of(self.name.as_deref())
    }
}

fn fingerprint(settings: &TlsSettings) -> u64 {
    let pairs = settings.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    let clients = settings.client_auth.iter();
    let clients = clients.flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crl));
    pem::fingerprint(pairs.chain(clients).map(PathBuf::as_path))
}
