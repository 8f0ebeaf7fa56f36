//! Logging in and out. A wrong password and an unknown user take the same path, cost the same and
//! get the same response.

use std::net::IpAddr;

use uuid::Uuid;

use crate::argon::PasswordMatch;
use crate::cache::Key;
use crate::clock::unix_s;
use crate::password::Password;
use crate::person::{Session, User};
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::service::failed_logins::Target;
use crate::store::audit::{Origin, record};
use crate::store::sessions::{self, NewSession};
use crate::store::users;
use crate::token::opaque::hash as digest;
use crate::token::refresh::Refresh;

/// An attempt to log in.
#[derive(Debug)]
pub struct Login {
    /// A user name or an address.
    pub name: String,
    /// The password as typed.
    pub password: Password,
    /// Client address.
    pub client: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
}

/// Tokens that a login or a refresh hands out.
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
    /// The credentials are wrong, or were too often; or too many passwords are hashed.
    pub async fn login(&self, login: &Login, origin: &Origin) -> Result<Tokens, ServiceError> {
        let done = self.try_login(login, origin).await;
        let outcome = match &done {
            Ok(_) => "granted",
            Err(ServiceError::WrongCredentials) => "refused",
            Err(ServiceError::TooManyFailures { .. }) => "limited",
            Err(ServiceError::Busy { .. }) => "busy",
            Err(_) => "failed",
        };
        self.metrics.login(outcome);
        tracing::debug!(outcome, "login");
        done
    }

    async fn try_login(&self, login: &Login, origin: &Origin) -> Result<Tokens, ServiceError> {
        // Before the database: a flood of logins is refused here, and costs no query.
        let queued = self.hasher.enqueue()?;
        let found = users::by_login(&mut self.store.connection().await?, &login.name).await?;
        let account = found
            .as_ref()
            .map_or_else(|| Target::Unknown(&login.name), |(user, _)| Target::Known(user.id));
        let attempt = self.failed_logins.attempt(account, login.client);
        // Before a permit is waited for, or attempts without an allowance would fill the queue.
        self.failed_logins.check(&attempt).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        let permit = queued.permit().await?;
        // Again: those before us in the queue may have failed. From here to the charge only as many
        // run as there are permits.
        self.failed_logins.check(&attempt).await?;
        let (verdict, permit) = permit.verify(&login.password, hash).await?;
        match found {
            // A disabled user is looked at after the hash: it costs as much as a wrong password.
            Some((user, mut hash)) if verdict != PasswordMatch::Wrong && !user.disabled => {
                if verdict == PasswordMatch::Outdated {
                    // With the same permit, so that a login never waits in the queue twice.
                    let new = permit.hash(&login.password).await?;
                    // The new session is bound to the hash that is in the row.
                    if self.rehash(&user, &hash, &new).await? {
                        hash = new;
                    }
                }
                let tokens = self.open_session(&user, &hash, login, origin).await?;
                // After the session is open: a login that fails before forgives nothing.
                self.failed_logins.succeeded(&attempt).await;
                Ok(tokens)
            }
            found => {
                // Before the permit is free: the next attempt checks again with a permit, and sees
                // this failure.
                self.failed_logins.failed(&attempt).await;
                // The audit line needs no memory of a hash, and the next login does.
                drop(permit);
                let subject = found.map(|(user, _)| user.id);
                let mut transaction = self.store.begin().await?;
                record(&mut transaction, origin, "login refused", None, subject).await?;
                transaction.commit().await?;
                Err(ServiceError::WrongCredentials)
            }
        }
    }

    /// Keeps a hash of today's strength; false when the password was changed meanwhile.
    async fn rehash(&self, user: &User, old: &str, new: &str) -> Result<bool, ServiceError> {
        let mut transaction = self.store.begin().await?;
        let is_kept = users::set_password_hash(&mut transaction, user.id, Some(old), new).await?;
        self.commit(transaction, &[Key::User(user.id)]).await?;
        Ok(is_kept)
    }

    /// Opens a session for the password that was verified against `hash`. Verifying takes tens of
    /// milliseconds: by now the password may be another one, or its owner disabled.
    async fn open_session(
        &self,
        user: &User,
        hash: &str,
        login: &Login,
        origin: &Origin,
    ) -> Result<Tokens, ServiceError> {
        let refresh = Refresh { session: Uuid::now_v7(), generation: 0 };
        let token = refresh.mint(&self.keys);
        let new = NewSession {
            id: refresh.session,
            user_id: user.id,
            token_hash: &digest(&token),
            client: login.client,
            user_agent: login.user_agent.as_deref(),
        };
        let mut transaction = self.store.begin().await?;
        if !users::hold_credentials(&mut transaction, user.id, hash).await? {
            return Err(ServiceError::WrongCredentials);
        }
        let ended = sessions::insert(&mut transaction, &new).await?;
        record(&mut transaction, origin, "login", Some(user.id), Some(user.id)).await?;
        // Absent rows are not cached, so only the sessions that ended need tombstones.
        self.commit(transaction, &session_keys(&ended)).await?;
        Ok(Tokens { access: self.access(user, refresh.session)?, refresh: token })
    }

    /// A new access token for a session.
    pub(super) fn access(&self, user: &User, session: Uuid) -> Result<String, ServiceError> {
        let claims = self.keys.claims(user.id, session, &user.scopes, unix_s());
        self.keys.sign(&claims).map_err(ServiceError::internal("signing a token"))
    }

    /// Ends one session of a person; false when it was over already.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_session(
        &self,
        user_id: Uuid,
        id: Uuid,
        reason: &str,
        origin: &Origin,
    ) -> Result<bool, ServiceError> {
        let mut transaction = self.store.begin().await?;
        let ended = sessions::revoke(&mut transaction, user_id, id, reason).await?;
        if ended.is_some() {
            record(&mut transaction, origin, reason, Some(user_id), Some(user_id)).await?;
        }
        self.commit(transaction, &[Key::Session(id)]).await?;
        Ok(ended.is_some())
    }

    /// Ends the sessions these tokens belong to, whichever of them are still good.
    ///
    /// # Errors
    /// The database's.
    pub async fn end_sessions(
        &self,
        tokens: &Presented,
        reason: &str,
        origin: &Origin,
    ) -> Result<(), ServiceError> {
        for session in self.sessions_of(tokens).await? {
            self.end_session(session.user_id, session.id, reason, origin).await?;
        }
        Ok(())
    }

    /// Ends every session of the person these tokens belong to.
    ///
    /// # Errors
    /// [`ServiceError::InvalidToken`] when none of them is valid. Or the database's.
    pub async fn logout_all(
        &self,
        tokens: &Presented,
        origin: &Origin,
    ) -> Result<(), ServiceError> {
        let sessions = self.sessions_of(tokens).await?;
        // With tokens of two people, as of a header and a cookie, the access token decides: it is
        // first.
        let id = sessions.first().ok_or(ServiceError::InvalidToken)?.user_id;
        let mut transaction = self.store.begin().await?;
        let ended = sessions::revoke_all(&mut transaction, id, None, "logout all").await?;
        record(&mut transaction, origin, "logout all", Some(id), Some(id)).await?;
        Ok(self.commit(transaction, &session_keys(&ended)).await?)
    }

    /// The live sessions that tokens belong to, each once.
    async fn sessions_of(&self, tokens: &Presented) -> Result<Vec<Session>, ServiceError> {
        let mut found = Vec::with_capacity(2);
        if let Some(claims) =
            tokens.access.as_ref().and_then(|token| self.keys.verify(token, unix_s()))
        {
            found.extend(
                self.session(claims.sid).await?.filter(|session| session.user_id == claims.sub),
            );
        }
        // Any generation: who shows an old one had the token, and using it would end the session
        // too.
        if let Some(refresh) =
            tokens.refresh.as_ref().and_then(|token| Refresh::open(token, &self.keys))
        {
            found.extend(self.session(refresh.session).await?);
        }
        // At most two, so equal ones are neighbours.
        found.dedup_by_key(|session| session.id);
        Ok(found)
    }
}

/// Tokens that a caller presents to end a session: an access token lives for ten minutes, the
/// refresh token beside it for weeks.
#[derive(Debug, Default)]
pub struct Presented {
    /// An access token.
    pub access: Option<String>,
    /// A refresh token.
    pub refresh: Option<String>,
}

/// The cache's keys of sessions.
pub(super) fn session_keys(sessions: &[Uuid]) -> Vec<Key> {
    sessions.iter().copied().map(Key::Session).collect()
}
