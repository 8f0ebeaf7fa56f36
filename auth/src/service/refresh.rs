//! Refresh tokens are used once. A repeat within the grace window (two tabs, a lost response) gets
//! the same successor; a later one means that somebody has a copy, and ends the session.

use uuid::Uuid;

use crate::cache::Key;
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::service::login::Tokens;
use crate::store::StoreError;
use crate::store::audit::{Origin, record};
use crate::store::sessions::{self, TokenState};
use crate::token::opaque::{hash, same};
use crate::token::refresh::Refresh;

impl Auth {
    /// Exchanges a refresh token for its successor and a new access token.
    ///
    /// # Errors
    /// [`ServiceError::InvalidToken`]: not ours, over, or used before.
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<Tokens, ServiceError> {
        // Before the database: a token without a valid MAC costs no query.
        let presented = Refresh::open(token, &self.keys).ok_or(ServiceError::InvalidToken)?;
        let Some((user_id, refresh)) = self.exchange(presented, origin).await? else {
            return Err(ServiceError::InvalidToken);
        };
        let user = self
            .user(user_id)
            .await?
            .filter(|user| !user.disabled)
            .ok_or(ServiceError::InvalidToken)?;
        Ok(Tokens { access: self.access(&user, presented.session)?, refresh })
    }

    async fn exchange(
        &self,
        presented: Refresh,
        origin: &Origin,
    ) -> Result<Option<(Uuid, String)>, StoreError> {
        let Refresh { session, generation } = presented;
        let successor = presented.successor().mint(&self.keys);
        let mut transaction = self.store.begin().await?;
        // One UPDATE decides. Of two requests with the same token, the second waits for the row and
        // finds another generation then.
        if let Some(user_id) =
            sessions::rotate(&mut transaction, session, generation, &hash(&successor)).await?
        {
            transaction.commit().await?;
            return Ok(Some((user_id, successor)));
        }
        match sessions::token_state(&mut transaction, session, generation, self.settings.grace)
            .await?
        {
            TokenState::Over => Ok(None),
            TokenState::JustUsed { user_id, token_hash } => {
                // The key may have been rotated in between: hand out the one that was handed out.
                let mut minted = presented.successor().mint_each(&self.keys);
                Ok(minted
                    .find(|token| same(&hash(token), &token_hash))
                    .map(|token| (user_id, token)))
            }
            // Owner and thief cannot be distinguished, so the session ends for both.
            TokenState::Reused { user_id } => {
                sessions::revoke(&mut transaction, user_id, session, "refresh token reused")
                    .await?;
                record(&mut transaction, origin, "refresh token reused", None, Some(user_id))
                    .await?;
                self.commit(transaction, &[Key::Session(session)]).await?;
                self.metrics.reused.inc();
                tracing::warn!(%session, "a refresh token was used twice; its session is over");
                Ok(None)
            }
        }
    }

    /// The session a refresh token belongs to and whose it is, while the token is the session's
    /// current one.
    ///
    /// # Errors
    /// The database's.
    pub async fn session_of(
        &self,
        token: &str,
    ) -> Result<Option<crate::person::Session>, StoreError> {
        let Some(refresh) = Refresh::open(token, &self.keys) else { return Ok(None) };
        let mut connection = self.store.reader().await?;
        let current = sessions::generation(&mut connection, refresh.session).await?;
        // An older generation was spent: a client that asks must not learn otherwise.
        if current != Some(refresh.generation) {
            return Ok(None);
        }
        sessions::live(&mut connection, refresh.session).await
    }
}
