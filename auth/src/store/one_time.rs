//! `auth.one_time_tokens`: what a mailed link carries. Good once, for an hour.

use uuid::Uuid;

use crate::store::StoreError;
use crate::store::pool::Connection;

/// Most valid tokens of a person: another one ends the oldest, not the one that was just mailed.
const GOOD: i64 = 3;

/// Returns whether a token to set a new password was made for a person in the last minute.
///
/// # Errors
/// The database's.
pub async fn is_fresh(connection: &mut Connection, user_id: Uuid) -> Result<bool, StoreError> {
    // A used token holds back no mail: its owner may forget the password again.
    let sql = "SELECT EXISTS (SELECT FROM auth.one_time_tokens WHERE user_id = $1 AND purpose = \
               'password_reset' \
               AND used_at IS NULL AND created_at > now() - interval '1 minute')";
    Ok(connection.scalar(sql).bind(user_id).fetch_one(connection.raw()).await?)
}

/// Ends every token of a person: what it was mailed for is settled, or is not theirs to settle any
/// more.
///
/// # Errors
/// The database's.
pub async fn end_resets(connection: &mut Connection, user_id: Uuid) -> Result<(), StoreError> {
    let sql =
        "UPDATE auth.one_time_tokens SET used_at = now() WHERE user_id = $1 AND used_at IS NULL";
    connection.query(sql).bind(user_id).execute(connection.raw()).await?;
    Ok(())
}

/// Makes a token to set a new password; the last few stay good beside it.
///
/// # Errors
/// The database's.
pub async fn insert_reset(
    connection: &mut Connection,
    user_id: Uuid,
    hash: &[u8],
) -> Result<(), StoreError> {
    // One place less than allowed: the token below takes it.
    let sql = "UPDATE auth.one_time_tokens SET used_at = now() WHERE id IN (SELECT id FROM \
               auth.one_time_tokens \
               WHERE user_id = $1 AND purpose = 'password_reset' AND used_at IS NULL ORDER BY \
               created_at DESC, id DESC OFFSET $2)";
    connection.query(sql).bind(user_id).bind(GOOD - 1).execute(connection.raw()).await?;
    let sql = "INSERT INTO auth.one_time_tokens (id, user_id, purpose, token_hash, expires_at) \
               VALUES ($1, $2, 'password_reset', $3, now() + interval '1 hour')";
    connection
        .query(sql)
        .bind(Uuid::now_v7())
        .bind(user_id)
        .bind(hash)
        .execute(connection.raw())
        .await?;
    Ok(())
}

/// Returns the owner of a token that is valid. Changes nothing: hashing a new password is worth it
/// then.
///
/// # Errors
/// The database's.
pub async fn peek_reset(
    connection: &mut Connection,
    hash: &[u8],
) -> Result<Option<Uuid>, StoreError> {
    let sql = "SELECT user_id FROM auth.one_time_tokens \
               WHERE token_hash = $1 AND purpose = 'password_reset' AND used_at IS NULL AND \
               expires_at > now()";
    Ok(connection.scalar(sql).bind(hash).fetch_optional(connection.raw()).await?)
}

/// Spends a token: of two who try, one gets the person's id.
///
/// # Errors
/// The database's.
pub async fn spend_reset(
    connection: &mut Connection,
    hash: &[u8],
) -> Result<Option<Uuid>, StoreError> {
    // Look and change in one statement: between two statements a second click could spend it too.
    let sql = "UPDATE auth.one_time_tokens SET used_at = now() \
               WHERE token_hash = $1 AND purpose = 'password_reset' AND used_at IS NULL AND \
               expires_at > now() RETURNING user_id";
    Ok(connection.scalar(sql).bind(hash).fetch_optional(connection.raw()).await?)
}

/// Removes tokens that cannot be used any more, a bounded number at a time.
///
/// # Errors
/// The database's.
pub async fn sweep(connection: &mut Connection) -> Result<u64, StoreError> {
    let sql = "DELETE FROM auth.one_time_tokens WHERE id IN (SELECT id FROM auth.one_time_tokens \
               WHERE expires_at < now() - interval '7 days' ORDER BY expires_at LIMIT 1000)";
    Ok(connection.query(sql).execute(connection.raw()).await?.rows_affected())
}
