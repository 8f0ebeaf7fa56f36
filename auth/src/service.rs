//! The work of the service, whatever asks for it: each file is one subject, all on one [`Auth`].

pub mod account;
pub mod clients;
pub mod directory;
pub mod error;
pub mod failed_logins;
pub mod hasher;
pub mod identity;
pub mod login;
pub mod mail;
pub mod passwords;
pub mod refresh;
pub mod signup;

use std::sync::Arc;

use crate::cache::link::RedisLink;
use crate::cache::single_flight::SingleFlight;
use crate::cache::{Cache, Key};
use crate::metrics::Metrics;
use crate::person::{Session, User};
use crate::service::error::ServiceError;
use crate::service::failed_logins::FailedLogins;
use crate::service::hasher::Hasher;
use crate::service::mail::Mail;
use crate::settings::{SettingError, Settings};
use crate::store::StoreError;
use crate::store::pool::{Connection, Store};
use crate::token::KeyRing;
use uuid::Uuid;

/// Result of reading a row, shared by everyone who waited for it.
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
    failed_logins: FailedLogins,
    mail: Mail,
    users: SingleFlight<Key, Read<User>>,
    names: SingleFlight<Key, Read<Uuid>>,
    sessions: SingleFlight<Key, Read<Session>>,
}

impl Auth {
    /// Reads the keys; connects to nothing yet. Needs a runtime: the link to Redis mends itself in
    /// the background.
    ///
    /// # Errors
    /// A key or an address cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        let metrics = Arc::new(Metrics::default());
        let link =
            settings.redis_client()?.map(|client| RedisLink::open(client, Arc::clone(&metrics)));
        let hasher = Hasher::new(settings.hashing, Arc::clone(&metrics));
        let hasher = hasher.map_err(|error| SettingError::Hashing(error.to_string()))?;
        Ok(Self {
            store: Store::lazy(&settings.database, settings.pooler, settings.pool),
            cache: Cache::new(link.clone(), Arc::clone(&metrics)),
            keys: settings.key_ring()?,
            failed_logins: FailedLogins::new(link, settings.pair, settings.account)?,
            mail: Mail::new(settings.mail_dir.clone()),
            hasher,
            metrics,
            settings,
            users: SingleFlight::default(),
            names: SingleFlight::default(),
            sessions: SingleFlight::default(),
        })
    }

    /// Commits a write and makes it visible: tombstones over what it changes before and after.
    async fn commit(&self, transaction: Connection, changed: &[Key]) -> Result<(), StoreError> {
        self.cache.invalidate_early(changed).await;
        let done = transaction.commit().await;
        // Also when the response to the commit was lost: it may have happened.
        self.cache.invalidate(changed).await;
        done
    }
}

/// Runs work to its end also when the client leaves: between a commit and its tombstones nothing
/// may stop it.
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
