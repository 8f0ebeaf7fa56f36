//! Changing a password, and setting a new one with a mailed token. Both end the person's other
//! sessions.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::argon::PasswordMatch;
use crate::cache::Key;
use crate::password::Password;
use crate::person::User;
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::service::failed_logins::Target;
use crate::service::hasher::{HashPermit, Queued};
use crate::service::identity::Identity;
use crate::service::login::session_keys;
use crate::service::mail::Message;
use crate::store::audit::{Origin, record};
use crate::store::{one_time, sessions, users};
use crate::token::opaque;

/// Another password for somebody who is logged in.
#[derive(Debug)]
pub struct PasswordChange {
    /// The password of now.
    pub current: Password,
    /// The one to come.
    pub new: Password,
    /// Client address.
    pub client: IpAddr,
}

impl Auth {
    /// Replaces a person's password by another one; the session that asks stays.
    ///
    /// # Errors
    /// The present password is wrong, or was too often; the new one is not acceptable.
    pub async fn change_password(
        &self,
        identity: &Identity,
        change: &PasswordChange,
        origin: &Origin,
    ) -> Result<(), ServiceError> {
        let PasswordChange { current, new, client } = change;
        let user = &identity.user;
        // A refusal that needs no hash comes first.
        new.unlike(&[&user.username, &user.email]).map_err(ServiceError::Password)?;
        let queued = self.hasher.enqueue()?;
        let (old, permit) = self.verify_password(&queued, user, current, *client).await?;
        let hash = permit.hash(new).await?;
        let mut transaction = self.store.begin().await?;
        // Another change may have won while this one was hashed. Its password is the one to show
        // then.
        if !users::set_password_hash(&mut transaction, user.id, Some(&old), &hash).await? {
            return Err(ServiceError::WrongCredentials);
        }
        // A token that was mailed before could undo this change.
        one_time::end_resets(&mut transaction, user.id).await?;
        let ended = sessions::revoke_all(
            &mut transaction,
            user.id,
            Some(identity.session.id),
            "password changed",
        )
        .await?;
        record(&mut transaction, origin, "password changed", Some(user.id), Some(user.id)).await?;
        let changed = [session_keys(&ended), vec![Key::User(user.id)]].concat();
        Ok(self.commit(transaction, &changed).await?)
    }

    /// Checks the password of somebody who is logged in; failures count like those of a login.
    /// Returns the hash it has, and the permit to hash another.
    pub(super) async fn verify_password<'a>(
        &self,
        queued: &'a Queued<'_>,
        user: &User,
        password: &Password,
        client: IpAddr,
    ) -> Result<(String, HashPermit<'a>), ServiceError> {
        let attempt = self.failed_logins.attempt(Target::Known(user.id), client);
        self.failed_logins.check(&attempt).await?;
        let hash = users::password_hash(&mut self.store.connection().await?, user.id).await?;
        let permit = queued.permit().await?;
        // Again, as in a login: attempts ahead in the queue may have failed.
        self.failed_logins.check(&attempt).await?;
        match (permit.verify(password, hash.as_deref()).await?, hash) {
            ((verdict, permit), Some(hash)) if verdict != PasswordMatch::Wrong => {
                Ok((hash, permit))
            }
            _ => {
                self.failed_logins.failed(&attempt).await;
                Err(ServiceError::WrongCredentials)
            }
        }
    }

    /// Mails a token to set a new password, if there is such an address. Says nothing either way,
    /// and takes no time either way: the work is done after the response.
    pub fn forgot(self: &Arc<Self>, email: String, origin: Origin) {
        let auth = Arc::clone(self);
        // Without a bound, tasks would pile up behind a slow database.
        let Some(place) = self.mail.place() else {
            tracing::warn!("too many forgotten passwords at the same time; one was not mailed");
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = auth.mail_reset(&email, &origin).await {
                tracing::error!(%error, cause = error.source(), "a token to set a new password \
                    was not mailed");
            }
            drop(place);
        });
    }

    async fn mail_reset(&self, email: &str, origin: &Origin) -> Result<(), ServiceError> {
        let Some((user, _)) = users::by_login(&mut self.store.connection().await?, email).await?
        else {
            return Ok(());
        };
        if user.disabled || !self.mail.is_configured() {
            return Ok(());
        }
        // A mail a minute: a stranger who knows the address cannot fill a letter box.
        if one_time::is_fresh(&mut self.store.connection().await?, user.id).await? {
            return Ok(());
        }
        let token = self.reset_token(user.id, origin).await?;
        self.mail
            .put(&user.email, &Message::PasswordReset { token })
            .await
            .map_err(ServiceError::internal("writing a mail"))
    }

    /// A token to set a new password.
    ///
    /// # Errors
    /// The database's.
    pub async fn reset_token(
        &self,
        user_id: Uuid,
        origin: &Origin,
    ) -> Result<String, ServiceError> {
        let token = opaque::secret().map_err(ServiceError::internal("the system's randomness"))?;
        let mut transaction = self.store.begin().await?;
        one_time::insert_reset(&mut transaction, user_id, &opaque::hash(&token)).await?;
        record(&mut transaction, origin, "password forgotten", None, Some(user_id)).await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// Spends a mailed token and sets a new password; every session ends.
    ///
    /// # Errors
    /// [`ServiceError::InvalidResetToken`], or the password is not acceptable.
    pub async fn reset_password(
        &self,
        token: &str,
        new: &Password,
        origin: &Origin,
    ) -> Result<(), ServiceError> {
        let token = opaque::hash(token);
        let queued = self.hasher.enqueue()?;
        let id = one_time::peek_reset(&mut self.store.connection().await?, &token)
            .await?
            .ok_or(ServiceError::InvalidResetToken)?;
        let user = self
            .user(id)
            .await?
            .filter(|user| !user.disabled)
            .ok_or(ServiceError::InvalidResetToken)?;
        new.unlike(&[&user.username, &user.email]).map_err(ServiceError::Password)?;
        // Outside of the transaction, which would hold its locks for the length of a hash.
        let hash = queued.permit().await?.hash(new).await?;
        let mut transaction = self.store.begin().await?;
        // With the password in one transaction: if that fails, the token is still valid.
        one_time::spend_reset(&mut transaction, &token)
            .await?
            .ok_or(ServiceError::InvalidResetToken)?;
        users::set_password_hash(&mut transaction, id, None, &hash).await?;
        one_time::end_resets(&mut transaction, id).await?;
        let ended = sessions::revoke_all(&mut transaction, id, None, "password reset").await?;
        record(&mut transaction, origin, "password reset", Some(id), Some(id)).await?;
        let changed = [session_keys(&ended), vec![Key::User(id)]].concat();
        Ok(self.commit(transaction, &changed).await?)
    }
}
