//! What the service does, whoever asks: each file is one subject, all on one [`Auth`].

pub mod account;
pub mod clients;
pub mod directory;
pub mod hasher;
pub mod identity;
pub mod login;
pub mod mail;
pub mod passwords;
pub mod refresh;
pub mod signup;
pub mod throttle;

use std::sync::Arc;

use crate::cache::flight::Flights;
use crate::cache::link::Link;
use crate::cache::{Cache, Key};
use crate::metrics::Metrics;
use crate::person::{Session, User};
use crate::problem::Problem;
use crate::secret::SettingError;
use crate::service::hasher::Hasher;
use crate::service::mail::Mail;
use crate::service::throttle::Throttle;
use crate::settings::Settings;
use crate::store;
use crate::store::pool::{Connection, Store};
use crate::token::KeyRing;
use uuid::Uuid;

/// What one read of a row gave, shared by everyone who waited for it.
type Read<T> = Result<Option<T>, store::Error>;

/// The service: the truth, the cache before it, the keys, the limits.
#[derive(Debug)]
pub struct Auth {
    /// As configured.
    pub settings: Settings,
    /// Postgres.
    pub store: Store,
    /// Redis.
    pub cache: Cache,
    /// Signs and verifies.
    pub keys: KeyRing,
    /// Counts.
    pub metrics: Arc<Metrics>,
    hasher: Hasher,
    throttle: Throttle,
    mail: Mail,
    users: Flights<Key, Read<User>>,
    names: Flights<Key, Read<Uuid>>,
    sessions: Flights<Key, Read<Session>>,
}

impl Auth {
    /// Reads the keys; connects to nothing yet. Needs a runtime: the link to Redis mends itself in the background.
    ///
    /// # Errors
    /// A key or an address cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        let metrics = Arc::new(Metrics::default());
        let link = settings.redis_client()?.map(|client| Link::open(client, Arc::clone(&metrics)));
        let hasher = Hasher::new(settings.hashing, Arc::clone(&metrics));
        let hasher = hasher.map_err(|_| SettingError("the parameters of password hashing cannot be used".into()))?;
        Ok(Self {
            store: Store::lazy(&settings.database, settings.pooler, settings.pool),
            cache: Cache::new(link.clone(), Arc::clone(&metrics)),
            keys: settings.key_ring()?,
            throttle: Throttle::new(link, settings.pair, settings.account),
            mail: Mail::new(settings.mail_dir.clone()),
            hasher,
            metrics,
            settings,
            users: Flights::default(),
            names: Flights::default(),
            sessions: Flights::default(),
        })
    }

    /// Commits a write and makes it visible: tombstones over what it changes before and after.
    async fn commit(&self, transaction: Connection, changed: &[Key]) -> Result<(), store::Error> {
        self.cache.announce(changed).await;
        let done = transaction.commit().await;
        // Also when the answer to the commit was lost: it may have happened.
        self.cache.bury(changed).await;
        done
    }
}

/// Runs work to its end also when the client leaves: between a commit and its tombstones nothing may stop it.
///
/// # Errors
/// The work's own, or [`Problem::internal`] when it panicked.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let span = tracing::Span::current();
    match tokio::spawn(tracing::Instrument::instrument(work, span)).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request's work ended early");
            Err(Problem::internal())
        }
    }
}
