//! Leaving clients, modelled without a look at the code: docs/limits.md "Who leaves" in the
//! plainest form, one vector a line.

/// One rule of the model: which zone it applies, its burst, its delay and its longest wait in
/// milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct RuleModel {
    pub zone: usize,
    pub burst: u64,
    pub delay: u64,
    pub max_wait: Option<u64>,
}

/// A rate as `requests` in `per_ms` milliseconds: a place is `per_ms` ticks long, a millisecond is
/// `requests` ticks.
pub type RateModel = (u64, u64);

/// What the model says of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Passed,
    /// Parked, and told this instant.
    Parked(u64),
    /// Refused; it would pass this many milliseconds later.
    Refused(u64),
}

/// One request that was admitted.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub arrival: u64,
    pub client: usize,
    pub rules: Vec<RuleModel>,
    pub told: u64,
    /// By rule: its place now, and when it got through there.
    pub places: Vec<u64>,
    pub through: Vec<Option<u64>>,
    pub left: bool,
}

impl Admitted {
    /// When it is forwarded, if that is known yet.
    pub fn released(&self) -> Option<u64> {
        if self.left {
            return None;
        }
        self.through
            .iter()
            .copied()
            .collect::<Option<Vec<_>>>()
            .map(|all| all.into_iter().max().unwrap_or(self.arrival))
    }
}

/// The lines and tails of all zones.
#[derive(Debug)]
pub struct LineModel {
    rates: Vec<RateModel>,
    /// Zones that count every client in one bucket.
    shared: Vec<bool>,
    /// By zone and key.
    tails: Vec<Vec<u64>>,
    /// Those not yet through, in order of arrival, by zone and key.
    lines: Vec<Vec<Vec<(usize, usize)>>>,
    pub requests: Vec<Admitted>,
    /// Whether places are given back at all.
    gives_back: bool,
}

impl LineModel {
    pub fn new(rates: &[RateModel], shared: &[bool], clients: usize, gives_back: bool) -> Self {
        Self {
            rates: rates.to_vec(),
            shared: shared.to_vec(),
            tails: vec![vec![0; clients]; rates.len()],
            lines: vec![vec![Vec::new(); clients]; rates.len()],
            requests: Vec::new(),
            gives_back,
        }
    }

    fn key(&self, zone: usize, client: usize) -> usize {
        if self.shared[zone] { 0 } else { client }
    }

    /// The tail of a client's key in a zone.
    pub fn tail(&self, zone: usize, client: usize) -> u64 {
        self.tails[zone][self.key(zone, client)]
    }

    fn due(&self, request: usize, rule: usize) -> u64 {
        let RuleModel { zone, delay, .. } = self.requests[request].rules[rule];
        let (ticks_per_ms, interval) = self.rates[zone];
        self.requests[request].places[rule].saturating_sub(delay * interval) / ticks_per_ms
    }

    /// The next millisecond at which somebody gets through somewhere.
    pub fn next_due(&self) -> Option<u64> {
        let standing = self.lines.iter().flatten().flatten();
        standing.map(|(request, rule)| self.due(*request, *rule)).min()
    }

    /// Those who are due get through.
    pub fn advance(&mut self, now: u64) {
        for zone in 0..self.lines.len() {
            for key in 0..self.lines[zone].len() {
                let line = std::mem::take(&mut self.lines[zone][key]);
                for (request, rule) in line {
                    if self.due(request, rule) <= now {
                        self.requests[request].through[rule] = Some(now);
                    } else {
                        self.lines[zone][key].push((request, rule));
                    }
                }
            }
        }
    }

    /// Takes a zone anew at another rate, as the last of all: debts go over as time, rounded up,
    /// and no lines. Returns its number.
    pub fn reload(&mut self, zone: usize, rate: RateModel) -> usize {
        let (ticks_per_ms, _) = self.rates[zone];
        let carried = |tail: &u64| {
            u64::try_from((u128::from(*tail) * u128::from(rate.0)).div_ceil(ticks_per_ms.into()))
                .expect("small")
        };
        let tails = self.tails[zone].iter().map(carried).collect();
        self.tails.push(tails);
        self.lines.push(vec![Vec::new(); self.lines[zone].len()]);
        self.rates.push(rate);
        self.shared.push(self.shared[zone]);
        self.rates.len() - 1
    }

    /// One request arrives on a route with these rules.
    pub fn ask(&mut self, client: usize, rules: &[RuleModel], now: u64) -> Asked {
        self.advance(now);
        let mut told = now;
        let mut retry = None;
        for rule in rules {
            let (ticks_per_ms, interval) = self.rates[rule.zone];
            let ahead = self.tail(rule.zone, client).saturating_sub(now * ticks_per_ms);
            let wait = ahead.saturating_sub(rule.delay * interval) / ticks_per_ms;
            let longest = rule
                .max_wait
                .map_or(u64::MAX, |wait| rule.delay * interval + (wait + 1) * ticks_per_ms - 1);
            let most = longest.min(rule.burst * interval);
            if ahead > most {
                retry = retry.max(Some((ahead - most).div_ceil(ticks_per_ms)));
            }
            told = told.max(now + wait);
        }
        if let Some(retry) = retry {
            return Asked::Refused(retry);
        }
        let request = self.requests.len();
        self.requests.push(Admitted {
            arrival: now,
            client,
            rules: rules.to_vec(),
            told,
            places: vec![0; rules.len()],
            through: vec![None; rules.len()],
            left: false,
        });
        for (index, rule) in rules.iter().enumerate() {
            let (ticks_per_ms, interval) = self.rates[rule.zone];
            let key = self.key(rule.zone, client);
            let begin = self.tails[rule.zone][key].max(now * ticks_per_ms);
            self.tails[rule.zone][key] = begin + interval;
            self.requests[request].places[index] = begin;
            if self.due(request, index) <= now {
                self.requests[request].through[index] = Some(now);
            } else {
                self.lines[rule.zone][key].push((request, index));
            }
        }
        if told == now { Asked::Passed } else { Asked::Parked(told) }
    }

    /// A parked request leaves, if it was not released yet.
    pub fn leave(&mut self, request: usize, now: u64) {
        self.advance(now);
        if self.requests[request].left || self.requests[request].released().is_some() {
            return;
        }
        self.requests[request].left = true;
        for (index, rule) in self.requests[request].rules.clone().into_iter().enumerate() {
            let (ticks_per_ms, interval) = self.rates[rule.zone];
            let key = self.key(rule.zone, self.requests[request].client);
            let mine = self.requests[request].places[index];
            let mut line = std::mem::take(&mut self.lines[rule.zone][key]);
            line.retain(|who| *who != (request, index));
            if self.gives_back && mine >= now * ticks_per_ms {
                // Everybody whose place is behind takes the place of the one before.
                let mut freed = mine;
                for (behind, its) in &line {
                    let place = &mut self.requests[*behind].places[*its];
                    if *place > mine {
                        std::mem::swap(&mut freed, place);
                    }
                }
                if self.tails[rule.zone][key] == freed + interval {
                    self.tails[rule.zone][key] = freed;
                }
            }
            self.lines[rule.zone][key] = line;
        }
        self.advance(now);
    }

    /// How many were forwarded up to a millisecond.
    pub fn forwarded_by(&self, now: u64) -> usize {
        self.requests
            .iter()
            .filter(|request| request.released().is_some_and(|at| at <= now))
            .count()
    }
}
