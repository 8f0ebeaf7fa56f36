//! Failed logins: strict for one account from one address, lenient for one account from anywhere,
//! never for ever. Counted in Redis for all replicas and in this process too, so that losing Redis
//! forgives no failure.

use std::net::IpAddr;

use crate::allowance::{Allowance, AllowanceError, Failures};
use crate::cache::failed_logins;
use crate::cache::link::RedisLink;
use crate::clock::uptime;
use crate::service::error::ServiceError;
use crate::text::canonical;
use crate::token::opaque::hash_text;
use uuid::Uuid;

/// Most keys that the process itself remembers.
const KEYS_MAX: usize = 50_000;

/// The debts of everyone who failed.
#[derive(Debug)]
pub struct FailedLogins {
    link: Option<RedisLink>,
    pair: Allowance,
    account: Allowance,
    /// What this process has seen: of the pair, and of the account.
    local: [Failures; 2],
}

/// Account that a login names.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Somebody there is: one account, by whichever name and in whichever spelling.
    Known(Uuid),
    /// Unknown login, as typed.
    Unknown(&'a str),
}

/// Keys that an attempt counts under: the account with the address, and the account alone.
#[derive(Debug, Clone)]
pub struct Attempt([(String, Allowance); 2]);

impl FailedLogins {
    /// Counts by these allowances.
    ///
    /// # Errors
    /// One of them cannot be counted.
    pub fn new(
        link: Option<RedisLink>,
        pair: Allowance,
        account: Allowance,
    ) -> Result<Self, AllowanceError> {
        let local =
            [Failures::new("pair", pair, KEYS_MAX)?, Failures::new("account", account, KEYS_MAX)?];
        Ok(Self { link, pair, account, local })
    }

    /// An attempt to log in as `account` from `client`.
    #[must_use]
    pub fn attempt(&self, account: Target<'_>, client: IpAddr) -> Attempt {
        // Unknown names have debts too, or the limit would reveal which accounts exist.
        let account = match account {
            Target::Known(id) => id.to_string(),
            Target::Unknown(name) => canonical(name),
        };
        // No name has a NUL, so account and network cannot run into each other.
        let pair =
            format!("auth:failed:pair:{}", hash_text(&format!("{account}\0{}", network(client))));
        let alone = format!("auth:failed:account:{}", hash_text(&account));
        Attempt([(pair, self.pair), (alone, self.account)])
    }

    /// Checks that the attempt may be made now.
    ///
    /// # Errors
    /// [`ServiceError::TooManyFailures`].
    pub async fn check(&self, attempt: &Attempt) -> Result<(), ServiceError> {
        let now = uptime();
        let waits =
            self.local.iter().zip(&attempt.0).map(|(local, (key, _))| local.wait(key, now).0);
        let here = waits.max().unwrap_or(0);
        // This process alone can refuse. Redis is asked only where it could still do so.
        let there = match &self.link {
            Some(link) if here == 0 => failed_logins::wait_ms(link, &attempt.0).await.unwrap_or(0),
            _ => 0,
        };
        match here.max(there) {
            0 => Ok(()),
            wait_ms => Err(ServiceError::TooManyFailures { retry_after_s: wait_ms.div_ceil(1000) }),
        }
    }

    /// It failed.
    pub async fn failed(&self, attempt: &Attempt) {
        let now = uptime();
        for (local, (key, _)) in self.local.iter().zip(&attempt.0) {
            local.charge(key, now);
        }
        if let Some(link) = &self.link {
            failed_logins::charge(link, &attempt.0).await;
        }
    }

    /// It succeeded: the address is forgiven, the account's other failures are not.
    pub async fn succeeded(&self, attempt: &Attempt) {
        let (pair, _) = &attempt.0[0];
        self.local[0].clear(pair, uptime());
        if let Some(link) = &self.link {
            failed_logins::clear(link, pair).await;
        }
    }
}

/// Returns the network that counts as one client: who owns one IPv6 address owns at least its /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{FailedLogins, Target};
    use crate::allowance::Allowance;
    use crate::service::error::ServiceError;

    fn failed_logins() -> FailedLogins {
        let often = Allowance { burst: 4, interval_ms: 60_000 };
        FailedLogins::new(None, Allowance { burst: 2, interval_ms: 60_000 }, often)
            .expect("countable")
    }

    #[tokio::test]
    async fn failures_of_one_address_stop_it_before_others() {
        let failed_logins = failed_logins();
        let here = failed_logins.attempt(Target::Unknown("Ada"), "192.0.2.1".parse().unwrap());
        let there = failed_logins.attempt(Target::Unknown("ada"), "192.0.2.2".parse().unwrap());
        failed_logins.failed(&here).await;
        failed_logins.failed(&here).await;
        let refused = failed_logins.check(&here).await;
        assert!(
            matches!(refused, Err(ServiceError::TooManyFailures { retry_after_s: 60 })),
            "{refused:?}"
        );
        assert!(failed_logins.check(&there).await.is_ok());
        failed_logins.failed(&there).await;
        failed_logins.failed(&there).await;
        let elsewhere = failed_logins.attempt(Target::Unknown("ADA"), "192.0.2.3".parse().unwrap());
        assert!(failed_logins.check(&elsewhere).await.is_err());
    }

    #[tokio::test]
    async fn failures_of_an_address_end_with_its_success() {
        let failed_logins = failed_logins();
        let here = failed_logins.attempt(Target::Unknown("ada"), "2001:db8::1".parse().unwrap());
        failed_logins.failed(&here).await;
        failed_logins
            .failed(&failed_logins.attempt(Target::Unknown("ada"), "2001:db8::2".parse().unwrap()))
            .await;
        assert!(failed_logins.check(&here).await.is_err(), "one /64 is one address");
        failed_logins.succeeded(&here).await;
        assert!(failed_logins.check(&here).await.is_ok());
    }
}
