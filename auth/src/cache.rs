//! Redis before Postgres. What a read returns is never older than the last write that got its
//! response before the read began:
//! - a write puts a tombstone over each key it changes, just before and just after it commits; a
//!   reader that began earlier
//!   cannot fill a key that holds a tombstone, and a tombstone outlives every such reader;
//! - a tombstone that could not be set is deferred: until all are set this process reads from
//!   Postgres alone (`link.rs`);
//! - readers of one key share one query, but only one that began after they came
//!   (`single_flight.rs`).

pub mod failed_logins;
pub mod link;
pub mod single_flight;
mod tombstone;

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::cache::link::RedisLink;
use crate::cache::tombstone::{JITTER_MS, TOMBSTONE, TTL_MS};
use crate::metrics::Metrics;

/// A row read longer ago than this is not put into the cache any more.
const FILL: Duration = Duration::from_secs(3);

/// Row that is cached, by its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A person by id.
    User(Uuid),
    /// A person's id by name, in lower case.
    Name(String),
    /// A live session.
    Session(Uuid),
}

impl Key {
    /// The word for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Name(_) => "name",
            Self::Session(_) => "session",
        }
    }

    /// As Redis knows it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::User(id) => format!("auth:user:{id}"),
            Self::Name(name) => format!("auth:name:{name}"),
            Self::Session(id) => format!("auth:session:{id}"),
        }
    }
}

/// Result of a lookup in the cache.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The row's JSON.
    Hit(String),
    /// Nothing: read the row and fill it in.
    Miss,
    /// Nothing to rely on: read the row and leave the cache alone.
    Bypass,
}

/// The cache of this process.
#[derive(Debug, Clone)]
pub struct Cache {
    link: Option<RedisLink>,
    metrics: Arc<Metrics>,
}

impl Cache {
    /// Over a link to Redis, or none: then every lookup is a bypass.
    #[must_use]
    pub fn new(link: Option<RedisLink>, metrics: Arc<Metrics>) -> Self {
        Self { link, metrics }
    }

    /// Returns whether Redis is in use right now; `None` when none is configured.
    #[must_use]
    pub fn is_up(&self) -> Option<bool> {
        self.link.as_ref().map(RedisLink::is_up)
    }

    /// Asks for a row.
    pub async fn lookup(&self, key: &Key) -> Lookup {
        let found = match &self.link {
            None => None,
            Some(link) => link.run(redis::cmd("GET").arg(key.text())).await,
        };
        let (look, outcome) = match found {
            None => (Lookup::Bypass, "away"),
            Some(None::<String>) => (Lookup::Miss, "miss"),
            // Not a miss: the row that is read now may be the one before a commit, and must not be
            // filled in.
            Some(Some(value)) if value == TOMBSTONE => (Lookup::Bypass, "written"),
            Some(Some(value)) => (Lookup::Hit(value), "hit"),
        };
        self.metrics.read(key.kind(), outcome);
        tracing::debug!(kind = key.kind(), outcome, "cache read");
        look
    }

    /// Puts a row whose reading began at `began`, unless the key holds something or the row may be
    /// old.
    pub async fn fill(&self, key: &Key, json: &str, began: Instant) {
        let Some(link) = &self.link else { return };
        // An older read may have missed the whole life of a tombstone (`TOMBSTONE_MS`).
        if began.elapsed() > FILL {
            return;
        }
        let mut set = redis::cmd("SET");
        // `NX`, so that a tombstone that was set meanwhile stays.
        set.arg(key.text()).arg(json).arg("NX").arg("PX").arg(TTL_MS + jitter_ms());
        // not filled is a miss next time, no more
        let _: Option<Option<String>> = link.run(&set).await;
    }

    /// Puts tombstones just before a write to these rows commits. Does not wait for Redis to come
    /// back: the write holds locks.
    pub async fn invalidate_early(&self, keys: &[Key]) {
        if let (Some(link), false) = (&self.link, keys.is_empty()) {
            let keys: Vec<String> = keys.iter().map(Key::text).collect();
            // what failed is deferred, and put again after the commit
            let _ = link.set_tombstones(&keys).await;
        }
    }

    /// Puts tombstones just after the commit; from then on no reader gets what was there before.
    pub async fn invalidate(&self, keys: &[Key]) {
        if let (Some(link), false) = (&self.link, keys.is_empty()) {
            let keys: Vec<String> = keys.iter().map(Key::text).collect();
            link.invalidate(&keys).await;
        }
    }
}

/// Spread enough for expiry; not a secret.
fn jitter_ms() -> u64 {
    Uuid::now_v7().as_u64_pair().1 % JITTER_MS
}
