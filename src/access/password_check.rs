//! Verification of passwords beside the worker: one hash at a time on a thread of its own, with a
//! bounded number of requests that wait for it, and a short memory of what was verified.
//!
//! Guarantees: the memory has a digest of the hash and the password under a random key. So an entry
//! counts for this very hash only, and a changed file, a removed user or another password is never
//! taken for what was verified. A failed verification is never remembered.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    expiring_map::ExpiringMap,
    keyed_digest::{DigestKey, NoRandomness},
    users::Users,
};

/// Hashes that a worker computes at the same time. There is a worker for each core.
const HASHES: usize = 1;
/// Requests of a worker that wait for a hash.
pub const WAITING: usize = 32;
/// Verified passwords that a worker remembers.
pub const REMEMBERED: usize = 1_024;
/// Time for which a verified password is remembered.
pub const REMEMBER: Duration = Duration::from_secs(60);

/// Verifier of passwords of one worker.
pub struct PasswordCheck {
    key: DigestKey,
    verified: RefCell<ExpiringMap<()>>,
    queue: Rc<HashQueue>,
}

/// Permits for hashes, and the requests that wait for one.
struct HashQueue {
    permits: Arc<Semaphore>,
    waiting: Cell<usize>,
}

/// Reason why a password was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Too many requests wait for a hash.
    #[error("{WAITING} requests of this worker wait for a password to be verified")]
    Busy,
    /// The thread of the hash failed.
    #[error("the thread of a password hash failed")]
    Failed,
}

/// Place among the requests that wait, given back on drop.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a Cell<usize>) -> Result<Self, CheckError> {
        if waiting.get() >= WAITING {
            return Err(CheckError::Busy);
        }
        waiting.set(waiting.get() + 1);
        Ok(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl PasswordCheck {
    /// Creates a verifier that remembers nothing. The hashes of the one before still count, or each
    /// reload would allow as many again.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(before: Option<&Self>) -> Result<Self, NoRandomness> {
        let permits = || Arc::new(Semaphore::new(HASHES));
        let queue = || Rc::new(HashQueue { permits: permits(), waiting: Cell::default() });
        Ok(Self {
            key: DigestKey::random()?,
            verified: RefCell::new(ExpiringMap::with_room(REMEMBERED)),
            queue: before.map_or_else(queue, |before| Rc::clone(&before.queue)),
        })
    }

    /// Returns true if the user is there and has this password.
    ///
    /// # Errors
    /// When too many requests wait, or the thread failed.
    pub async fn verify(
        &self,
        users: &Arc<Users>,
        name: &str,
        password: &str,
    ) -> Result<bool, CheckError> {
        let Some(candidate) = users.candidate(name) else { return Ok(false) };
        let digest = self.key.digest(&[candidate.hash.as_bytes(), password.as_bytes()]);
        // An unknown name is never remembered, so it does not profit from another user's password.
        let is_remembered =
            || candidate.is_known && self.verified.borrow().get(&digest, Instant::now()).is_some();
        if is_remembered() {
            return Ok(true);
        }
        let place = Waiting::enter(&self.queue.waiting)?;
        let permit = Arc::clone(&self.queue.permits).acquire_owned().await;
        drop(place);
        let permit = permit.map_err(|_| CheckError::Failed)?;
        // A browser sends many requests together: one hash serves all of them.
        if is_remembered() {
            return Ok(true);
        }
        let (hash, password) = (candidate.hash.clone(), password.to_owned());
        let hashed = tokio::task::spawn_blocking(move || {
            // Held by the thread: it still computes after the client has left.
            let _permit = permit;
            hash.verifies(password.as_bytes())
        });
        let is_verified = hashed.await.map_err(|_| CheckError::Failed)? && candidate.is_known;
        if is_verified {
            let now = Instant::now();
            self.verified.borrow_mut().insert(digest, (), now + REMEMBER, now);
        }
        Ok(is_verified)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use crate::access::password_check::*;

    const FILE: &str = "ada:$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/\n";

    fn users(file: &str) -> Arc<Users> {
        Arc::new(Users::parse(file).expect("users"))
    }

    fn check() -> PasswordCheck {
        PasswordCheck::new(None).expect("random numbers")
    }

    #[tokio::test]
    async fn password_is_verified_for_its_user_only() {
        let (check, users) = (check(), users(FILE));
        for _ in 0..2 {
            assert_eq!(check.verify(&users, "ada", "secret").await, Ok(true));
            assert_eq!(check.verify(&users, "ada", "Secret").await, Ok(false));
            assert_eq!(check.verify(&users, "bob", "secret").await, Ok(false));
        }
        let nobody = Arc::new(Users::default());
        assert_eq!(check.verify(&nobody, "ada", "secret").await, Ok(false));
    }

    #[tokio::test]
    async fn changed_hash_is_not_remembered() {
        let check = check();
        assert_eq!(check.verify(&users(FILE), "ada", "secret").await, Ok(true));
        let changed = users("ada:$apr1$12345678$zbBEMgfXu4mAHPrplrtNt.\n");
        assert_eq!(check.verify(&changed, "ada", "secret").await, Ok(false));
        assert_eq!(check.verify(&changed, "ada", "x").await, Ok(true));
    }

    #[tokio::test]
    async fn waiting_requests_are_bounded_and_places_come_back() {
        let (check, users) = (check(), users(FILE));
        let asking = (0..WAITING + 5).map(|number| {
            let (check, users) = (&check, &users);
            async move { check.verify(users, "ada", &number.to_string()).await }
        });
        let outcomes = join_all(asking).await;
        let busy = outcomes.iter().filter(|it| **it == Err(CheckError::Busy)).count();
        // One has the thread, and as many as may wait.
        assert_eq!((busy, outcomes.len() - busy), (4, WAITING + 1));
        assert_eq!(check.queue.waiting.get(), 0);
        assert_eq!(check.verify(&users, "ada", "secret").await, Ok(true));
    }

    #[tokio::test]
    async fn client_that_leaves_gives_its_place_back() {
        let (check, users) = (check(), users(FILE));
        let held = Arc::clone(&check.queue.permits).acquire_owned().await;
        let mut waiting = Box::pin(check.verify(&users, "ada", "secret"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(check.queue.waiting.get(), 1);
        drop(waiting);
        assert_eq!(check.queue.waiting.get(), 0);
        drop(held);
        assert_eq!(check.verify(&users, "ada", "secret").await, Ok(true));
    }
}
