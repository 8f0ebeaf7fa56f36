//! Every setting of the service, read once from the environment, all with a default but the
//! secrets.

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use redis::TlsCertificates;
use secrecy::{ExposeSecret, SecretString};
use weir_limit::client_ip::{Forwarding, Trust};

use crate::allowance::{Allowance, AllowanceError};
use crate::database::{AddressError, Database, setting};
use crate::token::KeyRing;
use crate::token::key::{KeyError, SigningKey};

/// Reason why a setting cannot be used; names the variable, never a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The database's address, or a secret that is in two places or in none that can be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A value of another form.
    #[error("`{name}`: `{value}` cannot be used")]
    Value {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The form it should have.
        form: String,
    },
    /// A file that a setting names cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The setting that names it, and what to do.
        hint: &'static str,
        /// Error of the system.
        source: io::Error,
    },
    /// A file is there and is no key.
    #[error("`{}` cannot be used: {source}", path.display())]
    Key {
        /// Its path.
        path: PathBuf,
        /// Reason why it is none.
        source: KeyError,
    },
    /// Not an address of Redis. It may hold a password, so it is not shown.
    #[error("`REDIS_URL` cannot be used")]
    Redis,
    /// A file of authorities that cannot be used.
    #[error("`REDIS_CA`: `{}` cannot be used: {cause}", path.display())]
    RedisAuthority {
        /// Its path.
        path: PathBuf,
        /// Error of the driver.
        cause: String,
    },
    /// An allowance of failed logins.
    #[error("the allowance of failed logins cannot be counted: {0}")]
    Allowance(#[from] AllowanceError),
    /// argon2 does not take the parameters.
    #[error("the parameters of password hashing cannot be used: {0}")]
    Hashing(String),
}

impl SettingError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address(error) => error.hint().map(str::to_owned),
            Self::Value { form, .. } => Some(format!("it is {form}")),
            Self::File { hint, .. } => Some((*hint).to_owned()),
            Self::Key { .. } => Some("`auth keys generate` makes one".to_owned()),
            Self::Redis => {
                Some("it is redis://HOST:6379, or rediss://HOST:6379 with TLS".to_owned())
            }
            Self::RedisAuthority { .. } | Self::Allowance(_) | Self::Hashing(_) => None,
        }
    }
}

/// Settings by name, as a function so that they can come from anywhere.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Parameters of password hashing (argon2id), and its limits.
#[derive(Debug, Clone, Copy)]
pub struct Hashing {
    /// KiB for each hash.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Hashes computed at the same time: the memory needed is at most this times `memory_kib`.
    pub permits: usize,
    /// Requests that may wait for a permit; further ones are refused.
    pub waiting: usize,
}

/// Choice of `Secure` for cookies: browsers keep and send those over TLS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieSecure {
    /// `true`: they are.
    Always,
    /// `false`: they are not.
    Never,
    /// `auto`: unless a trusted proxy says that the client came over plain HTTP.
    Auto,
}

impl FromStr for CookieSecure {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "true" => Ok(Self::Always),
            "false" => Ok(Self::Never),
            "auto" => Ok(Self::Auto),
            _ => Err(()),
        }
    }
}

/// Pooler between the service and Postgres, by what a session keeps from one transaction to the
/// next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// `none`: everything. There is no pooler, or one that gives each client a server connection of
    /// its own.
    None,
    /// `transaction`: nothing. Each transaction gets a server connection, as with PgBouncer's
    /// `pool_mode = transaction`.
    Transaction,
}

impl FromStr for Pooler {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "transaction" => Ok(Self::Transaction),
            _ => Err(()),
        }
    }
}

/// The service as configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the service.
    pub listen: SocketAddr,
    /// Address of the metrics; for the inside only.
    pub metrics_listen: SocketAddr,
    /// Address of Postgres.
    pub database: Database,
    /// Pooler between the service and Postgres.
    pub pooler: Pooler,
    /// Connections to it at most.
    pub pool: u32,
    /// Address of Redis; without it everything is read from Postgres.
    pub redis: Option<SecretString>,
    /// Authority behind the certificate of a `rediss://`, where it is not a public one.
    pub redis_ca: Option<PathBuf>,
    /// Directory of the signing keys.
    pub keys_dir: PathBuf,
    /// The `iss` of access tokens.
    pub issuer: String,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Trust,
    /// Choice of `Secure` for cookies.
    pub cookie_secure: CookieSecure,
    /// Directory for mails to be sent, one file each; without it none are made.
    pub mail_dir: Option<PathBuf>,
    /// Passwords.
    pub hashing: Hashing,
    /// Failed logins of one account from one address.
    pub pair: Allowance,
    /// Failed logins of one account from anywhere.
    pub account: Allowance,
    /// Time for which a refresh token that was just used gets the same successor again.
    pub grace: Duration,
    /// Longest wait of a start for the database.
    pub start_wait: Duration,
}

impl Settings {
    /// From the process's environment.
    ///
    /// # Errors
    /// Names the variable.
    pub fn from_environment() -> Result<Self, SettingError> {
        // A compose file passes a variable that is not set as an empty one: both mean the default.
        Self::read(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// From any environment.
    ///
    /// # Errors
    /// Names the variable.
    pub fn read(environment: Environment<'_>) -> Result<Self, SettingError> {
        let database = Database::from_settings(environment)?;
        // Hashing is bound by processors: more permits would take memory and finish no sooner.
        let permits = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = bounded(environment, "HASH_PERMITS", permits as u64, 1..=1024)? as usize;
        Ok(Self {
            listen: listen(environment)?,
            metrics_listen: parsed(
                environment,
                "METRICS_LISTEN",
                SocketAddr::from(([0, 0, 0, 0], 9100)),
                ADDRESS,
            )?,
            database,
            pooler: parsed(
                environment,
                "DATABASE_POOLER",
                Pooler::None,
                "`none` or `transaction`",
            )?,
            // At least 2, because half of the pool is left to others than readers of the cache's
            // rows.
            pool: bounded(environment, "DATABASE_POOL", 10, 2..=1024)? as u32,
            redis: setting("REDIS_URL", environment)?.map(SecretString::from),
            redis_ca: environment("REDIS_CA").map(PathBuf::from),
            keys_dir: environment("AUTH_KEYS_DIR")
                .map_or_else(|| PathBuf::from("/run/secrets/auth_keys"), PathBuf::from),
            issuer: environment("ISSUER").unwrap_or_else(|| "auth".to_owned()),
            trusted_proxies: Trust {
                proxies: networks(environment, "TRUSTED_PROXIES")?,
                header: Forwarding::XForwardedFor,
                recursive: true,
            },
            cookie_secure: parsed(
                environment,
                "COOKIE_SECURE",
                CookieSecure::Auto,
                "`true`, `false` or `auto`",
            )?,
            mail_dir: environment("MAIL_DIR").map(PathBuf::from),
            // The minimum that OWASP gives for argon2id: 19 MiB, two passes, one lane.
            hashing: Hashing { memory_kib: 19_456, passes: 2, permits, waiting: 64 },
            pair: Allowance { burst: 5, interval_ms: 60_000 },
            account: Allowance { burst: 100, interval_ms: 6_000 },
            grace: Duration::from_secs(30),
            start_wait: Duration::from_secs(bounded(environment, "START_WAIT_S", 30, 0..=86_400)?),
        })
    }

    /// The way to Redis, if it is to be used; `rediss://` is TLS, and its certificate is verified.
    ///
    /// # Errors
    /// The address, or the file of authorities, cannot be read.
    pub fn redis_client(&self) -> Result<Option<redis::Client>, SettingError> {
        let Some(url) = &self.redis else { return Ok(None) };
        let Some(path) = &self.redis_ca else {
            return redis::Client::open(url.expose_secret())
                .map(Some)
                .map_err(|_| SettingError::Redis);
        };
        let unread =
            |source| SettingError::File { path: path.clone(), hint: "`REDIS_CA` names it", source };
        let certificates =
            TlsCertificates { client_tls: None, root_cert: Some(fs::read(path).map_err(unread)?) };
        let client = redis::Client::build_with_tls(url.expose_secret(), certificates);
        let unusable = |error: redis::RedisError| SettingError::RedisAuthority {
            path: path.clone(),
            cause: error.to_string(),
        };
        client.map(Some).map_err(unusable)
    }

    /// The signing keys: `current.pem` and, where they are there, `next.pem` and `previous.pem` of
    /// the directory.
    ///
    /// # Errors
    /// A file is missing, or is not a key.
    pub fn key_ring(&self) -> Result<KeyRing, SettingError> {
        let current = read_key(&self.keys_dir.join("current.pem"))?;
        let others = ["next.pem", "previous.pem"].map(|name| self.keys_dir.join(name));
        let others = others
            .iter()
            // Neither is needed: a first start has no previous key yet.
            .filter(|path| path.exists())
            .map(|path| read_key(path))
            .collect::<Result<_, _>>()?;
        Ok(KeyRing::new(self.issuer.clone(), current, others))
    }
}

/// Reads a signing key.
///
/// # Errors
/// The file cannot be read, or is no key.
pub fn read_key(path: &Path) -> Result<SigningKey, SettingError> {
    let hint = "`AUTH_KEYS_DIR` names its directory; `auth keys generate` makes it";
    let pem = fs::read_to_string(path).map_err(|source| SettingError::File {
        path: path.to_owned(),
        hint,
        source,
    })?;
    let pem = SecretString::from(pem);
    SigningKey::from_pem(pem.expose_secret())
        .map_err(|source| SettingError::Key { path: path.to_owned(), source })
}

/// Reads the address of the service.
///
/// # Errors
/// It is no address.
pub fn listen(environment: Environment<'_>) -> Result<SocketAddr, SettingError> {
    parsed(environment, "LISTEN", SocketAddr::from(([0, 0, 0, 0], 8000)), ADDRESS)
}

/// Form of an address.
const ADDRESS: &str = "an address and a port, like `0.0.0.0:8000`";

fn parsed<T: FromStr>(
    environment: Environment<'_>,
    name: &'static str,
    default: T,
    form: &str,
) -> Result<T, SettingError> {
    environment(name).map_or(Ok(default), |text| text.parse().map_err(|_| wrong(name, &text, form)))
}

fn bounded(
    environment: Environment<'_>,
    name: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, SettingError> {
    let Some(text) = environment(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        wrong(name, &text, &format!("a number from {} to {}", range.start(), range.end()))
    })
}

/// Networks by commas; an address is a network of one.
fn networks(environment: Environment<'_>, name: &'static str) -> Result<Vec<IpNet>, SettingError> {
    let text = environment(name).unwrap_or_default();
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let network =
        |item: &str| item.parse().ok().or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
    items
        .map(|item| {
            network(item)
                .ok_or_else(|| wrong(name, item, "networks by commas, like `10.0.0.0/8,192.0.2.1`"))
        })
        .collect()
}

fn wrong(name: &'static str, value: &str, form: &str) -> SettingError {
    SettingError::Value { name, value: value.to_owned(), form: form.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{CookieSecure, Settings};

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let find = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&find)
            .map_err(|error| format!("{error}\nhint: {}", error.hint().unwrap_or_default()))
    }

    #[test]
    fn settings_need_the_database_only() {
        let settings = read(&[("DATABASE_URL", "postgres://auth_app@db/auth")]).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:8000");
        assert_eq!(settings.metrics_listen.to_string(), "0.0.0.0:9100");
        assert_eq!((settings.hashing.memory_kib, settings.hashing.passes), (19_456, 2));
        assert!(settings.trusted_proxies.proxies.is_empty() && settings.redis.is_none());
        assert_eq!(settings.cookie_secure, CookieSecure::Auto);
        assert!(read(&[]).is_err());
    }

    #[test]
    fn cookies_are_secure_always_never_or_as_the_proxy_says() {
        let secure = |value| {
            let settings =
                read(&[("DATABASE_URL", "postgres://auth_app@db/auth"), ("COOKIE_SECURE", value)]);
            settings.map(|settings| settings.cookie_secure)
        };
        assert_eq!(secure("true"), Ok(CookieSecure::Always));
        assert_eq!(secure("false"), Ok(CookieSecure::Never));
        assert_eq!(secure("auto"), Ok(CookieSecure::Auto));
        assert!(secure("yes").unwrap_err().contains("COOKIE_SECURE"));
    }

    #[test]
    fn lists_are_separated_by_commas_and_a_wrong_value_is_named() {
        let database = ("DATABASE_URL", "postgres://auth_app@db/auth");
        let settings =
            read(&[database, ("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1, 2001:db8::1")]).unwrap();
        assert_eq!(settings.trusted_proxies.proxies.len(), 3);
        let error = read(&[database, ("TRUSTED_PROXIES", "proxy")]).unwrap_err();
        assert!(
            error.starts_with("`TRUSTED_PROXIES`: `proxy` cannot be used")
                && error.contains("10.0.0.0/8"),
            "{error}"
        );
        for name in ["START_WAIT_S", "HASH_PERMITS", "DATABASE_POOL"] {
            let error = read(&[database, (name, "18446744073709551615")]).unwrap_err();
            assert!(error.contains(name) && error.contains("a number from"), "{error}");
        }
        assert!(
            read(&[database, ("LISTEN", "8000")]).unwrap_err().contains("an address and a port")
        );
    }
}
