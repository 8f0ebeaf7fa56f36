//! People and sessions by id or name: from the cache, and from Postgres when it has nothing to rely
//! on.

use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::cache::single_flight::SingleFlight;
use crate::cache::{Key, Lookup};
use crate::clock::unix_s;
use crate::cursor::Cursor;
use crate::person::{Session, User};
use crate::service::error::ServiceError;
use crate::service::{Auth, Read};
use crate::store::sessions::{self, Listed};
use crate::store::users;
use crate::text::canonical;

impl Auth {
    /// The person with this id.
    ///
    /// # Errors
    /// The database's.
    pub async fn user(&self, id: Uuid) -> Read<User> {
        let find = || async move { users::by_id(&mut self.store.reader().await?, id).await };
        self.read(&self.users, Key::User(id), |_| true, find).await
    }

    /// The person with this name, in any case. Names never change hands, so the way from name to id
    /// needs no tombstone.
    ///
    /// # Errors
    /// The database's.
    pub async fn user_by_name(&self, name: &str) -> Read<User> {
        let name = canonical(name);
        let find = || async { users::id_by_name(&mut self.store.reader().await?, &name).await };
        let Some(id) = self.read(&self.names, Key::Name(name.clone()), |_| true, find).await?
        else {
            return Ok(None);
        };
        self.user(id).await
    }

    /// A session that is not over.
    ///
    /// # Errors
    /// The database's.
    pub async fn session(&self, id: Uuid) -> Read<Session> {
        // A refresh moves the end of a session without touching the cache: one that looks over is
        // read again.
        let now_s = i64::try_from(unix_s()).unwrap_or(i64::MAX);
        let live = |session: &Session| session.expires_s > now_s;
        let find = || async move { sessions::live(&mut self.store.reader().await?, id).await };
        self.read(&self.sessions, Key::Session(id), live, find).await
    }

    /// Returns a page of people, newest first, and where the next one begins.
    ///
    /// # Errors
    /// The database's.
    pub async fn list_users(
        &self,
        after: Cursor,
        limit: u32,
    ) -> Result<(Vec<User>, Option<Cursor>), ServiceError> {
        Ok(users::page(&mut self.store.reader().await?, after, limit).await?)
    }

    /// Returns a person's live sessions, the last used first.
    ///
    /// # Errors
    /// The database's.
    pub async fn list_sessions(&self, user_id: Uuid) -> Result<Vec<Listed>, ServiceError> {
        Ok(sessions::of_user(&mut self.store.reader().await?, user_id).await?)
    }

    async fn read<T, F>(
        &self,
        queries: &SingleFlight<Key, Read<T>>,
        key: Key,
        good: impl Fn(&T) -> bool,
        query: impl Fn() -> F,
    ) -> Read<T>
    where
        T: Clone + Serialize + DeserializeOwned,
        F: Future<Output = Read<T>>,
    {
        let look = self.cache.lookup(&key).await;
        // JSON of another release may not parse. The row is read then, and the entry expires.
        if let Lookup::Hit(json) = &look
            && let Ok(row) = serde_json::from_str(json)
            && good(&row)
        {
            return Ok(Some(row));
        }
        // After a tombstone the row may be an old one. After a hit the key is taken.
        let fill = look == Lookup::Miss;
        queries.run(&key, async |began| self.query(&key, fill, began, &query).await).await
    }

    /// Runs one query and puts its row into the cache, if it may be.
    async fn query<T, F>(
        &self,
        key: &Key,
        fill: bool,
        began: Instant,
        query: &impl Fn() -> F,
    ) -> Read<T>
    where
        T: Serialize,
        F: Future<Output = Read<T>>,
    {
        let row = query().await?;
        // Absent rows are not cached, so a row that is created needs no tombstone.
        if let (true, Some(row)) = (fill, &row)
            && let Ok(json) = serde_json::to_string(row)
        {
            self.cache.fill(key, &json, began).await;
        }
        Ok(row)
    }
}
