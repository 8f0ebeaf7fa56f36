//! One connection to Redis with a breaker. The first failure opens it: until Redis responds again,
//! and every tombstone that could not be set has been set, no request asks Redis anything. So a dead
//! Redis costs one request one deadline, not each of them.
//!
//! Another replica may still read from a Redis that only this one lost for a moment. So a write
//! whose tombstone failed waits until it was set over a new connection, or until a new connection
//! failed too: then Redis is away for all.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult};
use tokio::sync::Notify;

use crate::cache::tombstone::{ALL_EXPIRED, tombstones};
use crate::metrics::Metrics;

/// An operation may take so long.
const OPERATION: Duration = Duration::from_millis(100);

/// An attempt to connect may take so long, and so a write that waits for it.
const CONNECT: Duration = Duration::from_millis(500);

/// Between attempts, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// After an outage nothing is read from Redis for so long: the other replicas find it again
/// meanwhile and pay what they owe.
const SETTLE: Duration = Duration::from_millis(1500);

/// So many tombstones may be deferred by name; beyond it Redis is left alone until it has forgotten
/// everything.
const DEFERRED_MAX: usize = 10_000;

#[derive(Default)]
struct State {
    /// For tombstones, as soon as there is one.
    connection: Option<MultiplexedConnection>,
    /// For reads too.
    reads: bool,
    /// Number of the connection: an error of an old one says nothing about the present one.
    number: u64,
    /// A new connection failed too.
    is_down: bool,
    was_down: bool,
    deferred: HashSet<String>,
    quiet_until: Option<Instant>,
}

struct Inner {
    client: Client,
    state: Mutex<State>,
    broken: Notify,
    tried: Notify,
    metrics: Arc<Metrics>,
}

/// A link that mends itself.
#[derive(Clone)]
pub struct RedisLink(Arc<Inner>);

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisLink(up: {})", self.is_up())
    }
}

impl RedisLink {
    /// A link to where `client` goes. Connects in the background, so a start does not need Redis.
    #[must_use]
    pub fn open(client: Client, metrics: Arc<Metrics>) -> Self {
        let broken = Notify::new();
        let tried = Notify::new();
        let inner = Inner { client, state: Mutex::default(), broken, tried, metrics };
        let link = Self(Arc::new(inner));
        tokio::spawn(reconnect(Arc::downgrade(&link.0)));
        link
    }

    /// Returns whether Redis is in use right now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.state().reads
    }

    /// Runs one command; nothing when Redis is away, slow or refuses.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        self.with(async |mut connection| command.query_async(&mut connection).await).await
    }

    /// Runs any operation; nothing when Redis is away, slow or refuses.
    pub async fn with<T>(
        &self,
        operation: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Option<T> {
        // Read under one lock: with the number of another connection, an error of this one would
        // count for that one.
        let (connection, number) = {
            let state = self.0.state();
            (state.connection.clone().filter(|_| state.reads)?, state.number)
        };
        match operation(connection).await {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.open_breaker(&error, Some(number), &[]);
                None
            }
        }
    }

    /// Sets tombstones, or owes them when Redis is away. Waits until it is known which.
    pub async fn invalidate(&self, keys: &[String]) {
        if !self.set_tombstones(keys).await {
            let _ =
                // deferred all the same
                tokio::time::timeout(CONNECT + 2 * OPERATION, self.0.settled_or_down(keys)).await;
        }
    }

    /// Sets tombstones, or defers them; false when they are deferred.
    pub async fn set_tombstones(&self, keys: &[String]) -> bool {
        // The look and the note are one step under the lock. `try_reconnect` publishes a connection
        // only while nothing is deferred, so no key is lost between the two.
        let connection = {
            let mut state = self.0.state();
            let connection = state.connection.clone();
            if connection.is_none() {
                state.defer(keys);
            }
            connection
        };
        let Some(mut connection) = connection else { return false };
        match tombstones(keys).exec_async(&mut connection).await {
            Ok(()) => true,
            Err(error) => {
                // Without a number: whichever connection failed, these keys have no tombstones.
                self.0.open_breaker(&error, None, keys);
                false
            }
        }
    }
}

impl State {
    fn defer(&mut self, keys: &[String]) {
        self.deferred.extend(keys.iter().cloned());
        // After `ALL_EXPIRED` no row of before is left in Redis, so the names are not needed any
        // more.
        if self.deferred.len() > DEFERRED_MAX {
            self.deferred.clear();
            self.quiet_until = Some(Instant::now() + ALL_EXPIRED);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_breaker(&self, error: &redis::RedisError, number: Option<u64>, deferred: &[String]) {
        let was_up = {
            let mut state = self.state();
            // Only reads pass a number, and they defer nothing.
            if number.is_some_and(|number| number != state.number) {
                return;
            }
            state.defer(deferred);
            state.was_down = true;
            state.connection = None;
            // Many operations fail together, and only the first of them reports it.
            std::mem::take(&mut state.reads)
        };
        if was_up {
            self.metrics.redis_up.set(0);
            tracing::warn!(%error, "redis is away; reading from the database");
        }
        // `notify_one` keeps a permit for a task that does not wait yet, so this is not lost.
        self.broken.notify_one();
    }

    fn serves_reads(&self) -> bool {
        self.state().reads
    }

    async fn settled_or_down(&self, keys: &[String]) {
        loop {
            // Made before the look: `notify_waiters` reaches only those that exist already.
            let tried = self.tried.notified();
            {
                let state = self.state();
                if state.is_down || !keys.iter().any(|key| state.deferred.contains(key)) {
                    return;
                }
            }
            tried.await;
        }
    }

    /// Connects, sets what is deferred, and lets the other replicas do so before anything is read;
    /// true when the link is up.
    async fn try_reconnect(&self) -> RedisResult<bool> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(OPERATION));
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // An accepted connection does not prove that Redis works.
        connection.req_packed_command(&redis::cmd("PING")).await?;
        let number = loop {
            self.set_deferred(&mut connection).await?;
            let mut state = self.state();
            // No tombstone can become due between this look and the connection being there: both are
            // under the lock.
            if state.deferred.is_empty() {
                state.connection = Some(connection);
                state.is_down = false;
                state.number += 1;
                break state.number;
            }
        };
        self.tried.notify_waiters();
        if self.state().was_down {
            tokio::time::sleep(SETTLE).await;
        }
        loop {
            let quiet = {
                let mut state = self.state();
                // The connection broke during the wait. The caller starts from the beginning.
                if state.number != number || state.connection.is_none() {
                    return Ok(false);
                }
                let quiet = state
                    .quiet_until
                    .and_then(|until| until.checked_duration_since(Instant::now()));
                state.reads = quiet.is_none();
                quiet
            };
            let Some(quiet) = quiet else { return Ok(true) };
            tokio::time::sleep(quiet).await;
        }
    }

    async fn set_deferred(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        loop {
            // In batches, which bound the time under the lock and the size of a pipeline.
            let deferred: Vec<String> = self.state().deferred.iter().take(500).cloned().collect();
            if deferred.is_empty() {
                return Ok(());
            }
            tombstones(&deferred).exec_async(connection).await?;
            // Removed only now: had the pipeline failed, the keys would still be deferred.
            let mut state = self.state();
            for key in &deferred {
                state.deferred.remove(key);
            }
        }
    }
}

/// Mends the link whenever it breaks, until its last holder is dropped.
async fn reconnect(link: std::sync::Weak<Inner>) {
    let mut pause = RETRY.0;
    loop {
        let Some(inner) = link.upgrade() else { return };
        if inner.serves_reads() {
            // Wakes now and then to see whether the link is still wanted.
            let _ = tokio::time::timeout(RETRY.1, inner.broken.notified()).await;
            continue;
        }
        match inner.try_reconnect().await {
            Ok(true) => {
                inner.metrics.redis_up.set(1);
                tracing::info!("redis is in use");
                pause = RETRY.0;
                continue;
            }
            Ok(false) => continue,
            Err(error) => {
                tracing::debug!(%error, "redis is still away");
                // Writes that wait for a new connection stop waiting: Redis is away for all
                // replicas.
                inner.state().is_down = true;
                inner.tried.notify_waiters();
            }
        }
        // Not held during the pause, or the link would outlive its last user.
        drop(inner);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}
