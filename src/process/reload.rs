//! From the configuration that is served to another one: what stays, what is new, what goes.
//!
//! Guarantees: [`prepare`] does everything that can fail and changes nothing that is served; what
//! it returns can only be dropped or taken over. A zone whose settings stay keeps its very counts,
//! one whose rate, burst or capacity changed keeps its debts as time, one that is counted by
//! another key starts empty. An upstream whose settings stay keeps its addresses and its
//! connections.

use std::{net::SocketAddr, sync::Arc};

use super::{
    StartError, addresses,
    listeners::{self, ListenerUpdate},
    open_log, sockets, state_writer,
    worker::{Listening, Shared},
};
use crate::{
    config::{Config, Problems},
    limit::{Millis, Succession, Zone, ZoneSettings},
    log::writer::Writer,
    runtime::clock::Clock,
    upstream::{endpoints::EndpointGroup, settings::UpstreamSettings},
};

/// Another configuration, with everything it needs opened, read and built: taking it over cannot
/// fail.
pub struct ReloadPlan {
    /// What the workers serve from then on.
    pub shared: Shared,
    /// Where each worker listens in addition ...
    pub opened: Vec<Vec<Listening>>,
    /// ... and no longer.
    pub closed: Vec<SocketAddr>,
    /// The sockets of `opened` once more, to hand over.
    pub held: Vec<Listening>,
    /// The access log's thread, where the log was opened again.
    pub writer: Option<Writer>,
    /// The caps and certificates.
    pub fitted: ListenerUpdate,
    /// What is charged to zones made anew until every worker has changed over goes over at the end.
    pub successions: Vec<Succession>,
    /// Names of the zones that start empty.
    pub emptied: Vec<Arc<str>>,
}

/// What becomes of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogChange {
    /// It is opened again.
    Reopened,
    /// It stays as it is.
    Kept,
}

/// Prepares another configuration for so many workers. Files are read and opened: it may take as
/// long as a disk takes.
///
/// # Errors
/// When something cannot be opened, read or listened on; nothing has changed then.
pub fn prepare(
    before: &Shared,
    config: Config,
    workers: usize,
    log: AccessLogChange,
) -> Result<ReloadPlan, ReloadError> {
    let (new, closed) = moves(&addresses(&before.config.listeners), &addresses(&config.listeners));
    let fitted = listeners::fit(&before.doors, &config.listeners)?;
    let mut opened = sockets::none_for(workers);
    for address in new {
        sockets::listen_for(&config.listeners, &mut opened, address, Vec::new())?;
    }
    let held = sockets::again(&opened).map_err(StartError::Thread)?;
    sockets::tune(&held, config.timeouts.write)?;
    let upstreams = groups(&before.upstreams, &config.upstreams)?;
    let (lines, writer) = match log {
        AccessLogChange::Reopened => open_log(&config)?,
        AccessLogChange::Kept => (before.lines.clone(), None),
    };
    if config.state.file != before.config.state.file {
        state_writer::try_out(&config.state, true);
    }
    // The last of all, so that the debts are as young as can be.
    let Zones { zones, successions, emptied } = carry(&before.zones, &config.zones, before.clock);
    let doors = Arc::clone(&fitted.doors);
    let shared =
        Shared { zones, doors, upstreams, lines, config: Arc::new(config), ..before.clone() };
    Ok(ReloadPlan { shared, opened, closed, held, writer, fitted, successions, emptied })
}

/// Effect of a change that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The settings are others than before.
    Changed,
    /// The settings are the same as before.
    Nothing,
}

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
    /// A worker could not build it.
    #[error("a worker cannot serve the configuration: {0}, the one before is served on")]
    Worker(String),
    /// A worker panicked over it.
    #[error("a worker has failed within the change: this process ends with the requests under way")]
    Lost,
    /// weir panicked over it.
    #[error("weir failed over the configuration: {0}, the one before is served on")]
    Panicked(String),
    /// The process stops.
    #[error("weir is stopping")]
    Stopping,
}

/// The zones of another configuration.
#[derive(Default)]
pub struct Zones {
    /// In the order of the configuration.
    pub zones: Vec<Arc<Zone>>,
    /// Debts that went over to a zone made anew.
    pub successions: Vec<Succession>,
    /// Names of those that start empty, for they are counted by another key.
    pub emptied: Vec<Arc<str>>,
}

/// The zones of another configuration, with what those of the same name remember.
#[must_use]
pub fn carry(before: &[Arc<Zone>], settings: &[ZoneSettings], clock: Clock) -> Zones {
    let mut carried = Zones::default();
    for settings in settings {
        let known = before.iter().find(|zone| zone.settings().name == settings.name);
        let zone = match known {
            Some(zone) if zone.settings() == settings => Arc::clone(zone),
            Some(zone) if zone.settings().key == settings.key => {
                carried.succeed(zone, settings.clone(), clock)
            }
            known => {
                carried.emptied.extend(known.map(|_| Arc::clone(&settings.name)));
                let zone = Zone::new(settings.clone());
                Arc::new(match known {
                    Some(before) => zone.in_place_of(before),
                    None => zone,
                })
            }
        };
        carried.zones.push(zone);
    }
    carried
}

impl Zones {
    fn succeed(&mut self, before: &Arc<Zone>, settings: ZoneSettings, clock: Clock) -> Arc<Zone> {
        let zone = Arc::new(Zone::with_seed(settings, before.seed()).in_place_of(before));
        // Name, seed and key are the same, so it fits.
        match Succession::begin(before, &zone, Millis::cut(clock.now())) {
            Ok(succession) => self.successions.push(succession),
            Err(error) => tracing::error!(%error, "a zone lost its debts"),
        }
        zone
    }
}

/// The upstreams of another configuration: those that stay as they were, whose file of authorities
/// too, and new ones.
///
/// # Errors
/// When TLS to an upstream cannot be spoken.
pub fn groups(
    before: &[Arc<EndpointGroup>],
    settings: &[UpstreamSettings],
) -> Result<Vec<Arc<EndpointGroup>>, StartError> {
    let kept = |settings: &UpstreamSettings| {
        before
            .iter()
            .find(|group| group.settings() == settings && !group.has_other_authorities())
            .cloned()
    };
    let group = |settings: &UpstreamSettings| {
        let failed = |source| StartError::Upstream { upstream: Arc::clone(&settings.name), source };
        kept(settings).map_or_else(|| EndpointGroup::load(settings.clone()).map_err(failed), Ok)
    };
    settings.iter().map(group).collect()
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
pub fn restart_only_changes(before: &Config, after: &Config) -> Vec<&'static str> {
    let differs = [
        ("workers", before.workers != after.workers),
        ("admin.address", before.admin != after.admin),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        limit::{Key, Part, Rule, RuleSettings, zone::Intent},
        process::reload::*,
    };

    fn settings(rate: &str, part: Part) -> ZoneSettings {
        let rate = rate.parse().expect("a rate");
        ZoneSettings {
            name: "z".into(),
            key: Key::of(vec![part]),
            rate,
            capacity: 100,
            exempt: Vec::new(),
        }
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
        let carried = |settings| carry(&zones, &[settings], clock).zones.remove(0);
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
        let before = groups(&[], &upstreams("1s")).expect("upstreams without TLS");
        let after = groups(&before, &upstreams("2s")).expect("upstreams without TLS");
        assert!(Arc::ptr_eq(&before[0], &after[0]) && !Arc::ptr_eq(&before[1], &after[1]));
    }

    #[test]
    fn addresses_come_and_go() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            moves(&[address(1), address(2)], &[address(2), address(3)]),
            (vec![address(3)], vec![address(1)])
        );
    }
}
