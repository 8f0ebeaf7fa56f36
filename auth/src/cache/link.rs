//! One connection to Redis with a breaker. The first failure opens it: until Redis answers again, and every tombstone that could
//! not be set has been set, nobody asks Redis anything. So a dead Redis costs one request one deadline, not each of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult};
use tokio::sync::Notify;

use crate::cache::{FORGOTTEN, tombstones};
use crate::metrics::Metrics;

/// An operation may take so long.
const OPERATION: Duration = Duration::from_millis(75);

/// An attempt to connect may take so long.
const CONNECT: Duration = Duration::from_millis(500);

/// Between attempts, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// So many tombstones may be owed by name; beyond it Redis is left alone until it has forgotten everything.
const OWED_MAX: usize = 10_000;

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    owed: HashSet<String>,
    quiet_until: Option<Instant>,
}

struct Inner {
    client: Client,
    state: Mutex<State>,
    broken: Notify,
    metrics: Arc<Metrics>,
}

/// A link that mends itself.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link(up: {})", self.is_up())
    }
}

impl Link {
    /// A link to `url`. Connects in the background, so a start does not need Redis.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn open(url: &str, metrics: Arc<Metrics>) -> RedisResult<Self> {
        let inner = Inner { client: Client::open(url)?, state: Mutex::default(), broken: Notify::new(), metrics };
        let link = Self(Arc::new(inner));
        tokio::spawn(mend(Arc::downgrade(&link.0)));
        Ok(link)
    }

    /// Whether Redis is in use right now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.state().connection.is_some()
    }

    /// Runs one command; nothing when Redis is away, slow or refuses.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        self.with(async |mut connection| command.query_async(&mut connection).await).await
    }

    /// Runs any operation; nothing when Redis is away, slow or refuses.
    pub async fn with<T>(&self, operation: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>) -> Option<T> {
        let connection = self.0.state().connection.clone()?;
        match operation(connection).await {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.open_breaker(&error, &[]);
                None
            }
        }
    }

    /// Sets tombstones now, or owes them. The link counts as down from the moment one is owed.
    pub async fn bury(&self, keys: &[String]) {
        let connection = {
            let mut state = self.0.state();
            let connection = state.connection.clone();
            if connection.is_none() {
                state.owe(keys);
            }
            connection
        };
        let Some(mut connection) = connection else { return };
        if let Err(error) = tombstones(keys).exec_async(&mut connection).await {
            self.0.open_breaker(&error, keys);
        }
    }
}

impl State {
    fn owe(&mut self, keys: &[String]) {
        self.owed.extend(keys.iter().cloned());
        if self.owed.len() > OWED_MAX {
            self.owed.clear();
            self.quiet_until = Some(Instant::now() + FORGOTTEN);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_breaker(&self, error: &redis::RedisError, owed: &[String]) {
        let was_up = {
            let mut state = self.state();
            state.owe(owed);
            state.connection.take().is_some()
        };
        if was_up {
            self.metrics.redis_up.set(0);
            tracing::warn!(%error, "redis is away; reading from the database");
        }
        self.broken.notify_one();
    }

    /// Connects and pays what is owed; true when the link is up again.
    async fn try_mend(&self) -> RedisResult<bool> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(OPERATION));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.req_packed_command(&redis::cmd("PING")).await?;
        loop {
            let owed: Vec<String> = {
                let mut state = self.state();
                if state.quiet_until.is_some_and(|until| Instant::now() < until) {
                    return Ok(false);
                }
                if state.owed.is_empty() {
                    state.connection = Some(connection);
                    return Ok(true);
                }
                state.owed.iter().take(500).cloned().collect()
            };
            tombstones(&owed).exec_async(&mut connection).await?;
            let mut state = self.state();
            state.owed.retain(|key| !owed.contains(key));
        }
    }
}

/// Mends the link whenever it breaks, until nobody holds it.
async fn mend(link: std::sync::Weak<Inner>) {
    let mut pause = RETRY.0;
    loop {
        let Some(inner) = link.upgrade() else { return };
        if inner.state().connection.is_some() {
            // Wakes now and then to see whether the link is still wanted.
            let _ = tokio::time::timeout(RETRY.1, inner.broken.notified()).await;
            continue;
        }
        match inner.try_mend().await {
            Ok(true) => {
                inner.metrics.redis_up.set(1);
                tracing::info!("redis is in use");
                pause = RETRY.0;
                continue;
            }
            Ok(false) => pause = RETRY.1,
            Err(error) => tracing::debug!(%error, "redis is still away"),
        }
        drop(inner);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}
