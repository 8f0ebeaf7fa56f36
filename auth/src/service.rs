//! What the service does, whoever asks: each file is one subject, all on one [`Auth`].

pub mod account;
pub mod clients;
pub mod directory;
pub mod error;
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
use crate::service::error::ServiceError;
use crate::service::hasher::Hasher;
use crate::service::mail::Mail;
use crate::service::throttle::Throttle;
use crate::settings::{SettingError, Settings};
use crate::store::StoreError;
use crate::store::pool::{Connection, Store};
use crate::token::KeyRing;
use uuid::Uuid;

/// What one read of a row gave, shared by everyone who waited for it.
type Read<T> = Result<Option<T>, StoreError>;

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
        let hasher = hasher.map_err(|error| SettingError::Hashing(error.to_string()))?;
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
    async fn commit(&self, transaction: Connection, changed: &[Key]) -> Result<(), StoreError> {
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
/// The work's own, or that it panicked.
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    let span = tracing::Span::current();
    let done = tokio::spawn(tracing::Instrument::instrument(work, span)).await;
    done.map_err(ServiceError::internal("a request's work"))?
}
