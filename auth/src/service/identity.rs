//! Who a request comes from: a token that is ours, of a session that is not over, of a person who is not disabled.

use crate::clock::unix_s;
use crate::person::{Session, User};
use crate::problem::Problem;
use crate::service::Auth;
use crate::token::Claims;

/// Someone who is logged in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The person, as they are now and not as they were when the token was made.
    pub user: User,
    /// Where they are logged in.
    pub session: Session,
    /// The token.
    pub claims: Claims,
}

impl Identity {
    /// What this person must be allowed to do.
    ///
    /// # Errors
    /// 403: they are not.
    pub fn may(&self, scope: &str) -> Result<(), Problem> {
        if self.user.scopes.iter().any(|held| held == scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this needs the scope `{scope}`")))
    }
}

impl Auth {
    /// The bearer of an access token.
    ///
    /// # Errors
    /// 401, or the database's.
    pub async fn identify(&self, token: &str) -> Result<Identity, Problem> {
        let over = || Problem::unauthenticated("the token is not good, or not any more");
        let claims = self.keys.verify(token, unix_s()).ok_or_else(over)?;
        let session = self.session(claims.sid).await?.ok_or_else(over)?;
        let user = self.user(claims.sub).await?.ok_or_else(over)?;
        if user.disabled || session.user_id != user.id {
            return Err(over());
        }
        Ok(Identity { user, session, claims })
    }
}
