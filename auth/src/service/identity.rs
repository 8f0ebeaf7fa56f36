//! Identity behind a request: a token that is ours, of a session that is not over, of a person who
//! is not disabled.

use crate::clock::unix_s;
use crate::person::{Session, User};
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::token::Claims;

/// Someone who is logged in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The person, as they are now and not as they were when the token was made.
    pub user: User,
    /// The session of the token.
    pub session: Session,
    /// The token.
    pub claims: Claims,
}

impl Identity {
    /// Checks that the person holds a scope.
    ///
    /// # Errors
    /// [`ServiceError::MissingScope`].
    pub fn may(&self, scope: &str) -> Result<(), ServiceError> {
        if self.user.scopes.iter().any(|held| held == scope) {
            return Ok(());
        }
        Err(ServiceError::MissingScope(scope.to_owned()))
    }
}

impl Auth {
    /// The bearer of an access token.
    ///
    /// # Errors
    /// [`ServiceError::InvalidToken`], or the database's.
    pub async fn identify(&self, token: &str) -> Result<Identity, ServiceError> {
        let claims = self.keys.verify(token, unix_s()).ok_or(ServiceError::InvalidToken)?;
        let session = self.session(claims.sid).await?.ok_or(ServiceError::InvalidToken)?;
        let user = self.user(claims.sub).await?.ok_or(ServiceError::InvalidToken)?;
        if user.disabled || session.user_id != user.id {
            return Err(ServiceError::InvalidToken);
        }
        Ok(Identity { user, session, claims })
    }
}
