//! Address of the database, read from the environment and from secret files. No message and no
//! `Debug` shows a password.

use std::{fmt, fs, time::Duration};

use sqlx::{
    ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgConnection},
};

/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database to connect to.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
}

/// Reason why there is no connection, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct ConnectError {
    /// Error of the attempt.
    pub cause: String,
    /// The same attempt may succeed a moment later: the server is starting, say. A wrong password
    /// stays wrong.
    pub passes: bool,
}

/// Reason why the settings name no database; never shows their values.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Two ways to say one thing.
    #[error("`{0}` and `{0}_FILE` are both set")]
    Both(&'static str),
    /// The secret's file cannot be read.
    #[error("`{name}_FILE` names `{path}`, which cannot be read: {cause}")]
    Unreadable {
        /// The setting.
        name: &'static str,
        /// Its file.
        path: String,
        /// Error of the read.
        cause: String,
    },
    /// Not an address.
    #[error("`DATABASE_URL` cannot be used: {0}")]
    Address(String),
    /// Not a port.
    #[error("`PGPORT` is `{0}`, which is no port")]
    Port(String),
    /// Nothing said at all.
    #[error("no database is named")]
    Nowhere,
}

impl AddressError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Both(_) => "keep one of them",
            Self::Address(_) => {
                "postgres://USER@HOST:5432/DATABASE, the password in PGPASSWORD_FILE"
            }
            Self::Nowhere => {
                "set DATABASE_URL or DATABASE_URL_FILE, or PGHOST, PGUSER, PGDATABASE and \
                 PGPASSWORD_FILE"
            }
            Self::Unreadable { .. } | Self::Port(_) => return None,
        })
    }
}

impl Database {
    /// From the process's environment.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn from_environment() -> Result<Self, AddressError> {
        Self::from_settings(&|name| std::env::var(name).ok())
    }

    /// From the process's environment, for the role that changes tables: each of its settings may
    /// be given as `MIGRATIONS_` and the name, so that a service and its migrations can stand in
    /// one environment with two roles.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn for_migrations() -> Result<Self, AddressError> {
        Self::from_settings(&|name| own_setting(name, &|name| std::env::var(name).ok()))
    }

    /// From settings found by name; an empty one counts as not set.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn from_settings(find: &dyn Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        // Compose files pass a variable that is not set as an empty one.
        let find = |name: &str| find(name).filter(|value| !value.is_empty());
        let password = setting("PGPASSWORD", &find)?;
        if let Some(url) = setting("DATABASE_URL", &find)? {
            return Self::from_url(&url, password.as_deref());
        }
        let host = find("PGHOST").ok_or(AddressError::Nowhere)?;
        let mut options = PgConnectOptions::new_without_pgpass().host(&host);
        if let Some(port) = find("PGPORT") {
            options = options.port(port.parse().map_err(|_| AddressError::Port(port))?);
        }
        if let Some(user) = find("PGUSER") {
            options = options.username(&user);
        }
        if let Some(database) = find("PGDATABASE") {
            options = options.database(&database);
        }
        if let Some(password) = password {
            options = options.password(&password);
        }
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// From an address; its own password wins over the other one.
    ///
    /// # Errors
    /// It is no address.
    pub fn from_url(url: &str, password: Option<&str>) -> Result<Self, AddressError> {
        // The driver takes any scheme: the address of another kind of database would pass.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(AddressError::Address(
                "it does not begin with `postgres://` or `postgresql://`".into(),
            ));
        }
        let mut options: PgConnectOptions =
            url.parse().map_err(|error| AddressError::Address(cause_of(&error)))?;
        if let (Some(password), None) = (password, options.to_url_lossy().password()) {
            options = options.password(password);
        }
        // The driver keeps the brackets of an IPv6 address, which no resolver takes; its own
        // address would not be one without.
        if let Some(address) =
            options.get_host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        {
            let address = address.to_owned();
            options = options.host(&address);
        }
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// The driver's options, for a pool.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Opens one connection that shows itself under `name`.
    ///
    /// # Errors
    /// Error of the attempt.
    pub async fn connect(&self, name: &str) -> Result<PgConnection, ConnectError> {
        connect(&self.options.clone().application_name(name)).await
    }
}

/// Opens one connection with the driver's options.
///
/// # Errors
/// Error of the attempt.
pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    // A host that drops packets would hold the attempt for minutes.
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(connected) => connected
            .map_err(|error| ConnectError { passes: passes(&error), cause: cause_of(&error) }),
        Err(_) => {
            let cause = format!("no response within {} s", CONNECT_TIMEOUT.as_secs());
            Err(ConnectError { passes: true, cause })
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        let host = self
            .options
            .get_socket()
            .map_or_else(|| self.options.get_host().into(), |path| path.to_string_lossy());
        let host = if host.contains(':') { format!("[{host}]").into() } else { host };
        write!(
            f,
            "`{database}` at `{host}:{}` as `{}`",
            self.options.get_port(),
            self.options.get_username()
        )
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

/// Returns whether a server that is starting, or a network that is not there yet, may be the cause.
fn passes(error: &sqlx::Error) -> bool {
    match error.as_database_error().and_then(|refusal| refusal.code()) {
        // Connections, resources, and an operator who stops or starts it.
        Some(code) => ["08", "53", "57"].iter().any(|class| code.starts_with(class)),
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)),
    }
}

/// The innermost cause, which is the one that says something.
fn cause_of(error: &sqlx::Error) -> String {
    if let sqlx::Error::Database(refusal) = error {
        return refusal.message().to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Returns `X`, or what the file `X_FILE` holds without its last newline, which editors and `echo`
/// put there.
///
/// # Errors
/// Both are set, or the file cannot be read.
pub fn setting(
    name: &'static str,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, AddressError> {
    match (find(name), find(&format!("{name}_FILE"))) {
        (Some(_), Some(_)) => Err(AddressError::Both(name)),
        (None, Some(path)) => match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(without_newline(&text).to_owned())),
            Err(error) => Err(AddressError::Unreadable { name, path, cause: error.to_string() }),
        },
        (value, None) => Ok(value),
    }
}

/// The value under `MIGRATIONS_`, or the plain one if neither the setting nor its file is given
/// there.
fn own_setting(name: &str, find: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let base = name.strip_suffix("_FILE").unwrap_or(name);
    let own = |name: &str| find(&format!("MIGRATIONS_{name}")).filter(|value| !value.is_empty());
    // By setting and file together: `MIGRATIONS_PGPASSWORD_FILE` must replace `PGPASSWORD` as well,
    // or both would be set.
    if own(base).is_some() || own(&format!("{base}_FILE")).is_some() {
        own(name)
    } else {
        find(name)
    }
}

fn without_newline(text: &str) -> &str {
    // Only one newline: a password may end in white space.
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Database, AddressError> {
        let owned: Vec<(String, String)> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Database::from_settings(&|name| {
            owned.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
    }

    fn password(database: &Database) -> Option<String> {
        database.options().to_url_lossy().password().map(ToOwned::to_owned)
    }

    #[test]
    fn address_is_made_of_its_parts() {
        let parts = [
            ("PGHOST", "db"),
            ("PGPORT", "6543"),
            ("PGUSER", "auth_app"),
            ("PGDATABASE", "auth"),
            ("PGPASSWORD", "pw"),
        ];
        let database = read(&parts).expect("an address");
        assert_eq!(database.to_string(), "`auth` at `db:6543` as `auth_app`");
        assert_eq!(password(&database).as_deref(), Some("pw"));
    }

    #[test]
    fn address_of_ipv6_reaches_the_resolver_without_its_brackets() {
        for settings in [
            &[("DATABASE_URL", "postgres://u@[::1]:6543/auth")][..],
            &[("PGHOST", "::1"), ("PGPORT", "6543"), ("PGUSER", "u"), ("PGDATABASE", "auth")],
        ] {
            let database = read(settings).expect("an address");
            assert_eq!(
                (database.options().get_host(), database.to_string().as_str()),
                ("::1", "`auth` at `[::1]:6543` as `u`")
            );
        }
    }

    #[test]
    fn secret_file_loses_one_newline() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "top secret\n").expect("written");
        let path = file.path().to_string_lossy();
        let database =
            read(&[("DATABASE_URL", "postgres://u@db/auth"), ("PGPASSWORD_FILE", &path)])
                .expect("an address");
        assert_eq!(password(&database).as_deref(), Some("top%20secret"));
        assert_eq!(format!("{database:?}"), "Database(`auth` at `db:5432` as `u`)");
        assert_eq!(
            (without_newline("a\n\n"), without_newline("a\r\n"), without_newline(" a ")),
            ("a\n", "a", " a ")
        );
    }

    #[test]
    fn migrations_may_have_settings_of_their_own() {
        let find = |name: &str| match name {
            "PGUSER" => Some("auth_app".to_owned()),
            "PGPASSWORD" => Some("for the app".to_owned()),
            "PGHOST" => Some("db".to_owned()),
            "MIGRATIONS_PGUSER" => Some("auth_migrator".to_owned()),
            "MIGRATIONS_PGPASSWORD_FILE" => Some("/a/file".to_owned()),
            "MIGRATIONS_PGHOST" => Some(String::new()),
            _ => None,
        };
        let own = |name| own_setting(name, &find);
        assert_eq!(
            (own("PGUSER").as_deref(), own("PGHOST").as_deref()),
            (Some("auth_migrator"), Some("db"))
        );
        assert_eq!((own("PGPASSWORD"), own("PGPASSWORD_FILE").as_deref()), (None, Some("/a/file")));
    }

    #[test]
    fn setting_in_two_places_is_an_error() {
        for name in ["DATABASE_URL", "PGPASSWORD"] {
            let file = format!("{name}_FILE");
            assert!(
                read(&[(name, "x"), (&file, "y")])
                    .is_err_and(|error| error == AddressError::Both(name))
            );
        }
    }

    #[test]
    fn settings_that_are_wrong_are_told_without_their_secrets() {
        let wrong = |settings: &[(&str, &str)]| read(settings).expect_err("wrong").to_string();
        assert!(wrong(&[]).starts_with("no database is named"));
        assert!(wrong(&[("PGHOST", "")]).starts_with("no database is named"));
        assert_eq!(
            wrong(&[("PGHOST", "db"), ("PGPORT", "x")]),
            "`PGPORT` is `x`, which is no port"
        );
        let url = wrong(&[("DATABASE_URL", "postgres://u:hunter2@db:port/auth")]);
        assert!(url.contains("invalid port number") && !url.contains("hunter2"), "{url}");
        for other in
            ["mysql://u:hunter2@db/auth", "postgresql+psycopg2://u:hunter2@db/auth", "hunter2"]
        {
            let url = wrong(&[("DATABASE_URL", other)]);
            assert!(
                url.contains("it does not begin with `postgres://`") && !url.contains("hunter2"),
                "{url}"
            );
        }
        assert!(
            wrong(&[("PGPASSWORD_FILE", "/nowhere")])
                .starts_with("`PGPASSWORD_FILE` names `/nowhere`")
        );
    }
}
