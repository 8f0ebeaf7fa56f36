//! Load balancing: choice of the address for the next request.
//!
//! Guarantees: every method follows the weights. Equal addresses take turns. The hash of a client
//! changes its address only when that address comes or goes.

use std::{cell::Cell, hash::Hasher, net::IpAddr, os::unix::ffi::OsStrExt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::remote::Remote;

/// Distribution of requests over the addresses of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each address in turn.
    RoundRobin,
    // Those of this worker, per weight; equals in turn.
    /// The address with the fewest requests in progress (nginx: `least_conn`).
    #[default]
    LeastRequests,
    /// The same address for one client (nginx: `ip_hash`).
    #[serde(rename = "hash:client_ip")]
    HashClientIp,
}

/// Balancing state of one address, for one worker.
#[derive(Debug)]
pub struct Share {
    id: u64,
    weight: Cell<u32>,
    /// Credit in the smooth weighted round robin.
    credit: Cell<i64>,
    /// Requests in progress.
    pub under_way: Cell<u32>,
}

impl Share {
    /// Creates the state of an address without requests.
    #[must_use]
    pub fn new(address: &Remote, weight: u32) -> Self {
        Self {
            id: address_hash(address),
            // With a weight of zero the loads of two addresses could not be compared.
            weight: Cell::new(weight.max(1)),
            credit: Cell::new(0),
            under_way: Cell::new(0),
        }
    }

    /// Sets the weight that its address has by now.
    pub fn grow_to(&self, weight: u32) {
        self.weight.set(weight.max(1));
    }

    /// Compares the requests in progress per weight.
    fn load_cmp(&self, other: &Self) -> std::cmp::Ordering {
        let load =
            // `a / wa < b / wb` without a division: `a * wb < b * wa`. For 3 requests at weight 2
            // and 2 at weight 1 that is 3 < 4, so the first is chosen.
            |one: &Self, other: &Self| {
                u64::from(one.under_way.get()) * u64::from(other.weight.get())
            };
        load(self, other).cmp(&load(other, self))
    }

    /// Weighted rendezvous hashing by logarithms (Schindelhauer and Schomaker 2005): the address
    /// with the greatest score belongs to the client, and no score depends on the other addresses.
    fn score(&self, client: u64) -> f64 {
        let mut hash = SipHasher13::new();
        hash.write_u64(client);
        hash.write_u64(self.id);
        f64::from(self.weight.get()) / -uniform(hash.finish()).ln()
    }
}

/// Number above 0 and below 1 for a hash, so that its logarithm is finite and not zero. 52 bits and
/// the half fill the mantissa of 53 bits: with 53 bits the largest number would round to 1.
fn uniform(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

impl Balance {
    /// Index of the candidate for the next request of `client`; none if there are no candidates.
    pub fn choose<'a>(
        self,
        client: IpAddr,
        candidates: impl Iterator<Item = (usize, &'a Share)> + Clone,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin => take_turn(candidates),
            Self::LeastRequests => {
                let least = candidates
                    .clone()
                    .map(|(_, share)| share)
                    .min_by(|one, other| one.load_cmp(other))?;
                // Equals take turns. Without this the first address would get every request of a
                // quiet worker.
                take_turn(candidates.filter(|(_, share)| share.load_cmp(least).is_eq()))
            }
            Self::HashClientIp => {
                let client = client_hash(client);
                let scored = candidates.map(|(position, share)| (position, share.score(client)));
                // No score is NaN, so this order is the usual one.
                scored.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(position, _)| position)
            }
        }
    }
}

/// Smooth weighted round robin of nginx: each candidate earns its weight, and the richest is chosen
/// and pays the total.
fn take_turn<'a>(candidates: impl Iterator<Item = (usize, &'a Share)>) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<(usize, &Share)> = None;
    for (position, share) in candidates {
        let weight = i64::from(share.weight.get());
        total += weight;
        // Only candidates earn, and one of them pays it all, so the sum of credits stays zero.
        share.credit.set(share.credit.get() + weight);
        if richest.is_none_or(|(_, best)| share.credit.get() > best.credit.get()) {
            richest = Some((position, share));
        }
    }
    let (position, share) = richest?;
    share.credit.set(share.credit.get() - total);
    Some(position)
}

/// Hash of a client: its IPv4 address, or its IPv6 /64 network, as the other half of an IPv6
/// address changes every few hours.
fn client_hash(client: IpAddr) -> u64 {
    let mut hash = SipHasher13::new();
    match client.to_canonical() {
        IpAddr::V6(address) => hash.write(&address.octets()[..8]),
        address @ IpAddr::V4(_) => write_ip(&mut hash, address),
    }
    hash.finish()
}

/// Hash of an address, the same in every process.
#[must_use]
pub fn address_hash(address: &Remote) -> u64 {
    let mut hash = SipHasher13::new();
    match address {
        Remote::Tcp(address) => {
            write_ip(&mut hash, address.ip());
            hash.write_u16(address.port());
        }
        Remote::Unix(path) => hash.write(path.as_os_str().as_bytes()),
    }
    hash.finish()
}

fn write_ip(hash: &mut SipHasher13, address: IpAddr) {
    match address {
        IpAddr::V4(address) => hash.write(&address.octets()),
        IpAddr::V6(address) => hash.write(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::balance::*;

    fn shares(weights: &[u32]) -> Vec<Share> {
        let share = |(index, weight): (usize, &u32)| {
            let last = u8::try_from(index).expect("a short list");
            Share::new(&Remote::Tcp(([10, 0, 0, last], 80).into()), *weight)
        };
        weights.iter().enumerate().map(share).collect()
    }

    fn chosen(balance: Balance, shares: &[Share], client: [u8; 4]) -> usize {
        balance.choose(IpAddr::from(client), shares.iter().enumerate()).expect("a candidate")
    }

    #[test]
    fn balance_uniform_number_is_above_zero_and_below_one() {
        for hash in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let number = uniform(hash);
            assert!(number > 0.0 && number < 1.0 && number.ln() < 0.0, "{hash}: {number}");
        }
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread_out() {
        let shares = shares(&[5, 1, 1]);
        let turns: Vec<_> = (0..7).map(|_| chosen(Balance::RoundRobin, &shares, [0; 4])).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn balance_least_busy_wins_and_equals_take_turns() {
        let shares = shares(&[1, 1, 2]);
        shares[1].under_way.set(1);
        shares[2].under_way.set(1);
        assert_eq!(chosen(Balance::LeastRequests, &shares, [0; 4]), 0);
        shares[0].under_way.set(1);
        assert_eq!(
            chosen(Balance::LeastRequests, &shares, [0; 4]),
            2,
            "one of weight 2 is half as busy"
        );
        shares.iter().for_each(|share| share.under_way.set(0));
        let mut counts = [0; 3];
        (0..400).for_each(|_| counts[chosen(Balance::LeastRequests, &shares, [0; 4])] += 1);
        assert_eq!(counts, [100, 100, 200]);
    }

    #[test]
    fn balance_hash_moves_a_client_only_when_its_address_goes() {
        let shares = shares(&[1, 1, 1, 3]);
        let clients = || (0..=255).flat_map(|b| (0..20).map(move |c| [10, 9, b, c]));
        let mut counts = [0; 4];
        for client in clients() {
            let before = chosen(Balance::HashClientIp, &shares, client);
            counts[before] += 1;
            let left = shares.iter().enumerate().filter(|(position, _)| *position != 1);
            let after =
                Balance::HashClientIp.choose(IpAddr::from(client), left).expect("a candidate");
            assert!(before == 1 || after == before, "{client:?} moved from {before} to {after}");
        }
        let sixth = 256 * 20 / 6;
        for (count, weight) in counts.iter().zip([1, 1, 1, 3]) {
            assert!(
                (sixth * weight * 9 / 10..=sixth * weight * 11 / 10).contains(count),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn one_home_is_one_client() {
        let hash = |text: &str| client_hash(text.parse().expect("an address"));
        assert_eq!(hash("2001:db8::1"), hash("2001:db8::ffff:2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_eq!(hash("::ffff:192.0.2.1"), hash("192.0.2.1"));
    }
}
