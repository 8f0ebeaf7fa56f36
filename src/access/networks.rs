//! Access by network: clients that a route refuses.
//!
//! Guarantees: `deny` always refuses, and with `allow` every other network is refused. The order of
//! networks has no meaning. A list without networks, as of an empty file, allows no one.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Conditions that a client has to meet where a route has networks and authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Satisfy {
    /// Both of them.
    #[default]
    All,
    /// A client of an allowed network needs no credentials, and any other needs them.
    Any,
}

/// Networks of the clients that may pass a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkAccess {
    /// Allowed networks; none for all of them.
    pub allow: Option<Vec<IpNet>>,
    /// Denied networks, also within allowed ones.
    pub deny: Vec<IpNet>,
    /// Conditions beside authentication.
    pub satisfy: Satisfy,
}

/// Standing of a client by its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkVerdict {
    /// It may pass, after authentication where the route has that.
    #[default]
    Allowed,
    /// It may pass without authentication.
    Trusted,
    /// It may not pass.
    Denied,
}

impl NetworkAccess {
    /// Judges a client.
    #[must_use]
    pub fn judge(&self, client: IpAddr) -> NetworkVerdict {
        // Networks are written for IPv4, and a mapped address is the same client.
        let client = client.to_canonical();
        let has = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        // First, so that no allowed network opens what is denied.
        if has(&self.deny) {
            return NetworkVerdict::Denied;
        }
        let is_allowed = self.allow.as_deref().is_none_or(has);
        match (is_allowed, self.satisfy) {
            (true, Satisfy::All) | (false, Satisfy::Any) => NetworkVerdict::Allowed,
            (true, Satisfy::Any) => NetworkVerdict::Trusted,
            (false, Satisfy::All) => NetworkVerdict::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::access::networks::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    #[test]
    fn deny_wins_and_allow_refuses_all_others() {
        use NetworkVerdict::{Allowed, Denied};
        let (allow, deny) =
            (Some(networks(&["10.0.0.0/8", "2001:db8::/32"])), networks(&["10.9.0.0/16"]));
        let both = NetworkAccess { allow, deny, satisfy: Satisfy::All };
        let denying = NetworkAccess { allow: None, ..both.clone() };
        for (client, of_both, of_denying) in [
            ("10.1.2.3", Allowed, Allowed),
            ("::ffff:10.1.2.3", Allowed, Allowed),
            ("10.9.0.1", Denied, Denied),
            ("::ffff:10.9.0.1", Denied, Denied),
            ("192.0.2.1", Denied, Allowed),
            ("2001:db8::1", Allowed, Allowed),
            ("2001:db9::1", Denied, Allowed),
        ] {
            let client = client.parse().expect("an address");
            assert_eq!(
                (both.judge(client), denying.judge(client)),
                (of_both, of_denying),
                "{client}"
            );
        }
    }

    #[test]
    fn satisfy_any_trusts_allowed_networks_and_still_denies() {
        let allow = Some(networks(&["10.0.0.0/8"]));
        let any = NetworkAccess { allow, deny: networks(&["10.9.0.0/16"]), satisfy: Satisfy::Any };
        let judge = |client: [u8; 4]| any.judge(IpAddr::from(client));
        assert_eq!(judge([10, 1, 2, 3]), NetworkVerdict::Trusted);
        assert_eq!(judge([192, 0, 2, 1]), NetworkVerdict::Allowed);
        assert_eq!(judge([10, 9, 0, 1]), NetworkVerdict::Denied);
    }

    #[test]
    fn empty_allow_list_allows_no_one() {
        let none = NetworkAccess { allow: Some(Vec::new()), ..NetworkAccess::default() };
        assert_eq!(none.judge(IpAddr::from([10, 0, 0, 1])), NetworkVerdict::Denied);
        let all = NetworkAccess::default();
        assert_eq!(all.judge(IpAddr::from([10, 0, 0, 1])), NetworkVerdict::Allowed);
    }
}
