//! `auth.users` with the roles and scopes that belong to them.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::person::{Country, Email, User, Username};
use crate::store::StoreError;
use crate::store::pool::Connection;
use crate::text::canonical;

/// A person with every role and scope, read in one query.
macro_rules! select_user {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.username, u.email, u.country, u.version, u.password_hash, \
             u.disabled_at IS NOT NULL AS disabled, ",
            "(extract(epoch FROM u.created_at) * 1000000)::bigint AS created_us, ",
            "ARRAY(SELECT role FROM auth.user_roles WHERE user_id = u.id ORDER BY role) AS roles, ",
            "ARRAY(SELECT DISTINCT s FROM auth.user_roles ur JOIN auth.roles r ON r.name = \
             ur.role, unnest(r.scopes) s ",
            "WHERE ur.user_id = u.id ORDER BY s) AS scopes FROM auth.users u ",
            $rest
        )
    };
}

/// A person about to exist.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// UUID v7.
    pub id: Uuid,
    /// Free until the insert says otherwise.
    pub username: &'a Username,
    /// Free until the insert says otherwise.
    pub email: &'a Email,
    /// If given.
    pub country: Option<&'a Country>,
    /// PHC string.
    pub password_hash: &'a str,
}

fn user(row: &PgRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        username: row.try_get("username")?,
        email: row.try_get("email")?,
        country: row.try_get("country")?,
        version: row.try_get("version")?,
        created_us: row.try_get("created_us")?,
        disabled: row.try_get("disabled")?,
        roles: row.try_get("roles")?,
        scopes: row.try_get("scopes")?,
    })
}

fn with_hash(row: &PgRow) -> Result<(User, String), sqlx::Error> {
    Ok((user(row)?, row.try_get("password_hash")?))
}

/// The person with this id.
///
/// # Errors
/// The database's.
pub async fn by_id(connection: &mut Connection, id: Uuid) -> Result<Option<User>, StoreError> {
    let row = connection
        .query(select_user!("WHERE u.id = $1"))
        .bind(id)
        .fetch_optional(connection.raw())
        .await?;
    Ok(row.as_ref().map(user).transpose()?)
}

/// The id of the person with this name, in any case.
///
/// # Errors
/// The database's.
pub async fn id_by_name(
    connection: &mut Connection,
    username: &str,
) -> Result<Option<Uuid>, StoreError> {
    let query = connection.scalar("SELECT id FROM auth.users WHERE username_canonical = $1");
    Ok(query.bind(canonical(username)).fetch_optional(connection.raw()).await?)
}

/// The person who logs in with this name or address, and the hash of their password.
///
/// # Errors
/// The database's.
pub async fn by_login(
    connection: &mut Connection,
    login: &str,
) -> Result<Option<(User, String)>, StoreError> {
    // No user name has an `@`, so a login is either a name or an address.
    let sql = if login.contains('@') {
        select_user!("WHERE u.email_canonical = $1")
    } else {
        select_user!("WHERE u.username_canonical = $1")
    };
    let row = connection.query(sql).bind(canonical(login)).fetch_optional(connection.raw()).await?;
    Ok(row.as_ref().map(with_hash).transpose()?)
}

/// The hash of a person's password.
///
/// # Errors
/// The database's.
pub async fn password_hash(
    connection: &mut Connection,
    id: Uuid,
) -> Result<Option<String>, StoreError> {
    Ok(connection
        .scalar("SELECT password_hash FROM auth.users WHERE id = $1")
        .bind(id)
        .fetch_optional(connection.raw())
        .await?)
}

/// Returns whether a person still has this password's hash and is enabled. Holds both as they are
/// until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn hold_credentials(
    connection: &mut Connection,
    id: Uuid,
    password_hash: &str,
) -> Result<bool, StoreError> {
    // FOR SHARE makes a change of the password and a disabling wait, or shows their result.
    let sql = "SELECT true FROM auth.users WHERE id = $1 AND password_hash = $2 AND disabled_at \
               IS NULL FOR SHARE";
    let held = connection
        .scalar(sql)
        .bind(id)
        .bind(password_hash)
        .fetch_optional(connection.raw())
        .await?;
    Ok(held.unwrap_or(false))
}

/// A page of people, newest first, and where the next one begins.
///
/// # Errors
/// The database's.
pub async fn page(
    connection: &mut Connection,
    after: Cursor,
    limit: u32,
) -> Result<(Vec<User>, Option<Cursor>), StoreError> {
    // Rows are compared, not counted: people who sign up meanwhile shift no page, and the index on
    // both columns serves it.
    let sql = select_user!(
        "WHERE (u.created_at, u.id) < (timestamptz 'epoch' + $1 * interval '1 microsecond', $2) \
         ORDER BY u.created_at DESC, u.id DESC LIMIT $3"
    );
    // No user signs up after the year 9999; later times overflow the database's.
    let created_us = after.created_us.min(253_402_300_799_000_000);
    let query = connection.query(sql).bind(created_us).bind(after.id).bind(i64::from(limit) + 1);
    let rows = query.fetch_all(connection.raw()).await?;
    let mut users = rows.iter().map(user).collect::<Result<Vec<_>, _>>()?;
    let more = users.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        users.pop();
    }
    let next = users
        .last()
        .filter(|_| more)
        .map(|last| Cursor { created_us: last.created_us, id: last.id });
    Ok((users, next))
}

/// Adds a person with their roles.
///
/// # Errors
/// [`StoreError::Taken`], or the database's.
pub async fn insert(
    connection: &mut Connection,
    new: &NewUser<'_>,
    roles: &[&str],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO auth.users (id, username, username_canonical, email, email_canonical, \
               country, password_hash) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    connection
        .query(sql)
        .bind(new.id)
        .bind(new.username.as_str())
        .bind(canonical(new.username.as_str()))
        .bind(new.email.as_str())
        .bind(canonical(new.email.as_str()))
        .bind(new.country.map(Country::as_str))
        .bind(new.password_hash)
        .execute(connection.raw())
        .await?;
    for role in roles {
        connection
            .query("INSERT INTO auth.user_roles (user_id, role) VALUES ($1, $2)")
            .bind(new.id)
            .bind(role)
            .execute(connection.raw())
            .await?;
    }
    Ok(())
}

/// Changes what a person may change about themselves; what is `None` stays.
///
/// # Errors
/// [`StoreError::Taken`], or the database's.
pub async fn update(
    connection: &mut Connection,
    id: Uuid,
    email: Option<&Email>,
    country: Option<&Country>,
) -> Result<(), StoreError> {
    let sql = "UPDATE auth.users SET email = coalesce($2, email), email_canonical = coalesce($3, \
               email_canonical), \
               country = coalesce($4, country) WHERE id = $1";
    let email = email.map(Email::as_str);
    let query = connection
        .query(sql)
        .bind(id)
        .bind(email)
        .bind(email.map(canonical))
        .bind(country.map(Country::as_str));
    query.execute(connection.raw()).await?;
    Ok(())
}

/// Replaces the hash of a person's password, if it still is `old`; `None` replaces whatever is
/// there.
///
/// # Errors
/// The database's.
pub async fn set_password_hash(
    connection: &mut Connection,
    id: Uuid,
    old: Option<&str>,
    new: &str,
) -> Result<bool, StoreError> {
    // The old hash is part of the condition: of two changes that verified the same password, one
    // wins.
    let sql = "UPDATE auth.users SET password_hash = $3 WHERE id = $1 AND password_hash = \
               coalesce($2, password_hash)";
    let done = connection.query(sql).bind(id).bind(old).bind(new).execute(connection.raw()).await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a person a role; false when they have it. [`StoreError::Broken`] when there is no such
/// role.
///
/// # Errors
/// The database's.
pub async fn grant(connection: &mut Connection, id: Uuid, role: &str) -> Result<bool, StoreError> {
    let sql = "INSERT INTO auth.user_roles (user_id, role) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(connection.query(sql).bind(id).bind(role).execute(connection.raw()).await?.rows_affected()
        == 1)
}

/// Takes a role from a person; false when they do not have it.
///
/// # Errors
/// The database's.
pub async fn revoke(connection: &mut Connection, id: Uuid, role: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM auth.user_roles WHERE user_id = $1 AND role = $2";
    Ok(connection.query(sql).bind(id).bind(role).execute(connection.raw()).await?.rows_affected()
        == 1)
}

/// The names of all roles, in order.
///
/// # Errors
/// The database's.
pub async fn roles(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    Ok(connection
        .scalar("SELECT name FROM auth.roles ORDER BY name")
        .fetch_all(connection.raw())
        .await?)
}

/// Disables or enables a person.
///
/// # Errors
/// The database's.
pub async fn set_disabled(
    connection: &mut Connection,
    id: Uuid,
    disabled: bool,
) -> Result<(), StoreError> {
    // Disabling twice keeps the time of the first.
    let sql = "UPDATE auth.users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) \
               END WHERE id = $1";
    connection.query(sql).bind(id).bind(disabled).execute(connection.raw()).await?;
    Ok(())
}
