//! From the configuration that is served to another one: what stays, what is new, what goes.
//!
//! Guarantees: everything that can fail is done before anything changes; a zone whose settings stay keeps its very counts, one
//! whose rate, burst or capacity changed keeps its debts as time, one that is counted by another key starts empty. An upstream
//! whose settings stay keeps its addresses and its connections.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    clock::Clock,
    config::{Config, Problems},
    limit::{Millis, Snapshot, Zone, ZoneSettings},
    upstream::{group::Group, settings::UpstreamSettings},
};

use super::StartError;

/// Why a configuration was not taken over; the one before is served on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It was started without a file.
    #[error("there is no configuration file to load again")]
    NoFile,
    /// The file is wrong.
    #[error("the configuration is wrong, the one before is served on\n{0}")]
    Invalid(Problems),
    /// A new address or the access log cannot be had.
    #[error("{0}, the configuration before is served on")]
    Start(#[from] StartError),
    /// A worker could not take it over.
    #[error("a worker did not take the configuration over: {0}")]
    Worker(String),
    /// The process stops.
    #[error("weir is stopping")]
    Stopping,
}

/// The zones of another configuration, with what those of the same name remember.
#[must_use]
pub fn carry(before: &[Arc<Zone>], settings: &[ZoneSettings], clock: Clock) -> Vec<Arc<Zone>> {
    let same_name = |settings: &ZoneSettings| before.iter().find(|zone| zone.settings().name == settings.name);
    let carried = |settings: &ZoneSettings| match same_name(settings) {
        Some(zone) if zone.settings() == settings => Arc::clone(zone),
        Some(zone) if zone.settings().key == settings.key => Arc::new(moved(zone, settings.clone(), clock)),
        _ => Arc::new(Zone::new(settings.clone())),
    };
    settings.iter().map(carried).collect()
}

fn moved(before: &Zone, settings: ZoneSettings, clock: Clock) -> Zone {
    let zone = Zone::with_seed(settings, before.seed());
    let now = Millis::cut(clock.now());
    // Name and seed are the same, so it fits.
    if let Err(error) = Snapshot::take(before, now).restore(&zone, now) {
        tracing::error!(%error, "a zone lost its debts");
    }
    zone
}

/// The upstreams of another configuration: those that stay as they were, and new ones.
#[must_use]
pub fn groups(before: &[Arc<Group>], settings: &[UpstreamSettings]) -> Vec<Arc<Group>> {
    let kept = |settings: &UpstreamSettings| before.iter().find(|group| group.settings() == settings).cloned();
    settings.iter().map(|settings| kept(settings).unwrap_or_else(|| Group::new(settings.clone()))).collect()
}

/// Which addresses are new, and which are gone.
#[must_use]
pub fn moves(before: &[SocketAddr], after: &[SocketAddr]) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let missing = |from: &[SocketAddr], all: &[SocketAddr]| {
        all.iter().copied().filter(|address| !from.contains(address)).collect::<Vec<_>>()
    };
    (missing(before, after), missing(after, before))
}

/// What a running process does not change, by key, if it differs.
#[must_use]
pub fn left_alone(before: &Config, after: &Config) -> Vec<&'static str> {
    let differs = [("workers", before.workers != after.workers), ("admin.address", before.admin != after.admin)];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Key, Part, Rule, RuleSettings, zone::Intent};

    fn settings(rate: &str, part: Part) -> ZoneSettings {
        let rate = rate.parse().expect("a rate");
        ZoneSettings { name: "z".into(), key: Key::of(vec![part]), rate, capacity: 100, exempt: Vec::new() }
    }

    fn owing(zone: &Arc<Zone>) -> u64 {
        let rule = Rule::new(Arc::clone(zone), RuleSettings::burst(10)).expect("a rule");
        rule.decide(1, Millis::ZERO, Intent::Look).wait.0
    }

    #[test]
    fn debts_stay_with_a_zone_of_the_same_name_and_key() {
        let clock = Clock::start();
        let zones = vec![Arc::new(Zone::new(settings("1r/s", Part::ClientIp)))];
        let rule = Rule::new(Arc::clone(&zones[0]), RuleSettings::burst(10)).expect("a rule");
        for _ in 0..3 {
            let _ = rule.decide(1, Millis::ZERO, Intent::Charge);
        }
        let carried = |settings| carry(&zones, &[settings], clock).remove(0);
        assert!(Arc::ptr_eq(&carried(settings("1r/s", Part::ClientIp)), &zones[0]));
        // Three seconds are owed, whatever the rate.
        assert!((2_900..=3_000).contains(&owing(&carried(settings("2r/s", Part::ClientIp)))));
        assert_eq!(owing(&carried(settings("1r/s", Part::Host))), 0);
    }

    #[test]
    fn an_upstream_that_stays_is_the_same_one() {
        let upstreams = |hold: &str| {
            let text = format!(
                "listeners: [ ':1' ]\nupstreams: {{ a: {{ endpoints: [ 'a:80' ] }}, b: {{ endpoints: [ 'b:80' ], hold: {hold} }} }}\n\
                 routes: [ {{ path: /a, upstream: a }}, {{ path: /, upstream: b }} ]"
            );
            crate::config::parse("test", &text, &[]).expect("a configuration").config.upstreams
        };
        let before = groups(&[], &upstreams("1s"));
        let after = groups(&before, &upstreams("2s"));
        assert!(Arc::ptr_eq(&before[0], &after[0]) && !Arc::ptr_eq(&before[1], &after[1]));
    }

    #[test]
    fn addresses_come_and_go() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(moves(&[address(1), address(2)], &[address(2), address(3)]), (vec![address(3)], vec![address(1)]));
    }
}
