//! Changes that a person makes to their account, and an administrator to any.

use std::net::IpAddr;

use crate::cache::Key;
use crate::password::Password;
use crate::person::{Country, Email, User};
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::service::identity::Identity;
use crate::service::login::session_keys;
use crate::service::mail::Message;
use crate::store::audit::{Origin, record};
use crate::store::{one_time, sessions, users};
use uuid::Uuid;

/// Members to change; what is `None` stays.
#[derive(Debug)]
pub struct AccountChange {
    /// Another address.
    pub email: Option<NewEmail>,
    /// Another country.
    pub country: Option<Country>,
}

/// Another address, which is another way into the account: it takes the password.
#[derive(Debug)]
pub struct NewEmail {
    /// The address.
    pub email: Email,
    /// The password of now.
    pub password: Password,
    /// Client address.
    pub client: IpAddr,
}

impl Auth {
    /// Changes a person. Visible everywhere once this returns. Another address ends the tokens that
    /// were mailed to the one before, and a mail informs the one before.
    ///
    /// # Errors
    /// The password is wrong, or too often; somebody else has the address.
    pub async fn change(
        &self,
        user: &User,
        change: &AccountChange,
        origin: &Origin,
    ) -> Result<User, ServiceError> {
        // Before the transaction begins: no lock is held for the length of a hash.
        let hash = match &change.email {
            Some(new) => Some(
                self.verify_password(&self.hasher.enqueue()?, user, &new.password, new.client)
                    .await?
                    .0,
            ),
            None => None,
        };
        let mut transaction = self.store.begin().await?;
        if let Some(hash) = &hash {
            // The password may have been changed while it was verified.
            if !users::hold_credentials(&mut transaction, user.id, hash).await? {
                return Err(ServiceError::WrongCredentials);
            }
            one_time::end_resets(&mut transaction, user.id).await?;
            record(&mut transaction, origin, "address changed", Some(user.id), Some(user.id))
                .await?;
        }
        let email = change.email.as_ref().map(|new| &new.email);
        users::update(&mut transaction, user.id, email, change.country.as_ref()).await?;
        record(&mut transaction, origin, "profile changed", Some(user.id), Some(user.id)).await?;
        self.commit(transaction, &[Key::User(user.id)]).await?;
        // To the previous address, whose owner must learn of a change that a thief made. It is
        // committed, so a mail that fails does not undo it.
        if email.is_some()
            && let Err(error) = self.mail.put(&user.email, &Message::EmailChanged).await
        {
            tracing::error!(%error, "a mail could not be written");
        }
        self.user(user.id).await?.ok_or_else(|| ServiceError::NoSuchUser(user.username.clone()))
    }

    /// Disables or enables a person; disabling ends their sessions.
    ///
    /// # Errors
    /// It is the caller, or no user.
    pub async fn set_disabled(
        &self,
        by: &Identity,
        name: &str,
        disabled: bool,
        origin: &Origin,
    ) -> Result<User, ServiceError> {
        let user = self
            .user_by_name(name)
            .await?
            .ok_or_else(|| ServiceError::NoSuchUser(name.to_owned()))?;
        if disabled && user.id == by.user.id {
            return Err(ServiceError::OwnAccount);
        }
        self.disable(&user, disabled, Some(by.user.id), origin).await
    }

    /// Disables or enables a person, as `actor` or an operator wants it; disabling ends their
    /// sessions and mailed tokens.
    ///
    /// # Errors
    /// The database's.
    pub async fn disable(
        &self,
        user: &User,
        disabled: bool,
        actor: Option<Uuid>,
        origin: &Origin,
    ) -> Result<User, ServiceError> {
        let mut transaction = self.store.begin().await?;
        users::set_disabled(&mut transaction, user.id, disabled).await?;
        let mut changed = vec![Key::User(user.id)];
        if disabled {
            one_time::end_resets(&mut transaction, user.id).await?;
            changed.extend(session_keys(
                &sessions::revoke_all(&mut transaction, user.id, None, "disabled").await?,
            ));
        }
        let action = if disabled { "user disabled" } else { "user enabled" };
        record(&mut transaction, origin, action, actor, Some(user.id)).await?;
        self.commit(transaction, &changed).await?;
        self.user(user.id).await?.ok_or_else(|| ServiceError::NoSuchUser(user.username.clone()))
    }

    /// Gives a person a role, or takes it. It counts with their next request. False when nothing
    /// changed.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchRole`].
    pub async fn set_role(
        &self,
        user: &User,
        role: &str,
        holds: bool,
        origin: &Origin,
    ) -> Result<bool, ServiceError> {
        // A foreign key refuses an unknown role as well, but cannot name the ones there are.
        let roles = users::roles(&mut self.store.connection().await?).await?;
        if !roles.iter().any(|one| one == role) {
            return Err(ServiceError::NoSuchRole { role: role.to_owned(), known: roles });
        }
        let mut transaction = self.store.begin().await?;
        let (changed, action) = match holds {
            true => (
                users::grant(&mut transaction, user.id, role).await?,
                format!("role {role} granted"),
            ),
            false => (
                users::revoke(&mut transaction, user.id, role).await?,
                format!("role {role} revoked"),
            ),
        };
        if changed {
            record(&mut transaction, origin, &action, None, Some(user.id)).await?;
            self.commit(transaction, &[Key::User(user.id)]).await?;
        }
        Ok(changed)
    }

    /// The person with this name or address.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchUser`].
    pub async fn find_user(&self, login: &str) -> Result<User, ServiceError> {
        let found = users::by_login(&mut self.store.connection().await?, login).await?;
        found.map(|(user, _)| user).ok_or_else(|| ServiceError::NoSuchUser(login.to_owned()))
    }
}
