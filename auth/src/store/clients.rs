//! `auth.clients`: programs that may ask about and revoke tokens. Their secrets are random, so a plain digest keeps them.

use sqlx::PgPool;

use crate::store::Error;

/// The digest of a client's secret, while the client is enabled.
///
/// # Errors
/// The database's.
pub async fn secret_hash(pool: &PgPool, id: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT secret_hash FROM auth.clients WHERE id = $1 AND disabled_at IS NULL";
    Ok(sqlx::query_scalar(sql).bind(id).fetch_optional(pool).await?)
}

/// Adds a client, or gives it another secret.
///
/// # Errors
/// The database's.
pub async fn put(pool: &PgPool, id: &str, secret_hash: &str) -> Result<(), Error> {
    let sql = "INSERT INTO auth.clients (id, name, secret_hash) VALUES ($1, $1, $2) \
               ON CONFLICT (id) DO UPDATE SET secret_hash = excluded.secret_hash, disabled_at = NULL";
    sqlx::query(sql).bind(id).bind(secret_hash).execute(pool).await?;
    Ok(())
}
