//! The words the limiter's tests are written in: `gate("10r/s burst=20 delay=8").at(0).times(30)`.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weir_limit::{
    Decision, Gate, Judgement, Key, Millis, Missing, Mode, Part, Rule, RuleSettings, Seed, Subject,
    Verdict, Zone, ZoneSettings,
};

/// What became of one request; the number is the wait or the retry in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Pass,
    Delay(u64),
    Reject(u64),
    Exempt,
}

pub use Seen::{Delay, Exempt, Pass, Reject};

impl From<Verdict> for Seen {
    fn from(verdict: Verdict) -> Self {
        match verdict.decision {
            Decision::Pass => Pass,
            Decision::Delay => Delay(verdict.wait.0),
            Decision::Reject => Reject(verdict.retry.0),
            Decision::Exempt => Exempt,
        }
    }
}

/// A gate, and the next request that will stand before it.
pub struct Door {
    pub gate: Arc<Gate>,
    client: IpAddr,
    now: Millis,
    headers: HeaderMap,
}

/// Rules, one per `;`: a rate, then
/// `burst= delay= nodelay max_wait= dry_run cost= key= missing= exempt= capacity=`.
pub fn gate(rules: &str) -> Door {
    let rules = rules.split(';').map(rule).collect();
    door(Gate::new(rules).expect("few enough rules"))
}

pub fn door(gate: Gate) -> Door {
    Door {
        gate: Arc::new(gate),
        client: address("192.0.2.1"),
        now: Millis::ZERO,
        headers: HeaderMap::new(),
    }
}

pub fn rule(text: &str) -> Rule {
    let (rate, words) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut zone = settings(rate);
    let mut rule = RuleSettings::burst(0);
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "burst" => rule.burst = number(value),
            "delay" => rule.delay = number(value),
            "nodelay" => rule = rule.nodelay(),
            "max_wait" => rule.max_wait = Some(Millis(u64::from(number(value)))),
            "dry_run" => rule.mode = Mode::DryRun,
            "cost" => rule.cost = number(value),
            "key" => {
                zone.key.parts =
                    value.split('+').map(|part| part.parse().expect("a part")).collect();
            }
            "missing" => zone.key.missing = missing(value),
            "exempt" => zone.exempt.push(value.parse().expect("a network")),
            "capacity" => zone.capacity = number(value) as usize,
            other => panic!("`{other}` is no word of a rule"),
        }
    }
    Rule::new(seeded(zone), rule).expect("a countable rule")
}

pub fn settings(rate: &str) -> ZoneSettings {
    let rate = rate.parse().expect("a rate");
    ZoneSettings {
        name: rate_name(rate),
        key: Key::of(vec![Part::ClientIp]),
        rate,
        capacity: 1_000,
        exempt: Vec::new(),
    }
}

pub fn seeded(zone: ZoneSettings) -> Arc<Zone> {
    Arc::new(Zone::with_seed(zone, Seed([1, 2])))
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn subject(client: IpAddr, headers: &HeaderMap) -> Subject<'_> {
    Subject { host: "a.test", route: "all", ..Subject::of(client, &Method::GET, headers) }
}

fn rate_name(rate: weir_limit::Rate) -> Arc<str> {
    rate.to_string().into()
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn missing(text: &str) -> Missing {
    match text {
        "share" => Missing::Share,
        "reject" => Missing::Reject,
        "empty" => Missing::Empty,
        _ => Missing::Exempt,
    }
}

impl Door {
    /// The next requests come at this millisecond.
    pub fn at(&mut self, now: u64) -> &mut Self {
        self.now = Millis(now);
        self
    }

    /// The next requests come from this address.
    pub fn from(&mut self, client: &str) -> &mut Self {
        self.client = address(client);
        self
    }

    /// The next requests carry this field, and no other.
    pub fn with(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.headers.clear();
        self.headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a field value"),
        );
        self
    }

    /// One request, with all that is known about it.
    pub fn one(&self) -> Judgement {
        self.gate.decide(&subject(self.client, &self.headers), self.now)
    }

    /// What one request would be told.
    pub fn look(&self) -> Seen {
        self.gate.look(&subject(self.client, &self.headers), self.now).verdict.into()
    }

    /// So many requests at once.
    pub fn times(&self, requests: usize) -> Vec<Seen> {
        (0..requests).map(|_| self.one().verdict.into()).collect()
    }

    /// One request at each of these milliseconds.
    pub fn each(&mut self, times: impl IntoIterator<Item = u64>) -> Vec<Seen> {
        times.into_iter().flat_map(|now| self.at(now).times(1)).collect()
    }

    /// A parked request leaves.
    pub fn leaves(&self, judged: Judgement) {
        judged.parked.expect("only who is parked leaves").leave(self.now);
    }

    /// How much the key of the next request owes to a rule's zone, in thousandths of a request.
    pub fn excess(&self) -> u64 {
        self.gate.look(&subject(self.client, &self.headers), self.now).verdict.excess_milli
    }
}
