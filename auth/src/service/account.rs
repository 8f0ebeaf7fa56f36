//! What a person changes about themselves, and an administrator about anyone.

use crate::cache::Key;
use crate::person::{Country, Email, User};
use crate::problem::Problem;
use crate::service::Auth;
use crate::service::identity::Identity;
use crate::service::login::keys_of;
use crate::store;
use crate::store::audit::{Origin, record};
use crate::store::{sessions, users};

/// What is to change; what is `None` stays.
#[derive(Debug)]
pub struct Change {
    /// Another address; it counts as not verified.
    pub email: Option<Email>,
    /// Another country.
    pub country: Option<Country>,
}

impl Auth {
    /// Changes a person. Visible everywhere once this returns.
    ///
    /// # Errors
    /// 409 names the field somebody else has.
    pub async fn change(&self, user: &User, change: &Change, origin: &Origin) -> Result<User, Problem> {
        let mut transaction = self.store.pool().begin().await.map_err(store::Error::from)?;
        users::update(&mut transaction, user.id, change.email.as_ref(), change.country.as_ref()).await?;
        record(&mut *transaction, origin, "profile changed", Some(user.id), Some(user.id)).await?;
        self.commit(transaction, &[Key::User(user.id)]).await?;
        self.user(user.id).await?.ok_or_else(Problem::internal)
    }

    /// Disables or enables a person; disabling ends their sessions.
    ///
    /// # Errors
    /// 403: administrators cannot lock themselves out. 404: there is no such person.
    pub async fn set_disabled(&self, by: &Identity, name: &str, disabled: bool, origin: &Origin) -> Result<User, Problem> {
        let nobody = || Problem::not_found("there is no such user");
        let user = self.user_by_name(name).await?.ok_or_else(nobody)?;
        if disabled && user.id == by.user.id {
            return Err(Problem::forbidden("nobody disables themselves"));
        }
        let mut transaction = self.store.pool().begin().await.map_err(store::Error::from)?;
        users::set_disabled(&mut transaction, user.id, disabled).await?;
        let mut changed = vec![Key::User(user.id)];
        if disabled {
            changed.extend(keys_of(&sessions::revoke_all(&mut transaction, user.id, None, "disabled").await?));
        }
        let action = if disabled { "user disabled" } else { "user enabled" };
        record(&mut *transaction, origin, action, Some(by.user.id), Some(user.id)).await?;
        self.commit(transaction, &changed).await?;
        self.user(user.id).await?.ok_or_else(nobody)
    }
}
