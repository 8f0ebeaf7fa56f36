//! Password hashing that cannot exhaust the machine: so many at once, so many waiting, the rest are told to come back.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;
use crate::password::Password;
use crate::problem::Problem;
use crate::settings::Hashing;

/// Nobody waits longer for a permit.
const PATIENCE: Duration = Duration::from_secs(5);

/// argon2id behind permits.
#[derive(Debug)]
pub struct Hasher {
    argon: Argon2<'static>,
    /// The hash of no password: an unknown user costs as much as a known one.
    dummy: String,
    places: Arc<Semaphore>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A right to wait for a permit. Who has none has not touched the database either.
#[must_use]
pub struct Place<'a> {
    hasher: &'a Hasher,
    _place: OwnedSemaphorePermit,
}

/// A permit: held by the hashing itself, so that a client who leaves does not let one more in.
#[must_use]
pub struct Turn<'a> {
    hasher: &'a Hasher,
    permit: OwnedSemaphorePermit,
}

/// What came of comparing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Match,
    /// It is, and its hash was made with other parameters than today's.
    Outdated,
    /// It is not, or there is no such user.
    Wrong,
}

impl Hasher {
    /// With these parameters and permits.
    ///
    /// # Errors
    /// argon2 does not take the parameters.
    pub fn new(hashing: Hashing, metrics: Arc<Metrics>) -> Result<Self, argon2::password_hash::Error> {
        let params = Params::new(hashing.memory_kib, hashing.passes, 1, None)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self {
            dummy: argon.hash_password(b"")?.to_string(),
            argon,
            places: Arc::new(Semaphore::new(hashing.permits + hashing.waiting)),
            permits: Arc::new(Semaphore::new(hashing.permits)),
            metrics,
        })
    }

    /// A place in the queue, at once or not at all.
    ///
    /// # Errors
    /// 503: the queue is full.
    pub fn place(&self) -> Result<Place<'_>, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::busy(2))?;
        self.metrics.hashing.inc();
        Ok(Place { hasher: self, _place: place })
    }
}

impl Place<'_> {
    /// Waits for a permit.
    ///
    /// # Errors
    /// 503: none came in time.
    pub async fn turn(&self) -> Result<Turn<'_>, Problem> {
        let permit = Arc::clone(&self.hasher.permits).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(Turn { hasher: self.hasher, permit }),
            Ok(Err(_)) | Err(_) => Err(Problem::busy(PATIENCE.as_secs())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.hasher.metrics.hashing.dec();
    }
}

impl Turn<'_> {
    /// Compares a password with a hash, or with none in the same time.
    ///
    /// # Errors
    /// 500: the hashing broke.
    pub async fn verify(self, password: &Password, hash: Option<&str>) -> Result<(Verdict, Self), Problem> {
        let known = hash.is_some();
        let (argon, password) = (self.hasher.argon.clone(), password.clone());
        let hash = hash.unwrap_or(&self.hasher.dummy).to_owned();
        let (verdict, turn) = self.blocking(move || compare(&argon, &password, &hash)).await?;
        Ok((if known { verdict } else { Verdict::Wrong }, turn))
    }

    /// Hashes a password for keeping.
    ///
    /// # Errors
    /// 500: the hashing broke.
    pub async fn hash(self, password: &Password) -> Result<String, Problem> {
        let (argon, password) = (self.hasher.argon.clone(), password.clone());
        let (hash, _turn) = self.blocking(move || argon.hash_password(password.bytes()).map(|hash| hash.to_string())).await?;
        hash.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Problem::internal()
        })
    }

    async fn blocking<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<(T, Self), Problem> {
        let Self { hasher, permit } = self;
        let done = tokio::task::spawn_blocking(move || (work(), permit)).await;
        let (value, permit) = done.map_err(|error| {
            tracing::error!(%error, "the hashing broke");
            Problem::internal()
        })?;
        Ok((value, Self { hasher, permit }))
    }
}

fn compare(argon: &Argon2<'_>, password: &Password, hash: &str) -> Verdict {
    let Ok(parsed) = PasswordHash::new(hash) else { return Verdict::Wrong };
    if argon.verify_password(password.bytes(), &parsed).is_err() {
        return Verdict::Wrong;
    }
    let today = Params::try_from(&parsed).is_ok_and(|params| {
        let now = argon.params();
        (params.m_cost(), params.t_cost(), params.p_cost()) == (now.m_cost(), now.t_cost(), now.p_cost())
    });
    if today { Verdict::Match } else { Verdict::Outdated }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Hasher, Verdict};
    use crate::metrics::Metrics;
    use crate::password::Password;
    use crate::settings::Hashing;

    fn hasher(passes: u32) -> Hasher {
        let hashing = Hashing { memory_kib: 8, passes, permits: 1, waiting: 1 };
        Hasher::new(hashing, Arc::new(Metrics::default())).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::presented("password", text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn right_wrong_unknown_and_outdated() {
        let (today, tomorrow) = (hasher(1), hasher(2));
        let hash = today.place().unwrap().turn().await.unwrap().hash(&password("correct horse")).await.unwrap();
        let verdict = async |hasher: &Hasher, text: &str, hash: Option<&str>| {
            hasher.place().unwrap().turn().await.unwrap().verify(&password(text), hash).await.unwrap().0
        };
        assert_eq!(verdict(&today, "correct horse", Some(&hash)).await, Verdict::Match);
        assert_eq!(verdict(&tomorrow, "correct horse", Some(&hash)).await, Verdict::Outdated);
        assert_eq!(verdict(&today, "wrong", Some(&hash)).await, Verdict::Wrong);
        assert_eq!(verdict(&today, "", None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn one_hashes_one_waits_and_the_third_is_told_to_come_back() {
        let hasher = hasher(1);
        let first = hasher.place().unwrap();
        let _turn = first.turn().await.unwrap();
        let second = hasher.place().unwrap();
        assert_eq!(hasher.place().map(drop).unwrap_err().status, 503);
        drop(second);
        assert!(hasher.place().is_ok());
    }
}
