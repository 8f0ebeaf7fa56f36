//! Zones: from the file to the settings of the limiter.

use super::{collector::Collector, location::Location};
use crate::{
    config::schema::{Amount, ZoneKey, ZoneSpec},
    limit::{Key, Missing, Part, Rate, ZoneSettings},
    runtime::hint::hinted,
};

/// Limit on the keys of a zone: about 5 GB.
const MAX_CAPACITY: usize = 100_000_000;

/// Resolves the zone of one name.
pub fn zone(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    name: &str,
    zone: &ZoneSpec,
) -> ZoneSettings {
    let rate = judge.take(spot.key("rate"), zone.rate.parse());
    ZoneSettings {
        name: name.into(),
        key: Key {
            ipv4_prefix: zone.ipv4_prefix,
            ipv6_prefix: zone.ipv6_prefix,
            ..key(judge, spot.key("key"), &zone.key, zone.missing)
        },
        rate: rate.unwrap_or_else(stand_in),
        capacity: capacity(judge, spot.key("capacity"), &zone.capacity),
        exempt: judge.networks(spot.key("exempt"), &zone.exempt),
    }
}

/// Parses a number of keys. nginx's `zone=NAME:10m` is a size, of which a key takes 64 bytes there.
fn capacity(judge: &mut Collector<'_>, spot: Location<'_>, amount: &Amount) -> usize {
    let mebibytes = amount.0.strip_suffix('m').and_then(|number| number.parse::<usize>().ok());
    if let Some(keys) =
        mebibytes.and_then(|number| number.checked_mul(16)).filter(|thousands| *thousands > 0)
    {
        let text = &amount.0;
        let hint = format!(
            "this counts keys, and `{text}` holds about {keys}k of them in nginx: write `{keys}k`"
        );
        judge.refuse(spot, hinted(format!("`{text}` has no clear unit"), hint));
        return 1;
    }
    judge.count(spot, amount, 1..=MAX_CAPACITY)
}

/// Resolves a key with the usual prefixes.
pub(super) fn key(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    key: &ZoneKey,
    missing: Option<Missing>,
) -> Key {
    let parts = match key {
        ZoneKey::Part(part) => judge.take(spot, part.parse()).into_iter().collect(),
        // Each part is reported at its own place, also when another is wrong.
        ZoneKey::Parts(parts) => {
            if parts.is_empty() {
                let hint = "for one bucket shared by all requests use `global`";
                judge.refuse(spot, hinted("`key` is empty", hint));
            }
            let parts = parts.iter().enumerate();
            parts.filter_map(|(index, part)| part_of(judge, spot.item(index), part)).collect()
        }
    };
    let key = Key::of(parts);
    Key { missing: missing.unwrap_or(key.missing), ..key }
}

fn part_of(judge: &mut Collector<'_>, spot: Location<'_>, part: &str) -> Option<Part> {
    judge.take(spot, part.parse())
}

/// Stand-in for a wrong rate, fast enough to make no burst too long.
fn stand_in() -> Rate {
    const RATE: &str = "1000r/s";
    RATE.parse().unwrap_or_else(|_| unreachable!("`{RATE}` is a rate"))
}
