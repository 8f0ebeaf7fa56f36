//! Change from the served configuration to another one: which parts stay, are new, or go.
//!
//! Guarantees: [`prepare`] does everything that can fail and changes nothing that is served; its
//! result can only be dropped or committed. A zone whose settings stay keeps its counts. One whose
//! rate, burst or capacity changed keeps its debts as time. One that counts by another key starts
//! empty. An upstream whose settings stay keeps its addresses and its connections.

use std::sync::Arc;

use super::{
    listeners::{self, ListenerUpdate, addresses},
    socket_file::SocketFile,
    sockets::{self, Opening},
    start_error::StartError,
    state_writer,
    worker::shared::{Listening, Shared},
};
use crate::{
    config::{Config, Problems},
    downstream::listen_address::ListenAddress,
    limit::{ConcurrencySettings, ConcurrencyZone, Millis, Succession, Zone, ZoneSettings},
    log::writer::{self, Writer},
    runtime::{
        clock::Clock,
        hint::{Hinted, after_comma},
    },
    upstream::{endpoints::EndpointGroup, settings::UpstreamSettings},
};

/// Logs the warnings about a configuration, one a line.
pub fn log_warnings(warnings: &Problems) {
    for warning in warnings.iter() {
        let (file, line, _) = warnings.place(warning);
        let hint = warning.hint.as_deref();
        tracing::warn!(problem = %warning.message, hint, file, line, "configuration warning");
    }
}

/// New configuration with everything it needs opened, read and built: committing it cannot fail.
pub struct ReloadPlan {
    /// State that the workers serve from then on.
    pub shared: Shared,
    /// New sockets of each worker.
    pub opened: Vec<Vec<Listening>>,
    /// Addresses to close.
    pub closed: Vec<ListenAddress>,
    /// Files of the Unix sockets in `opened`: without a commit they are removed again.
    pub files: Vec<SocketFile>,
    /// Duplicates of the sockets in `opened`, for a hand-over.
    pub held: Vec<Listening>,
    /// Thread of the access log, if the log was opened again.
    pub writer: Option<Writer>,
    /// New connection limits and certificates.
    pub fitted: ListenerUpdate,
    /// Rebuilt zones: charges to their predecessors until every worker has changed over are added
    /// at the end.
    pub successions: Vec<Succession>,
    /// Names of the zones that start empty.
    pub emptied: Vec<Arc<str>>,
}

/// Treatment of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogChange {
    /// Open it again.
    Reopened,
    /// Keep it as it is.
    Kept,
}

/// Prepares another configuration for this many workers. Files are read and opened, so it may take
/// as long as a disk takes.
///
/// # Errors
/// When something cannot be opened, read or listened on; nothing has changed then.
pub fn prepare(
    before: &Shared,
    config: Config,
    workers: usize,
    log: AccessLogChange,
) -> Result<ReloadPlan, ReloadError> {
    // Compared as sets of addresses, so a reordered list opens and closes nothing.
    let (new, closed) = moves(&addresses(&before.config.listeners), &addresses(&config.listeners));
    let fitted = listeners::fit(&before.doors, &config.listeners)?;
    let mut opening = Opening {
        listeners: &config.listeners,
        inherited: &before.inherited,
        workers: sockets::none_for(workers),
        files: Vec::new(),
    };
    for address in new {
        opening.listen(address, Vec::new())?;
    }
    let Opening { workers: opened, files, .. } = opening;
    let held = sockets::again(&opened).map_err(StartError::Thread)?;
    sockets::tune(&held, &fitted.doors, config.timeouts.write)?;
    let upstreams = groups(&before.upstreams, &config.upstreams)?;
    let (lines, writer) = match log {
        AccessLogChange::Reopened => open_log(&config)?,
        AccessLogChange::Kept => (before.lines.clone(), None),
    };
    if config.state.file != before.config.state.file {
        // Not tidied: it is not known whether another process writes there.
        state_writer::try_out(&config.state, true);
    }
    // The debts are copied last, so that they are as recent as possible.
    let Zones { zones, successions, emptied } = carry(&before.zones, &config.zones, before.clock);
    let concurrency = concurrency(&before.concurrency, &config.concurrency);
    let (doors, config) = (Arc::clone(&fitted.doors), Arc::new(config));
    let shared = Shared { zones, concurrency, doors, upstreams, lines, config, ..before.clone() };
    Ok(ReloadPlan { shared, opened, closed, files, held, writer, fitted, successions, emptied })
}

/// Opens the logs of a configuration.
///
/// # Errors
/// When a file cannot be opened or a thread cannot be started.
pub fn open_log(config: &Config) -> Result<(Option<writer::Lines>, Option<Writer>), StartError> {
    Ok(writer::start(&config.access_log)?.unzip())
}

/// Effect of a change that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The settings are others than before.
    Changed,
    /// The settings are the same as before.
    Nothing,
}

/// Reason why a configuration was not taken over; the current one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The proxy was started without a file.
    #[error("there is no configuration file to reload")]
    NoFile,
    /// The configuration is invalid.
    #[error("the configuration is invalid; keeping the current configuration\n{0}")]
    Invalid(Problems),
    /// A new address or the access log cannot be opened.
    #[error("{0}; keeping the current configuration{hint}", hint = after_comma(.0.hint()))]
    Start(#[from] StartError),
    /// A worker could not build it.
    #[error("a worker cannot serve the configuration: {0}; keeping the current configuration")]
    Worker(String),
    /// A worker panicked.
    #[error("a worker failed during the reload; exiting after requests in progress")]
    Lost,
    /// Preparing it panicked.
    #[error("internal error while reloading: {0}; keeping the current configuration")]
    Panicked(String),
    /// The process stops.
    #[error("weir is stopping")]
    Stopping,
}

/// Zones of another configuration.
#[derive(Default)]
pub struct Zones {
    /// Zones in the order of the configuration.
    pub zones: Vec<Arc<Zone>>,
    /// Rebuilt zones with the debts of their predecessors.
    pub successions: Vec<Succession>,
    /// Names of zones that start empty because they count by another key.
    pub emptied: Vec<Arc<str>>,
}

/// Builds the zones of another configuration, with the debts of those of the same name.
#[must_use]
pub fn carry(before: &[Arc<Zone>], settings: &[ZoneSettings], clock: Clock) -> Zones {
    let mut carried = Zones::default();
    for settings in settings {
        let known = before.iter().find(|zone| zone.settings().name == settings.name);
        let zone = match known {
            // The same zone and not a copy: requests in progress charge it too.
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

/// Builds the zones of concurrency of another configuration. One that counts by the same key still
/// counts the requests in progress.
#[must_use]
pub fn concurrency(
    before: &[Arc<ConcurrencyZone>],
    settings: &[ConcurrencySettings],
) -> Vec<Arc<ConcurrencyZone>> {
    let zone = |settings: &ConcurrencySettings| {
        let known = before.iter().find(|zone| zone.settings().name == settings.name);
        Arc::new(match known {
            Some(known) => known.succeeded_by(settings.clone()),
            None => ConcurrencyZone::new(settings.clone()),
        })
    };
    settings.iter().map(zone).collect()
}

impl Zones {
    fn succeed(&mut self, before: &Arc<Zone>, settings: ZoneSettings, clock: Clock) -> Arc<Zone> {
        let zone = Arc::new(Zone::with_seed(settings, before.seed()).in_place_of(before));
        // Name, seed and key are the same, so the zones fit.
        match Succession::begin(before, &zone, Millis::cut(clock.now())) {
            Ok(succession) => self.successions.push(succession),
            Err(error) => tracing::error!(%error, "cannot restore zone; zone starts empty"),
        }
        zone
    }
}

/// Builds the upstreams of another configuration; one whose settings and files stayed the same is
/// kept.
///
/// # Errors
/// When TLS to an upstream cannot be set up.
pub fn groups(
    before: &[Arc<EndpointGroup>],
    settings: &[UpstreamSettings],
) -> Result<Vec<Arc<EndpointGroup>>, StartError> {
    let kept = |settings: &UpstreamSettings| {
        before
            .iter()
            // A group keeps its TLS settings, so changed files need a new one.
            .find(|group| group.settings() == settings && !group.has_other_tls_files())
            .cloned()
    };
    let group = |settings: &UpstreamSettings| {
        let failed = |source| StartError::Upstream { upstream: Arc::clone(&settings.name), source };
        let former = before.iter().find(|group| group.settings().name == settings.name);
        let loaded = || EndpointGroup::load_after(settings.clone(), former.map(|group| &**group));
        kept(settings).map_or_else(|| loaded().map_err(failed), Ok)
    };
    settings.iter().map(group).collect()
}

/// Addresses that are new, and addresses that are gone.
#[must_use]
pub fn moves(
    before: &[ListenAddress],
    after: &[ListenAddress],
) -> (Vec<ListenAddress>, Vec<ListenAddress>) {
    let missing = |from: &[ListenAddress], all: &[ListenAddress]| {
        all.iter().filter(|address| !from.contains(address)).cloned().collect::<Vec<_>>()
    };
    (missing(before, after), missing(after, before))
}

/// Keys that differ but change only with a restart.
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
    fn reload_keeps_unchanged_upstream() {
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
        let address = |port| ListenAddress::Tcp(([127, 0, 0, 1], port).into());
        assert_eq!(
            moves(&[address(1), address(2)], &[address(2), address(3)]),
            (vec![address(3)], vec![address(1)])
        );
    }
}
