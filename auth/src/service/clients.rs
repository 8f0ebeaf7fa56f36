//! Programs that may ask about tokens and revoke them (RFC 7662, RFC 7009).

use serde_json::{Value, json};

use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::service::login::Presented;
use crate::store::audit::Origin;
use crate::store::clients;
use crate::token::opaque;

impl Auth {
    /// Authenticates a client.
    ///
    /// # Errors
    /// [`ServiceError::WrongClient`], the same for an unknown client and a wrong secret.
    pub async fn authenticate_client(&self, id: &str, secret: &str) -> Result<(), ServiceError> {
        // An unknown client has the empty digest, which equals no digest: one way for both
        // refusals.
        let kept =
            clients::secret_hash(&mut self.store.reader().await?, id).await?.unwrap_or_default();
        if opaque::same(kept.as_bytes(), opaque::hash_text(secret).as_bytes()) {
            return Ok(());
        }
        Err(ServiceError::WrongClient)
    }

    /// Adds a client; its secret is returned this once.
    ///
    /// # Errors
    /// [`ServiceError::ClientExists`].
    pub async fn create_client(&self, id: &str) -> Result<String, ServiceError> {
        let secret = opaque::secret().map_err(ServiceError::internal("the system's randomness"))?;
        let mut transaction = self.store.begin().await?;
        if !clients::insert(&mut transaction, id, &opaque::hash_text(&secret)).await? {
            return Err(ServiceError::ClientExists(id.to_owned()));
        }
        transaction.commit().await?;
        Ok(secret)
    }

    /// Gives a client another secret, which is returned this once; the one before is good no more.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchClient`].
    pub async fn rotate_client(&self, id: &str) -> Result<String, ServiceError> {
        let secret = opaque::secret().map_err(ServiceError::internal("the system's randomness"))?;
        let mut transaction = self.store.begin().await?;
        if !clients::set_secret(&mut transaction, id, &opaque::hash_text(&secret)).await? {
            return Err(ServiceError::NoSuchClient(id.to_owned()));
        }
        transaction.commit().await?;
        Ok(secret)
    }

    /// Describes a token: `{"active": false}` for everything that is not valid now, whatever the
    /// reason.
    ///
    /// # Errors
    /// The database's.
    pub async fn introspect(&self, token: &str) -> Result<Value, ServiceError> {
        match self.identify(token).await {
            Ok(identity) => {
                let claims = identity.claims;
                return Ok(json!({
                    "active": true, "token_type": "Bearer", "username": identity.user.username,
                    "sub": claims.sub, "sid": claims.sid, "iss": claims.iss, "iat": claims.iat,
                    "exp": claims.exp, "scope": claims.scope
                }));
            }
            Err(ServiceError::InvalidToken) => {}
            Err(error) => return Err(error),
        }
        // Clients may ask about either kind, and are not asked which.
        let Some(session) = self.session_of(token).await? else {
            return Ok(json!({ "active": false }));
        };
        Ok(json!({
            "active": true, "token_type": "refresh_token", "sub": session.user_id,
            "sid": session.id, "exp": session.expires_s
        }))
    }

    /// Ends the session of a token. A token that is not good is no error: it is revoked already.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke(&self, token: &str, origin: &Origin) -> Result<(), ServiceError> {
        // Of which kind it is, is not said.
        let either = Presented { access: Some(token.to_owned()), refresh: Some(token.to_owned()) };
        self.end_sessions(&either, "token revoked", origin).await
    }
}
