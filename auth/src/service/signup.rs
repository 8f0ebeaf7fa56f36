//! Signing up.

use uuid::Uuid;

use crate::password::Password;
use crate::person::{Country, Email, User, Username};
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::store::StoreError;
use crate::store::audit::{Origin, record};
use crate::store::users::{self, NewUser};

/// Data of a new account.
#[derive(Debug)]
pub struct Signup {
    /// Free or refused.
    pub username: Username,
    /// Free or refused.
    pub email: Email,
    /// Within the policy.
    pub password: Password,
    /// If given.
    pub country: Option<Country>,
}

impl Auth {
    /// Adds a person with these roles.
    ///
    /// # Errors
    /// Somebody else has the name or the address, or too many passwords are hashed.
    pub async fn signup(
        &self,
        signup: &Signup,
        roles: &[&str],
        origin: &Origin,
    ) -> Result<User, ServiceError> {
        let username = signup.username.as_str();
        let email = signup.email.as_str();
        signup.password.unlike(&[username, email]).map_err(ServiceError::Password)?;
        let queued = self.hasher.enqueue()?;
        // Cheaper than a hash; the unique index decides all the same.
        for (login, field) in [(username, "username"), (email, "email")] {
            if users::by_login(&mut self.store.connection().await?, login).await?.is_some() {
                return Err(StoreError::Taken(field).into());
            }
        }
        let password_hash = queued.permit().await?.hash(&signup.password).await?;
        let country = signup.country.as_ref();
        let new = NewUser {
            id: Uuid::now_v7(),
            username: &signup.username,
            email: &signup.email,
            country,
            password_hash: &password_hash,
        };
        self.insert(&new, roles, origin).await?;
        users::by_id(&mut self.store.connection().await?, new.id)
            .await?
            .ok_or_else(|| ServiceError::NoSuchUser(username.to_owned()))
    }

    async fn insert(
        &self,
        new: &NewUser<'_>,
        roles: &[&str],
        origin: &Origin,
    ) -> Result<(), StoreError> {
        let mut transaction = self.store.begin().await?;
        users::insert(&mut transaction, new, roles).await?;
        record(&mut transaction, origin, "signup", Some(new.id), Some(new.id)).await?;
        // Nothing is cached about somebody who was not there: that is never filled in.
        transaction.commit().await
    }
}
