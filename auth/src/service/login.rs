//! Logging in and out. A wrong password and an unknown user take the same way, cost the same and are told the same.

use std::net::IpAddr;

use uuid::Uuid;

use crate::cache::Key;
use crate::clock::unix_s;
use crate::password::Password;
use crate::person::User;
use crate::problem::Problem;
use crate::service::Auth;
use crate::service::hasher::Verdict;
use crate::service::identity::Identity;
use crate::store::audit::{Origin, record};
use crate::store::sessions::{self, NewSession};
use crate::store::users;
use crate::token::opaque::hash;
use crate::token::refresh::Refresh;

/// An attempt to log in.
#[derive(Debug)]
pub struct Login {
    /// A user name or an address.
    pub name: String,
    /// The password as typed.
    pub password: Password,
    /// Where from.
    pub client: IpAddr,
    /// With what.
    pub user_agent: Option<String>,
}

/// What a login or a refresh hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The JWT.
    pub access: String,
    /// The next refresh token.
    pub refresh: String,
}

impl Auth {
    /// Checks the password and opens a session.
    ///
    /// # Errors
    /// 401, 429 after too many failures, 503 when busy.
    pub async fn login(&self, login: &Login, origin: &Origin) -> Result<Tokens, Problem> {
        let done = self.try_login(login, origin).await;
        self.metrics.login(match &done {
            Ok(_) => "granted",
            Err(problem) if problem.status == 401 => "refused",
            Err(problem) if problem.status == 429 => "throttled",
            Err(_) => "busy",
        });
        done
    }

    async fn try_login(&self, login: &Login, origin: &Origin) -> Result<Tokens, Problem> {
        let attempt = self.throttle.attempt(&login.name, login.client);
        self.throttle.look(&attempt).await?;
        let place = self.hasher.place()?;
        let found = users::by_login(self.store.pool(), &login.name).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        let turn = place.turn().await?;
        // Again: those before us in the queue may have failed. From here to the charge only as many run as there are permits.
        self.throttle.look(&attempt).await?;
        let (verdict, turn) = turn.verify(&login.password, hash).await?;
        match found {
            Some((user, old)) if verdict != Verdict::Wrong && !user.disabled => {
                self.throttle.succeeded(&attempt).await;
                if verdict == Verdict::Outdated {
                    let new = turn.hash(&login.password).await?;
                    self.rehash(&user, &old, &new).await?;
                }
                self.open_session(&user, login, origin).await
            }
            found => {
                self.throttle.failed(&attempt).await;
                drop(turn);
                let subject = found.map(|(user, _)| user.id);
                record(self.store.pool(), origin, "login refused", None, subject).await?;
                Err(Problem::wrong_credentials())
            }
        }
    }

    /// Keeps a hash of today's strength, unless the password was changed meanwhile.
    async fn rehash(&self, user: &User, old: &str, new: &str) -> Result<(), Problem> {
        let mut transaction = self.store.pool().begin().await.map_err(crate::store::Error::from)?;
        users::set_password_hash(&mut transaction, user.id, Some(old), new).await?;
        Ok(self.commit(transaction, &[Key::User(user.id)]).await?)
    }

    async fn open_session(&self, user: &User, login: &Login, origin: &Origin) -> Result<Tokens, Problem> {
        let refresh = Refresh { session: Uuid::now_v7(), generation: 0 };
        let token = refresh.mint(&self.keys);
        let new = NewSession {
            id: refresh.session,
            user_id: user.id,
            token_hash: &hash(&token),
            client: login.client,
            user_agent: login.user_agent.as_deref(),
        };
        let mut transaction = self.store.pool().begin().await.map_err(crate::store::Error::from)?;
        let ended = sessions::insert(&mut transaction, &new).await?;
        record(&mut *transaction, origin, "login", Some(user.id), Some(user.id)).await?;
        self.commit(transaction, &keys_of(&ended)).await?;
        Ok(Tokens { access: self.access(user, refresh.session)?, refresh: token })
    }

    /// A new access token for a session.
    pub(super) fn access(&self, user: &User, session: Uuid) -> Result<String, Problem> {
        let claims = self.keys.claims(user.id, session, &user.scopes, unix_s());
        self.keys.sign(&claims).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Problem::internal()
        })
    }

    /// Ends one session of a person; false when it was over already.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_session(&self, user_id: Uuid, id: Uuid, reason: &str, origin: &Origin) -> Result<bool, Problem> {
        let mut transaction = self.store.pool().begin().await.map_err(crate::store::Error::from)?;
        let ended = sessions::revoke(&mut transaction, user_id, id, reason).await?;
        if ended.is_some() {
            record(&mut *transaction, origin, reason, Some(user_id), Some(user_id)).await?;
        }
        self.commit(transaction, &[Key::Session(id)]).await?;
        Ok(ended.is_some())
    }

    /// Ends every session of a person.
    ///
    /// # Errors
    /// The database's.
    pub async fn logout_all(&self, identity: &Identity, origin: &Origin) -> Result<(), Problem> {
        let id = identity.user.id;
        let mut transaction = self.store.pool().begin().await.map_err(crate::store::Error::from)?;
        let ended = sessions::revoke_all(&mut transaction, id, None, "logout all").await?;
        record(&mut *transaction, origin, "logout all", Some(id), Some(id)).await?;
        Ok(self.commit(transaction, &keys_of(&ended)).await?)
    }
}

/// The cache's keys of sessions.
pub(super) fn keys_of(sessions: &[Uuid]) -> Vec<Key> {
    sessions.iter().copied().map(Key::Session).collect()
}
