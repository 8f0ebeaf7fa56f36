//! Bursts of a verification: the verdicts of a limit, one after the other.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    client,
    clients::{Clients, ServerPair},
    probes::{Spelling, VerifyProbe, host_of, rejects},
    report::{Difference, VerifyError},
    samples::samples,
};
use crate::tools::import::plan::{ImportPlan, PathKind, RoutePlan, RulePlan};

/// Largest burst that is fired.
const MAX_BURST: u32 = 60;
/// Requests beyond the burst, which are rejected.
const BEYOND: u32 = 3;
/// Longest wait for a response: one that takes longer is held.
const PATIENCE: Duration = Duration::from_secs(2);
/// Shortest interval between two places at which a held request is distinguished from a slow one.
const TELLING: Duration = Duration::from_millis(100);
/// Times that a burst is fired until it does not differ: on a busy machine a response is late.
const TRIES: usize = 3;
/// Longest wait before a burst, where a limit may still remember earlier requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Verdict as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Passed,
    Held,
    Rejected,
}

/// Burst at a limited route.
#[derive(Clone, Debug)]
pub struct LimitBurst {
    probe: VerifyProbe,
    rules: Vec<RulePlan>,
}

/// Bursts for the limited routes: one for each list of rules.
#[must_use]
pub fn bursts(plan: &ImportPlan) -> Vec<LimitBurst> {
    let mut found: Vec<LimitBurst> = Vec::new();
    for route in plan.routes.iter().filter(|route| !route.is_closed) {
        let rules: Vec<RulePlan> = route
            .limits
            .iter()
            .filter(|rule| !rule.is_dry && !rule.is_conditional)
            .cloned()
            .collect();
        let is_new = !found.iter().any(|other| other.rules == rules);
        if !rules.is_empty() && is_new {
            let probe = probe(plan, route, &rules);
            found.extend(probe.map(|probe| LimitBurst { probe, rules }));
        }
    }
    found
}

/// Request that has every part of the keys.
fn probe(plan: &ImportPlan, route: &RoutePlan, rules: &[RulePlan]) -> Option<VerifyProbe> {
    // A value of its own for each run: the bucket of another would be full.
    let value = format!("verify-{}", std::process::id());
    let bare = route.path.trim_end_matches('/');
    // Below a prefix: nginx redirects from `/api` to `/api/` before it asks a limit.
    let below = match route.kind {
        PathKind::Exact => route.path.clone(),
        PathKind::Prefix | PathKind::OverRegex => format!("{bare}/weir-verify"),
        // Without a path that it takes there is nothing to fire at.
        PathKind::Regex => samples(&route.path).into_iter().next()?,
    };
    let (mut fields, mut target) = (Vec::new(), below);
    let zones = rules.iter().filter_map(|rule| plan.zones.get(&rule.zone));
    for part in zones.flat_map(|zone| &zone.key) {
        match part.split_once(':') {
            Some(("header", name)) => fields.push((name.to_owned(), value.clone())),
            Some(("cookie", name)) => fields.push(("cookie".to_owned(), format!("{name}={value}"))),
            Some(("query", name)) => {
                let sign = if target.contains('?') { '&' } else { '?' };
                target += &format!("{sign}{name}={value}");
            }
            _ => {}
        }
    }
    fields.dedup();
    Some(VerifyProbe {
        host: host_of(route),
        method: route.methods.first().cloned().unwrap_or_else(|| "GET".to_owned()),
        target,
        fields,
        spelling: Spelling::Plain,
        path: bare.to_owned(),
        rejects: rejects(plan, route),
        listed: route.listed(),
    })
}

impl LimitBurst {
    /// Requests that are sent.
    fn count(&self) -> u32 {
        let least = self.rules.iter().map(|rule| rule.burst).min().unwrap_or(0);
        least.saturating_add(1 + BEYOND)
    }

    /// Longest time between two places of the rules.
    fn interval(&self) -> Duration {
        self.rules.iter().map(|rule| rule.interval).max().unwrap_or_default()
    }

    fn name(&self) -> String {
        let VerifyProbe { method, host, target, .. } = &self.probe;
        format!("{} requests {method} http://{host}{target}", self.count())
    }

    /// Reason why it is not fired.
    #[must_use]
    pub fn skipped(&self) -> Option<String> {
        let is_large = self.count() > MAX_BURST + 1 + BEYOND;
        is_large.then(|| format!("{}: a burst above {MAX_BURST} is not fired", self.name()))
    }

    /// Fires it at both servers, again by another client where it differs.
    ///
    /// # Errors
    /// When a server does not take connections.
    pub fn compare(
        &self,
        servers: ServerPair,
        clients: &mut Clients,
    ) -> Result<Option<Difference>, VerifyError> {
        let mut difference = None;
        for _ in 0..if clients.are_new() { TRIES } else { 1 } {
            difference = self.compare_once(servers, clients)?;
            if difference.is_none() {
                break;
            }
        }
        Ok(difference)
    }

    fn compare_once(
        &self,
        servers: ServerPair,
        clients: &mut Clients,
    ) -> Result<Option<Difference>, VerifyError> {
        if !clients.are_new() {
            thread::sleep(self.interval().saturating_mul(self.count()).min(LONGEST_PAUSE));
        }
        let source = clients.next_source();
        let old = self.fire(servers.old, source)?;
        let new = self.fire(servers.new, source)?;
        // Places that became free while the requests were sent and decided.
        let free = old.1.max(new.1).as_micros() / self.interval().as_micros().max(1);
        let count = |seen: &[Seen], of: Seen| seen.iter().filter(|one| **one == of).count();
        let differs = [Seen::Passed, Seen::Held, Seen::Rejected].into_iter().any(|verdict| {
            let (old, new) = (count(&old.0, verdict), count(&new.0, verdict));
            old.abs_diff(new) as u128 > free
        });
        Ok(differs.then(|| Difference {
            request: self.name(),
            what: format!("verdicts {}, now {}", shown(&old.0), shown(&new.0)),
            expected: (!self.probe.listed.is_empty()).then(|| self.probe.listed.join("; ")),
        }))
    }

    /// Verdicts in the order of sending, and the time until the last one that was not held.
    fn fire(
        &self,
        server: SocketAddr,
        source: Option<std::net::Ipv4Addr>,
    ) -> Result<(Vec<Seen>, Duration), VerifyError> {
        let failed = |error: std::io::Error| VerifyError::Unreachable(server, error.to_string());
        let mut streams = Vec::new();
        for _ in 0..self.count() {
            let stream = client::connect(server, source).map_err(failed)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
            streams.push(stream);
        }
        let bytes = client::bytes(&self.probe);
        // Below that, a slow upstream and a held request look alike.
        let held_from = Some(self.interval() / 2).filter(|_| self.interval() >= TELLING);
        let status = self.probe.rejects;
        let begun = Instant::now();
        let seen = thread::scope(|scope| {
            let mut readers = Vec::new();
            for mut stream in streams {
                // A server that closes has its verdict in what can be read.
                let _sent = stream.write_all(&bytes);
                let sent = Instant::now();
                readers.push(scope.spawn(move || {
                    let mut head = [0; 12];
                    let read = stream.read_exact(&mut head);
                    let after = sent.elapsed();
                    let seen = verdict(read.is_ok().then_some(&head), status, after, held_from);
                    let decided = if seen == Seen::Held { sent } else { sent + after };
                    (seen, decided.duration_since(begun))
                }));
            }
            let none = (Seen::Held, Duration::ZERO);
            let seen = readers.into_iter().map(|reader| reader.join().unwrap_or(none));
            let (seen, decided): (Vec<Seen>, Vec<Duration>) = seen.unzip();
            (seen, decided.into_iter().max().unwrap_or_default())
        });
        Ok(seen)
    }
}

fn verdict(
    head: Option<&[u8; 12]>,
    status: Option<u16>,
    after: Duration,
    held_from: Option<Duration>,
) -> Seen {
    let got = head.and_then(|head| str::from_utf8(&head[9..]).ok()?.parse::<u16>().ok());
    match got {
        Some(got) if Some(got) == status => Seen::Rejected,
        // 444 closes without a response.
        None if status == Some(444) && after < PATIENCE => Seen::Rejected,
        None => Seen::Held,
        Some(_) if held_from.is_some_and(|held_from| after >= held_from) => Seen::Held,
        Some(_) => Seen::Passed,
    }
}

fn shown(seen: &[Seen]) -> String {
    let letter = |seen: &Seen| match seen {
        Seen::Passed => 'P',
        Seen::Held => 'H',
        Seen::Rejected => 'R',
    };
    seen.iter().map(letter).collect()
}
