//! From settings to a running service: check the database, bind, serve, and stop without cutting an
//! response off.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt as _;
use sqlx::Connection as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::database::connect;
use crate::http;
use crate::migrate::{self, Revisions, Standing};
use crate::revisions::BUILT_IN;
use crate::service::Auth;
use crate::settings::{Pooler, SettingError, Settings};
use crate::store::pool::{self, Store};
use crate::store::{StoreError, one_time, sessions};

/// Time that responses in progress have after the order to stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Interval between two looks for expired rows.
const SWEEP: Duration = Duration::from_secs(600);

/// Reason why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting, a key or a secret.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The database did not respond in time.
    #[error("the database {database} cannot be reached: {cause}")]
    Unreachable {
        /// The database.
        database: String,
        /// Result of the last attempt.
        cause: String,
    },
    /// There is a pooler between, and the settings do not say so.
    #[error("the database loses the settings of a session: {cause}")]
    Pooler {
        /// Sign of it.
        cause: String,
    },
    /// The built-in revisions cannot be read, or the database does not let us see its own.
    #[error("the database's revision cannot be read: {0}")]
    Unknown(#[from] migrate::Error),
    /// The database has not everything this program needs.
    #[error("the database is behind: `{0}` is missing")]
    Behind(String),
    /// A revision stopped half-way.
    #[error("the revision `{0}` is half done")]
    HalfDone(String),
    /// The address is in use or not ours.
    #[error("cannot listen on `{address}`: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Error of the system.
        cause: io::Error,
    },
}

impl StartError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Setting(error) => return error.hint(),
            Self::Unknown(error) => return error.hint().map(str::to_owned),
            Self::Unreachable { .. } => "is it up, and is DATABASE_URL right?",
            Self::Pooler { .. } => {
                "behind a pooler set `DATABASE_POOLER=transaction`, or connect to PostgreSQL itself"
            }
            Self::Behind(_) => {
                "run `auth migrate upgrade head` first; where it has `MIGRATIONS_DIR`, `auth \
                 migrate init --missing` \
                 copies what is missing there"
            }
            Self::HalfDone(revision) => {
                return Some(format!(
                    "look at the database, then `auth migrate resolve {revision} --applied` or \
                     `--rolled-back`"
                ));
            }
            Self::Bind { .. } => "LISTEN and METRICS_LISTEN name the addresses",
        };
        Some(hint.to_owned())
    }
}

/// A service that is bound and not serving yet.
#[derive(Debug)]
pub struct App {
    auth: Arc<Auth>,
    listener: TcpListener,
    metrics: TcpListener,
}

impl App {
    /// Reads keys and secrets, checks the database's revision, binds.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(settings: Settings) -> Result<Self, StartError> {
        let listen = settings.listen;
        let metrics_listen = settings.metrics_listen;
        let auth = Arc::new(Auth::new(settings)?);
        check_revision(&auth.settings).await?;
        // The ports are opened last: a proxy that can connect finds a service that can serve.
        Ok(Self { auth, listener: bind(listen).await?, metrics: bind(metrics_listen).await? })
    }

    /// Returns the address it listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the address of the metrics.
    ///
    /// # Errors
    /// The system's.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// The service itself.
    #[must_use]
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Serves until `stop`, then finishes what is in progress.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let (order, ordered) = watch::channel(false);
        tokio::spawn(async move {
            stop.await;
            order.send_replace(true);
        });
        let metrics =
            tokio::spawn(axum::serve(self.metrics, http::metrics_router(&self.auth)).into_future());
        let sweeper = tokio::spawn(sweep(Arc::clone(&self.auth)));
        let router = http::router(&self.auth).into_make_service_with_connect_info::<SocketAddr>();
        // slower without, never wrong
        let listener = self.listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let server =
            axum::serve(listener, router).with_graceful_shutdown(stop_ordered(ordered.clone()));
        // A graceful stop waits as long as a response takes. This ends it.
        let late = async {
            stop_ordered(ordered).await;
            tokio::time::sleep(DRAIN).await;
        };
        let served = tokio::select! {
            served = server => served,
            () = late => {
                tracing::warn!("responses were still under way when time was up");
                Ok(())
            }
        };
        sweeper.abort();
        metrics.abort();
        // Closing waits for queries; what is left after a moment ends with the process.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.auth.store.close()).await;
        tracing::info!("stopped");
        served
    }
}

async fn stop_ordered(mut ordered: watch::Receiver<bool>) {
    // An error means that no sender of a stop is left: then never.
    if ordered.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Bind { address, cause })
}

/// Compares the database with the revisions built in.
///
/// # Errors
/// It does not respond within the settings' time, or does not show its revisions.
async fn standing(settings: &Settings) -> Result<Standing, StartError> {
    let deadline = Instant::now() + settings.start_wait;
    let mut connection = loop {
        match connect(&pool::options(&settings.database, settings.pooler)).await {
            Ok(connection) => break connection,
            // The pooler would refuse every further try as well, so the start does not wait.
            Err(refused) if refused.cause.contains(REFUSED_BY_POOLER) => {
                return Err(StartError::Pooler { cause: refused.cause });
            }
            Err(refused) if Instant::now() >= deadline => {
                return Err(StartError::Unreachable {
                    database: settings.database.to_string(),
                    cause: refused.cause,
                });
            }
            Err(refused) => tracing::warn!(cause = refused.cause, "waiting for the database"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let unknown = |source| migrate::Error::Database { verb: "tell its settings", source };
    // One transaction and no named statement, so that the check also works behind a pooler.
    let mut transaction = connection.begin().await.map_err(unknown)?;
    let is_limited =
        sqlx::query_scalar("SELECT current_setting('statement_timeout') <> '0'").persistent(false);
    // A pooler may drop the limits without an error, and the cache relies on statements that end.
    if settings.pooler == Pooler::None
        && !is_limited.fetch_one(&mut *transaction).await.map_err(unknown)?
    {
        return Err(StartError::Pooler {
            cause: "it drops the startup parameter `options`".to_owned(),
        });
    }
    let is_in_the_clear =
        sqlx::query_scalar(IN_THE_CLEAR).persistent(false).fetch_optional(&mut *transaction).await;
    if let Some(true) = is_in_the_clear.map_err(unknown)? {
        tracing::info!(
            "the connection to the database is not encrypted; `sslmode=verify-full` makes it so, \
             and verified"
        );
    }
    Ok(migrate::state(&mut transaction, &Revisions::built_in(BUILT_IN)?).await?)
}

/// PgBouncer's words for a startup parameter that it does not pass on.
const REFUSED_BY_POOLER: &str = "unsupported startup parameter";

/// Query that finds out whether this connection goes over a network without TLS.
const IN_THE_CLEAR: &str = "SELECT inet_client_addr() IS NOT NULL AND NOT ssl FROM \
                            pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Refuses a database that has not everything this program needs.
///
/// # Errors
/// It cannot be reached, or is behind.
pub async fn check_revision(settings: &Settings) -> Result<Standing, StartError> {
    let standing = standing(settings).await?;
    if let Some(half_done) = standing.dirty.first() {
        return Err(StartError::HalfDone(half_done.clone()));
    }
    if let Some(missing) = standing.pending.first() {
        return Err(StartError::Behind(missing.clone()));
    }
    if standing.ahead() {
        tracing::warn!(unknown = ?standing.unknown, "the database is ahead of this program: a \
                                                     newer release has been here");
    }
    Ok(standing)
}

async fn sweep(auth: Arc<Auth>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match sweep_once(&auth.store).await {
            Ok(rows) => tracing::debug!(rows, "swept"),
            Err(error) => tracing::warn!(%error, "not swept"),
        }
    }
}

async fn sweep_once(store: &Store) -> Result<u64, StoreError> {
    let mut transaction = store.begin().await?;
    let rows = sessions::sweep(&mut transaction).await? + one_time::sweep(&mut transaction).await?;
    transaction.commit().await?;
    Ok(rows)
}
