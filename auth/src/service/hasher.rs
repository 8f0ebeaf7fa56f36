//! Password hashing that cannot exhaust the machine: a bounded number runs, in memory set aside for
//! it, a bounded number waits, and the rest is refused. A permit is the memory of one hash.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::argon::{Argon, PasswordMatch};
use crate::metrics::Metrics;
use crate::password::Password;
use crate::service::error::ServiceError;
use crate::settings::Hashing;

/// Longest wait for a permit.
const PATIENCE: Duration = Duration::from_secs(5);

/// argon2id behind permits.
#[derive(Debug)]
pub struct Hasher {
    argon: Argon,
    /// The hash of no password: an unknown user costs as much as a known one.
    dummy: String,
    places: Arc<Semaphore>,
    permits: Arc<Semaphore>,
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    metrics: Arc<Metrics>,
}

/// A right to wait for a permit. Who has none has not touched the database either.
#[must_use]
pub struct Queued<'a> {
    hasher: &'a Hasher,
    _place: OwnedSemaphorePermit,
}

/// A permit: held by the hashing itself, so that a client who leaves does not let one more in.
#[must_use]
pub struct HashPermit<'a> {
    hasher: &'a Hasher,
    permit: Lease,
}

/// The memory of one hash, given back when dropped.
struct Lease {
    memory: Vec<Block>,
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Hasher {
    /// With these parameters and permits.
    ///
    /// # Errors
    /// argon2 does not take the parameters.
    pub fn new(
        hashing: Hashing,
        metrics: Arc<Metrics>,
    ) -> Result<Self, argon2::password_hash::Error> {
        let argon = Argon::new(hashing.memory_kib, hashing.passes)?;
        let mut memory = argon.memory();
        Ok(Self {
            dummy: argon.hash(b"", &mut memory)?,
            argon,
            // A place is held to the end of the work, so those that run count too.
            places: Arc::new(Semaphore::new(hashing.permits + hashing.waiting)),
            permits: Arc::new(Semaphore::new(hashing.permits)),
            memories: Arc::new(Mutex::new(vec![memory])),
            metrics,
        })
    }

    /// Takes a place in the queue, if one is free now.
    ///
    /// # Errors
    /// [`ServiceError::Busy`]: the queue is full.
    pub fn enqueue(&self) -> Result<Queued<'_>, ServiceError> {
        // Waiting here would be a second queue, and one without a bound.
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| ServiceError::Busy { retry_after_s: 2 })?;
        self.metrics.hashing.inc();
        Ok(Queued { hasher: self, _place: place })
    }

    /// There are never more memories than permits: one is made only while its permit is held.
    fn lend(&self, permit: OwnedSemaphorePermit) -> Lease {
        let lent = self.memories.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = lent.unwrap_or_else(|| self.argon.memory());
        Lease { memory, memories: Arc::clone(&self.memories), _permit: permit }
    }
}

impl Queued<'_> {
    /// Waits for a permit.
    ///
    /// # Errors
    /// [`ServiceError::Busy`]: none came in time.
    pub async fn permit(&self) -> Result<HashPermit<'_>, ServiceError> {
        let permit = Arc::clone(&self.hasher.permits).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => {
                Ok(HashPermit { hasher: self.hasher, permit: self.hasher.lend(permit) })
            }
            Ok(Err(_)) | Err(_) => Err(ServiceError::Busy { retry_after_s: PATIENCE.as_secs() }),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.hasher.metrics.hashing.dec();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // This runs before the fields are dropped, so the next holder of the permit finds the
        // memory.
        let memory = std::mem::take(&mut self.memory);
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

impl HashPermit<'_> {
    /// Compares a password with a hash, or with none in the same time.
    ///
    /// # Errors
    /// The hashing broke.
    pub async fn verify(
        self,
        password: &Password,
        hash: Option<&str>,
    ) -> Result<(PasswordMatch, Self), ServiceError> {
        let known = hash.is_some();
        let argon = self.hasher.argon.clone();
        let password = password.clone();
        let hash = hash.unwrap_or(&self.hasher.dummy).to_owned();
        let compare = move |memory: &mut Vec<Block>| argon.compare(password.bytes(), &hash, memory);
        let (verdict, permit) = self.blocking(compare).await?;
        // A match with the dummy is no match: anyone can send the password it was made of.
        Ok((if known { verdict } else { PasswordMatch::Wrong }, permit))
    }

    /// Hashes a password for keeping.
    ///
    /// # Errors
    /// The hashing broke.
    pub async fn hash(self, password: &Password) -> Result<String, ServiceError> {
        let argon = self.hasher.argon.clone();
        let password = password.clone();
        let (hash, _turn) =
            self.blocking(move |memory| argon.hash(password.bytes(), memory)).await?;
        hash.map_err(ServiceError::internal("hashing a password"))
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<(T, Self), ServiceError> {
        let Self { hasher, mut permit } = self;
        let done = tokio::task::spawn_blocking(move || (work(&mut permit.memory), permit)).await;
        let (value, permit) = done.map_err(ServiceError::internal("the hashing thread"))?;
        Ok((value, Self { hasher, permit }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Hasher;
    use crate::argon::PasswordMatch;
    use crate::metrics::Metrics;
    use crate::password::Password;
    use crate::service::error::ServiceError;
    use crate::settings::Hashing;

    fn hasher(passes: u32) -> Hasher {
        let hashing = Hashing { memory_kib: 8, passes, permits: 1, waiting: 1 };
        Hasher::new(hashing, Arc::new(Metrics::default())).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::presented(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn right_wrong_unknown_and_outdated() {
        let (today, tomorrow) = (hasher(1), hasher(2));
        let hash = today
            .enqueue()
            .unwrap()
            .permit()
            .await
            .unwrap()
            .hash(&password("correct horse"))
            .await
            .unwrap();
        let verdict = async |hasher: &Hasher, text: &str, hash: Option<&str>| {
            hasher
                .enqueue()
                .unwrap()
                .permit()
                .await
                .unwrap()
                .verify(&password(text), hash)
                .await
                .unwrap()
                .0
        };
        assert_eq!(verdict(&today, "correct horse", Some(&hash)).await, PasswordMatch::Match);
        assert_eq!(verdict(&tomorrow, "correct horse", Some(&hash)).await, PasswordMatch::Outdated);
        assert_eq!(verdict(&today, "wrong", Some(&hash)).await, PasswordMatch::Wrong);
        assert_eq!(verdict(&today, "", None).await, PasswordMatch::Wrong);
    }

    #[test]
    fn hash_permit_is_kept_until_the_hash_is_done_when_the_client_leaves() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let hasher = hasher(1);
            let (begin, wait) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let queued = hasher.enqueue().unwrap();
            {
                let (permit, typed) = (queued.permit().await.unwrap(), password("correct horse"));
                let mut verify = std::pin::pin!(permit.verify(&typed, None));
                let poll = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(verify.as_mut().poll(context).is_pending())
                });
                assert!(poll.await, "it waits for a thread");
            }
            assert_eq!(hasher.permits.available_permits(), 0);
            drop(begin);
            assert!(busy.await.unwrap().is_err());
            drop(hasher.permits.acquire().await.unwrap());
        });
    }

    #[tokio::test]
    async fn hash_queue_lets_one_hash_one_wait_and_refuses_the_third() {
        let hasher = hasher(1);
        let first = hasher.enqueue().unwrap();
        let _turn = first.permit().await.unwrap();
        let second = hasher.enqueue().unwrap();
        assert!(matches!(hasher.enqueue().map(drop), Err(ServiceError::Busy { .. })));
        drop(second);
        assert!(hasher.enqueue().is_ok());
    }
}
