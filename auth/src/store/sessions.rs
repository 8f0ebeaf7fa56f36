//! `auth.sessions`: one row is one logged-in device and the generation of its refresh token.

use std::net::IpAddr;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::person::Session;
use crate::store::StoreError;
use crate::store::pool::Connection;

/// A session ends this long after its last refresh.
const IDLE_DAYS: i32 = 30;

/// A session ends this long after its login, however often it is refreshed.
const WHOLE_DAYS: i32 = 90;

/// A person has at most so many; the one not used for longest makes room.
const PER_USER: i64 = 50;

/// A session about to exist.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// UUID v7.
    pub id: Uuid,
    /// Owner of the session.
    pub user_id: Uuid,
    /// Digest of its first refresh token.
    pub token_hash: &'a [u8],
    /// Client address.
    pub client: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: Option<&'a str>,
}

/// A session as its owner sees it.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: Uuid,
    /// Microseconds since 1970.
    pub created_us: i64,
    /// Microseconds since 1970.
    pub used_us: i64,
    /// Client address of the login.
    pub client: Option<String>,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
}

/// State of a refresh token that is not the current one of its session.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenState {
    /// No such session, or it is over.
    Over,
    /// The token was just used, and its successor is the session's token now.
    JustUsed {
        /// Owner of the session.
        user_id: Uuid,
        /// Digest of the session's token.
        token_hash: Vec<u8>,
    },
    /// The token was used before: somebody has a copy.
    Reused {
        /// Owner of the session.
        user_id: Uuid,
    },
}

/// Adds a session; beyond the most live ones a person may have, those unused for longest end. Returns
/// which ended.
///
/// # Errors
/// The database's.
pub async fn insert(
    connection: &mut Connection,
    new: &NewSession<'_>,
) -> Result<Vec<Uuid>, StoreError> {
    // Cut, not refused: the column takes 512 characters, and a long `User-Agent` is no reason
    // against a login.
    connection
        .query(
            "INSERT INTO auth.sessions (id, user_id, token_hash, ip, user_agent, expires_at) \
         VALUES ($1, $2, $3, $4::text::inet, left($5, 512), now() + make_interval(days => $6))",
        )
        .bind(new.id)
        .bind(new.user_id)
        .bind(new.token_hash)
        .bind(new.client.to_string())
        .bind(new.user_agent)
        .bind(IDLE_DAYS)
        .execute(connection.raw())
        .await?;
    // The new session was used last, so it is first in this order and never ends itself.
    let sql = "UPDATE auth.sessions SET revoked_at = now(), revoked_reason = 'room' WHERE id IN \
               (SELECT id FROM auth.sessions \
               WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() ORDER BY last_used_at DESC, id DESC \
               OFFSET $2) RETURNING id";
    Ok(connection.scalar(sql).bind(new.user_id).bind(PER_USER).fetch_all(connection.raw()).await?)
}

/// A session that is neither over nor revoked.
///
/// # Errors
/// The database's.
pub async fn live(connection: &mut Connection, id: Uuid) -> Result<Option<Session>, StoreError> {
    let sql = "SELECT user_id, extract(epoch FROM expires_at)::bigint AS expires_s FROM \
               auth.sessions \
               WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()";
    let Some(row) = connection.query(sql).bind(id).fetch_optional(connection.raw()).await? else {
        return Ok(None);
    };
    Ok(Some(Session { id, user_id: row.try_get("user_id")?, expires_s: row.try_get("expires_s")? }))
}

/// A person's live sessions, the last used first.
///
/// # Errors
/// The database's.
pub async fn of_user(
    connection: &mut Connection,
    user_id: Uuid,
) -> Result<Vec<Listed>, StoreError> {
    let sql = "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint AS created_us, \
               (extract(epoch FROM last_used_at) * 1000000)::bigint AS used_us, host(ip) AS \
               client, user_agent \
               FROM auth.sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() \
               ORDER BY last_used_at DESC, id DESC LIMIT $2";
    let rows =
        connection.query(sql).bind(user_id).bind(PER_USER).fetch_all(connection.raw()).await?;
    Ok(rows.iter().map(listed).collect::<Result<_, _>>()?)
}

fn listed(row: &PgRow) -> Result<Listed, sqlx::Error> {
    Ok(Listed {
        id: row.try_get("id")?,
        created_us: row.try_get("created_us")?,
        used_us: row.try_get("used_us")?,
        client: row.try_get("client")?,
        user_agent: row.try_get("user_agent")?,
    })
}

/// Replaces the token of `generation` by its successor; whose session it is, if the token was the
/// current one.
///
/// # Errors
/// The database's.
pub async fn rotate(
    connection: &mut Connection,
    id: Uuid,
    generation: i64,
    successor_hash: &[u8],
) -> Result<Option<Uuid>, StoreError> {
    // `generation = $2` makes this a compare-and-swap: only one exchange of a token succeeds.
    let sql = "UPDATE auth.sessions SET generation = generation + 1, token_hash = $3, rotated_at \
               = now(), \
               last_used_at = now(), expires_at = least(now() + make_interval(days => $4), \
               created_at + make_interval(days => $5)) \
               WHERE id = $1 AND generation = $2 AND revoked_at IS NULL AND expires_at > now() \
               RETURNING user_id";
    let query = connection
        .scalar(sql)
        .bind(id)
        .bind(generation)
        .bind(successor_hash)
        .bind(IDLE_DAYS)
        .bind(WHOLE_DAYS);
    Ok(query.fetch_optional(connection.raw()).await?)
}

/// Finds out why [`rotate`] found nothing to replace.
///
/// # Errors
/// The database's.
pub async fn token_state(
    connection: &mut Connection,
    id: Uuid,
    generation: i64,
    grace: Duration,
) -> Result<TokenState, StoreError> {
    // Only the predecessor of the current token can be a repeat. A still older token has a
    // successor that was used, so its holder has seen a later one.
    let sql = "SELECT user_id, token_hash, generation = $2 + 1 AND rotated_at > now() - \
               make_interval(secs => $3) AS just_used \
               FROM auth.sessions WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()";
    let query = connection.query(sql).bind(id).bind(generation).bind(grace.as_secs_f64());
    let Some(row) = query.fetch_optional(connection.raw()).await? else {
        return Ok(TokenState::Over);
    };
    let user_id = row.try_get("user_id")?;
    // `rotated_at` is null before the first rotation, and the comparison with it too.
    if row.try_get::<Option<bool>, _>("just_used")?.unwrap_or(false) {
        return Ok(TokenState::JustUsed { user_id, token_hash: row.try_get("token_hash")? });
    }
    Ok(TokenState::Reused { user_id })
}

/// Ends one session of a person. Returns which ended.
///
/// # Errors
/// The database's.
pub async fn revoke(
    connection: &mut Connection,
    user_id: Uuid,
    id: Uuid,
    reason: &str,
) -> Result<Option<Uuid>, StoreError> {
    let sql = "UPDATE auth.sessions SET revoked_at = now(), revoked_reason = $3 \
               WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING id";
    Ok(connection
        .scalar(sql)
        .bind(user_id)
        .bind(id)
        .bind(reason)
        .fetch_optional(connection.raw())
        .await?)
}

/// Ends all sessions of a person but one. Returns which ended.
///
/// # Errors
/// The database's.
pub async fn revoke_all(
    connection: &mut Connection,
    user_id: Uuid,
    except: Option<Uuid>,
    reason: &str,
) -> Result<Vec<Uuid>, StoreError> {
    // `<>` would match no row when `$2` is null, and no session would end.
    let sql = "UPDATE auth.sessions SET revoked_at = now(), revoked_reason = $3 \
               WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL RETURNING id";
    Ok(connection
        .scalar(sql)
        .bind(user_id)
        .bind(except)
        .bind(reason)
        .fetch_all(connection.raw())
        .await?)
}

/// Removes what has been over for a while, a bounded number at a time.
///
/// # Errors
/// The database's.
pub async fn sweep(connection: &mut Connection) -> Result<u64, StoreError> {
    let sql = "DELETE FROM auth.sessions WHERE id IN (SELECT id FROM auth.sessions \
               WHERE expires_at < now() - interval '7 days' ORDER BY expires_at LIMIT 1000)";
    Ok(connection.query(sql).execute(connection.raw()).await?.rows_affected())
}

/// Returns how often a session's refresh token was exchanged.
///
/// # Errors
/// The database's.
pub async fn generation(connection: &mut Connection, id: Uuid) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT generation FROM auth.sessions WHERE id = $1";
    Ok(connection.scalar(sql).bind(id).fetch_optional(connection.raw()).await?)
}
