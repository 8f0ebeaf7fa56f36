//! Failed logins: strict for one account from one address, lenient for one account from anywhere, never for ever.
//! Counted in Redis for all replicas and in this process too, so that losing Redis forgives nobody.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::cache::link::Link;
use crate::cache::throttle;
use crate::clock::uptime_ms;
use crate::gcra::{Allowance, Debts};
use crate::service::error::ServiceError;
use crate::text::canonical;
use crate::token::opaque::hash_text;
use uuid::Uuid;

/// So many accounts and addresses are remembered by the process itself.
const KEYS_MAX: usize = 50_000;

/// The debts of everyone who failed.
#[derive(Debug)]
pub struct Throttle {
    link: Option<Link>,
    pair: Allowance,
    account: Allowance,
    local: Mutex<Debts>,
}

/// Whom somebody wants to log in as.
#[derive(Debug, Clone, Copy)]
pub enum Account<'a> {
    /// Somebody there is: one account, by whichever name and in whichever spelling.
    Known(Uuid),
    /// Nobody there is, as typed.
    Unknown(&'a str),
}

/// Whose attempt it is: the account and the address, and the account alone.
#[derive(Debug, Clone)]
pub struct Attempt([(String, Allowance); 2]);

impl Throttle {
    /// With these allowances.
    #[must_use]
    pub fn new(link: Option<Link>, pair: Allowance, account: Allowance) -> Self {
        Self { link, pair, account, local: Mutex::new(Debts::new(KEYS_MAX)) }
    }

    /// An attempt to log in as `account` from `client`.
    #[must_use]
    pub fn attempt(&self, account: Account<'_>, client: IpAddr) -> Attempt {
        let account = match account {
            Account::Known(id) => id.to_string(),
            Account::Unknown(name) => canonical(name),
        };
        let pair = format!("auth:failed:pair:{}", hash_text(&format!("{account}\0{}", network(client))));
        let alone = format!("auth:failed:account:{}", hash_text(&account));
        Attempt([(pair, self.pair), (alone, self.account)])
    }

    /// Whether the attempt may be made now.
    ///
    /// # Errors
    /// [`ServiceError::TooManyFailures`].
    pub async fn look(&self, attempt: &Attempt) -> Result<(), ServiceError> {
        let now_ms = uptime_ms();
        let here = {
            let local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
            attempt.0.iter().map(|(key, allowance)| local.wait_ms(key, *allowance, now_ms)).max().unwrap_or(0)
        };
        let there = match &self.link {
            Some(link) if here == 0 => throttle::wait_ms(link, &attempt.0).await.unwrap_or(0),
            _ => 0,
        };
        match here.max(there) {
            0 => Ok(()),
            wait_ms => Err(ServiceError::TooManyFailures { retry_after_s: wait_ms.div_ceil(1000) }),
        }
    }

    /// It failed.
    pub async fn failed(&self, attempt: &Attempt) {
        let now_ms = uptime_ms();
        {
            let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
            attempt.0.iter().for_each(|(key, allowance)| local.charge(key, *allowance, now_ms));
        }
        if let Some(link) = &self.link {
            throttle::charge(link, &attempt.0).await;
        }
    }

    /// It succeeded: the address is forgiven, the account's other failures are not.
    pub async fn succeeded(&self, attempt: &Attempt) {
        let (pair, _) = &attempt.0[0];
        self.local.lock().unwrap_or_else(PoisonError::into_inner).clear(pair);
        if let Some(link) = &self.link {
            throttle::clear(link, pair).await;
        }
    }
}

/// Who owns one address of IPv6 owns at least its /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Throttle};
    use crate::gcra::Allowance;
    use crate::service::error::ServiceError;

    fn throttle() -> Throttle {
        let often = Allowance { burst: 4, interval_ms: 60_000 };
        Throttle::new(None, Allowance { burst: 2, interval_ms: 60_000 }, often)
    }

    #[tokio::test]
    async fn one_address_is_stopped_and_others_are_not_yet() {
        let throttle = throttle();
        let here = throttle.attempt(Account::Unknown("Ada"), "192.0.2.1".parse().unwrap());
        let there = throttle.attempt(Account::Unknown("ada"), "192.0.2.2".parse().unwrap());
        throttle.failed(&here).await;
        throttle.failed(&here).await;
        let refused = throttle.look(&here).await;
        assert!(matches!(refused, Err(ServiceError::TooManyFailures { retry_after_s: 60 })), "{refused:?}");
        assert!(throttle.look(&there).await.is_ok());
        throttle.failed(&there).await;
        throttle.failed(&there).await;
        let elsewhere = throttle.attempt(Account::Unknown("ADA"), "192.0.2.3".parse().unwrap());
        assert!(throttle.look(&elsewhere).await.is_err());
    }

    #[tokio::test]
    async fn a_success_forgives_the_address() {
        let throttle = throttle();
        let here = throttle.attempt(Account::Unknown("ada"), "2001:db8::1".parse().unwrap());
        throttle.failed(&here).await;
        throttle.failed(&throttle.attempt(Account::Unknown("ada"), "2001:db8::2".parse().unwrap())).await;
        assert!(throttle.look(&here).await.is_err(), "one /64 is one address");
        throttle.succeeded(&here).await;
        assert!(throttle.look(&here).await.is_ok());
    }
}
