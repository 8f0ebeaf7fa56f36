//! `auth.clients`: programs that may ask about and revoke tokens. Their secrets are random, so a
//! plain digest keeps them.

use crate::store::StoreError;
use crate::store::pool::Connection;

/// The digest of a client's secret, while the client is enabled.
///
/// # Errors
/// The database's.
pub async fn secret_hash(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT secret_hash FROM auth.clients WHERE id = $1 AND disabled_at IS NULL";
    Ok(connection.scalar(sql).bind(id).fetch_optional(connection.raw()).await?)
}

/// Adds a client; false when there is one of that id.
///
/// # Errors
/// The database's.
pub async fn insert(
    connection: &mut Connection,
    id: &str,
    secret_hash: &str,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO auth.clients (id, name, secret_hash) VALUES ($1, $1, $2) ON CONFLICT \
               (id) DO NOTHING";
    Ok(connection
        .query(sql)
        .bind(id)
        .bind(secret_hash)
        .execute(connection.raw())
        .await?
        .rows_affected()
        == 1)
}

/// Gives a client another secret; false when there is none of that id, or it is disabled.
///
/// # Errors
/// The database's.
pub async fn set_secret(
    connection: &mut Connection,
    id: &str,
    secret_hash: &str,
) -> Result<bool, StoreError> {
    let sql = "UPDATE auth.clients SET secret_hash = $2 WHERE id = $1 AND disabled_at IS NULL";
    Ok(connection
        .query(sql)
        .bind(id)
        .bind(secret_hash)
        .execute(connection.raw())
        .await?
        .rows_affected()
        == 1)
}
