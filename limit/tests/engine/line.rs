//! Clients that leave while they are parked: the line behind them moves up, and no strategy of
//! leaving and asking again gets more through than the limit allows.
//!
//! `==` against a model, invariants that any observer could check, and worked examples. Virtual
//! time: requests look at their lines only when they were told to or were woken, as the proxy and
//! the layer do.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use http::HeaderMap;
use weir_limit::{
    Decision, Gate, Key, Millis, Next, Parked, Part, Rate, Rule, RuleSettings, Snapshot,
    Succession, Zone, ZoneSettings,
};
use weir_test::{
    limit::{self as words, subject},
    line_model::{Admitted, Asked, LineModel, RateModel, RuleModel},
};

/// A waker that remembers.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A parked request of the code under test.
struct Waiting {
    parked: Parked,
    woken: Arc<Woken>,
    looks_at: u64,
}

/// The code under test on virtual time.
struct Engine {
    zones: Vec<Arc<Zone>>,
    gates: Vec<Gate>,
    waiting: BTreeMap<usize, Waiting>,
    released: BTreeMap<usize, u64>,
    wakes: usize,
}

fn zone((requests, per_ms): RateModel, shared: bool) -> Arc<Zone> {
    let rate = Rate::new(requests, Duration::from_millis(per_ms)).expect("a countable rate");
    let part = if shared { Part::Global } else { Part::ClientIp };
    words::seeded(ZoneSettings { rate, key: Key::of(vec![part]), ..words::settings("1r/s") })
}

fn gate(zones: &[Arc<Zone>], rules: &[RuleModel]) -> Gate {
    let rule = |rule: &RuleModel| {
        let settings = RuleSettings {
            burst: u32::try_from(rule.burst).expect("small"),
            delay: u32::try_from(rule.delay).expect("small"),
            max_wait: rule.max_wait.map(Millis),
            ..RuleSettings::burst(0)
        };
        Rule::new(Arc::clone(&zones[rule.zone]), settings).expect("a countable rule")
    };
    Gate::new(rules.iter().map(rule).collect()).expect("few rules")
}

impl Engine {
    fn new(Setup { rates, shared, routes }: &Setup) -> Self {
        let zones: Vec<_> =
            rates.iter().zip(shared).map(|(rate, shared)| zone(*rate, *shared)).collect();
        let gates = routes.iter().map(|rules| gate(&zones, rules)).collect();
        Self { zones, gates, waiting: BTreeMap::new(), released: BTreeMap::new(), wakes: 0 }
    }

    /// Takes a zone anew, and routes with these rules.
    fn reload(&mut self, zone: usize, rate: RateModel, routes: &[Vec<RuleModel>], now: u64) {
        let rate = Rate::new(rate.0, Duration::from_millis(rate.1)).expect("a countable rate");
        let before = &self.zones[zone];
        let after = Arc::new(Zone::with_seed(
            ZoneSettings { rate, ..before.settings().clone() },
            before.seed(),
        ));
        let succession =
            Succession::begin(before, &after, Millis(now)).expect("a zone of the same key");
        succession.finish(Millis(now));
        self.zones.push(after);
        self.gates = routes.iter().map(|rules| gate(&self.zones, rules)).collect();
    }

    /// Asks for the request with this number, should it be admitted.
    fn ask(&mut self, number: usize, client: usize, route: usize, now: u64) -> Asked {
        let address = IpAddr::V4(Ipv4Addr::from_bits(
            0xC000_0200 + u32::try_from(client).expect("few clients"),
        ));
        let judged = self.gates[route].decide(&subject(address, &HeaderMap::new()), Millis(now));
        match judged.verdict.decision {
            Decision::Pass | Decision::Exempt => {
                self.released.insert(number, now);
                Asked::Passed
            }
            Decision::Reject => Asked::Refused(judged.verdict.retry.0),
            Decision::Delay => {
                let parked = judged.parked.expect("a delayed request is parked");
                let told = parked.told().0;
                self.waiting
                    .insert(number, Waiting { parked, woken: Arc::default(), looks_at: now });
                self.look(now);
                Asked::Parked(told)
            }
        }
    }

    /// Those who look at this moment, or were woken, until nobody has to any more.
    fn look(&mut self, now: u64) {
        loop {
            let mut looked = false;
            self.waiting.retain(|number, waiting| {
                let woken = waiting.woken.0.swap(false, Ordering::AcqRel);
                if !woken && waiting.looks_at > now {
                    return true;
                }
                looked = true;
                self.wakes += usize::from(woken);
                match waiting.parked.look(Millis(now), &Waker::from(Arc::clone(&waiting.woken))) {
                    Next::Go(at) => {
                        assert!(at.0 <= now, "told to go at {at:?}, at {now}");
                        self.released.insert(*number, at.0);
                        false
                    }
                    Next::LookAt(at) => {
                        assert!(at.0 > now, "told to look at {at:?}, at {now}");
                        waiting.looks_at = at.0;
                        true
                    }
                }
            });
            if !looked {
                return;
            }
        }
    }

    fn next_look(&self) -> Option<u64> {
        self.waiting.values().map(|waiting| waiting.looks_at).min()
    }

    fn leave(&mut self, number: usize, now: u64) {
        if let Some(waiting) = self.waiting.remove(&number) {
            waiting.parked.leave(Millis(now));
        }
        self.look(now);
    }
}

/// Numbers that are the same on every run (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below.max(1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.roll(choices.len() as u64)).expect("few choices")]
    }
}

/// Zones, each with a rate and whether it counts all clients in one bucket, and routes, each with
/// its rules.
#[derive(Clone, Debug)]
struct Setup {
    rates: Vec<RateModel>,
    shared: Vec<bool>,
    routes: Vec<Vec<RuleModel>>,
}

impl Setup {
    /// One zone that counts each client, one route.
    fn one(rate: RateModel, rule: RuleModel) -> Self {
        Self { rates: vec![rate], shared: vec![false], routes: vec![vec![rule]] }
    }

    fn rules_of(&self, zone: usize) -> impl Iterator<Item = &RuleModel> {
        self.routes.iter().flatten().filter(move |rule| rule.zone == zone)
    }
}

/// How clients of a trace behave.
#[derive(Clone, Copy, Debug)]
enum Strategy {
    /// Some leave at a random moment.
    Random,
    /// Everybody leaves after so many milliseconds, and asks again at once.
    Impatient(u64),
    /// Who is told a time leaves so many milliseconds before its turn, and asks again at once.
    JustBefore(u64),
    /// Somebody in the middle leaves at every arrival, and asks again at once.
    Middle,
}

/// The model and the code, one beside the other.
struct Both {
    setup: Setup,
    model: LineModel,
    engine: Engine,
    /// When who of the parked leaves, and whether it asks again.
    leaves: BTreeMap<(u64, usize), bool>,
    strategy: Strategy,
    dice: Dice,
    /// Zones that were taken anew, and as which.
    reloads: Vec<(usize, usize)>,
}

impl Both {
    fn new(setup: Setup, strategy: Strategy, seed: u64) -> Self {
        Self {
            model: LineModel::new(&setup.rates, &setup.shared, CLIENTS, true),
            engine: Engine::new(&setup),
            setup,
            leaves: BTreeMap::new(),
            strategy,
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            reloads: Vec::new(),
        }
    }

    fn ask(&mut self, client: usize, now: u64) -> Asked {
        let number = self.model.requests.len();
        let route =
            usize::try_from(self.dice.roll(self.setup.routes.len() as u64)).expect("few routes");
        let expected = self.model.ask(client, &self.setup.routes[route], now);
        assert_eq!(
            self.engine.ask(number, client, route, now),
            expected,
            "client {client} at {now} ms"
        );
        match expected {
            Asked::Passed | Asked::Refused(_) => {}
            Asked::Parked(told) => {
                let at_random = |dice: &mut Dice| {
                    (dice.roll(2) == 0)
                        .then(|| (now + dice.roll(told - now + 3), dice.roll(2) == 0))
                };
                let plan = match self.strategy {
                    Strategy::Random => at_random(&mut self.dice),
                    Strategy::Impatient(patience) => Some((now + patience, true)),
                    Strategy::JustBefore(margin) => {
                        Some((told.saturating_sub(margin).max(now), true))
                    }
                    Strategy::Middle => None,
                };
                if let Some((at, again)) = plan {
                    self.leaves.insert((at, number), again);
                }
            }
        }
        expected
    }

    fn leave(&mut self, number: usize, again: bool, now: u64) {
        let is_parked =
            self.model.requests[number].released().is_none() && !self.model.requests[number].left;
        self.model.leave(number, now);
        self.engine.leave(number, now);
        self.compare(now);
        if is_parked && again && self.model.requests.len() < MOST {
            let _ = self.ask(self.model.requests[number].client, now);
        }
    }

    /// A configuration with another rate of a zone, and other bursts and delays everywhere.
    fn reload(&mut self, now: u64) {
        self.run_to(now);
        let zone = self.setup.routes[0][0].zone;
        let rate = self.dice.one_of(&RATES);
        let anew = self.model.reload(zone, rate);
        for rule in self.setup.routes.iter_mut().flatten() {
            let zone = if rule.zone == zone { anew } else { rule.zone };
            *rule = rolled_rule(&mut self.dice, zone);
        }
        self.setup.rates.push(rate);
        self.setup.shared.push(self.setup.shared[zone]);
        self.engine.reload(zone, rate, &self.setup.routes, now);
        self.reloads.push((zone, anew));
    }

    /// Everything up to this millisecond, in order.
    fn run_to(&mut self, end: u64) {
        loop {
            let leave =
                self.leaves.first_key_value().map(|((at, number), again)| (*at, *number, *again));
            let times =
                [self.model.next_due(), self.engine.next_look(), leave.map(|leave| leave.0)];
            let Some(now) = times.into_iter().flatten().min().filter(|now| *now <= end) else {
                return;
            };
            self.model.advance(now);
            self.engine.look(now);
            self.compare(now);
            if let Some((at, number, again)) = leave.filter(|leave| leave.0 <= now) {
                self.leaves.remove(&(at, number));
                self.leave(number, again, now);
            }
        }
    }

    fn compare(&self, now: u64) {
        for (number, request) in self.model.requests.iter().enumerate() {
            let seen = self.engine.released.get(&number).copied();
            assert_eq!(
                seen,
                request.released().filter(|at| *at <= now),
                "request {number}: {request:?} at {now} ms"
            );
        }
    }

    fn arrival(&mut self, client: usize, now: u64) {
        self.run_to(now);
        if matches!(self.strategy, Strategy::Middle) {
            let parked: Vec<usize> = self.engine.waiting.keys().copied().collect();
            if let Some(number) = parked.get(parked.len() / 2) {
                self.leave(*number, true, now);
            }
        }
        let _ = self.ask(client, now);
    }
}

const CLIENTS: usize = 3;
/// Requests after which nobody asks again.
const MOST: usize = 400;

/// Rules of forwarded requests over a zone and key, each with the request and its index among the
/// request's rules.
fn uses<'a>(
    model: &'a LineModel,
    setup: &Setup,
    zone: usize,
    key: usize,
) -> Vec<(&'a Admitted, usize)> {
    let is_counted = |request: &&Admitted| setup.shared[zone] || request.client == key;
    let rules = |request: &'a Admitted| (0..request.rules.len()).map(move |index| (request, index));
    let all = model.requests.iter().filter(is_counted).flat_map(rules);
    all.filter(|(request, index)| request.rules[*index].zone == zone && !request.left).collect()
}

/// Invariant (1): places of forwarded requests of a key are at least an interval apart.
fn places_are_apart(model: &LineModel, setup: &Setup) {
    for (zone, key) in
        (0..setup.rates.len()).flat_map(|zone| (0..CLIENTS).map(move |key| (zone, key)))
    {
        let mut places: Vec<u64> =
            uses(model, setup, zone, key).iter().map(|(used, index)| used.places[*index]).collect();
        places.sort_unstable();
        assert!(
            places.windows(2).all(|pair| pair[1] - pair[0] >= setup.rates[zone].1),
            "zone {zone}: {places:?}"
        );
    }
}

/// Invariant (2): in any window of `d` ms a zone lets at most `delay + 1 + ((d + 1) * q - 1) / T`
/// through, with the largest delay of its rules. No more than that for `d + W` is forwarded, `W`
/// the longest wait that another rule of the same requests adds.
fn envelope_holds(model: &LineModel, setup: &Setup) {
    for (zone, (ticks_per_ms, interval)) in setup.rates.iter().enumerate() {
        let delay = setup.rules_of(zone).map(|rule| rule.delay).max().unwrap_or(0);
        let most = |window: u64| delay + 1 + ((window + 1) * ticks_per_ms - 1) / interval;
        let longest_wait = |rule: &RuleModel| {
            let (ticks_per_ms, interval) = setup.rates[rule.zone];
            let wait = rule.burst.saturating_sub(rule.delay) * interval / ticks_per_ms;
            rule.max_wait.map_or(wait, |most| wait.min(most))
        };
        let others = setup.routes.iter().flatten().filter(|rule| rule.zone != zone);
        let added = others.map(longest_wait).max().unwrap_or(0);
        for key in 0..CLIENTS {
            let uses = uses(model, setup, zone, key);
            let through: Vec<u64> =
                uses.iter().filter_map(|(used, index)| used.through[*index]).collect();
            let forwarded: Vec<u64> = uses.iter().filter_map(|(used, _)| used.released()).collect();
            for (mut times, added) in [(through, 0), (forwarded, added)] {
                times.sort_unstable();
                for (first, begin) in times.iter().enumerate() {
                    for (count, end) in (1..).zip(&times[first..]) {
                        assert!(
                            count <= most(end - begin + added),
                            "zone {zone}: {count} in {begin}..={end}, {added} added"
                        );
                    }
                }
            }
        }
    }
}

fn rolled_rule(dice: &mut Dice, zone: usize) -> RuleModel {
    let burst = dice.roll(12);
    let delay = dice.one_of(&[0, 0, burst / 2, burst]);
    let max_wait = dice.one_of(&[None, None, Some(dice.0 % 900)]);
    RuleModel { zone, burst, delay, max_wait }
}

/// Rates of all kinds: whole intervals, thirds, several places in a millisecond.
const RATES: [RateModel; 7] =
    [(1, 100), (1, 1_000), (1, 200), (3, 1_000), (7, 60), (5, 2), (1, 30)];

fn rolled_setup(dice: &mut Dice, zones: usize, routes: usize) -> Setup {
    let route = |dice: &mut Dice| {
        let used = (0..zones)
            .filter(|zone| zones == 1 || *zone == 0 || dice.0 >> zone & 1 == 0)
            .collect::<Vec<_>>();
        used.into_iter().map(|zone| rolled_rule(dice, zone)).collect()
    };
    Setup {
        rates: (0..zones).map(|_| dice.one_of(&RATES)).collect(),
        shared: (0..zones).map(|_| dice.roll(2) == 0).collect(),
        routes: (0..routes).map(|_| route(dice)).collect(),
    }
}

/// After a reload no place of the zone made anew begins before the last one that the zone before
/// handed out, and was used, is over.
fn reloads_hand_no_place_out_twice(both: &Both) {
    for (before, after) in &both.reloads {
        for key in 0..CLIENTS {
            let ends = |zone: usize, place: u64, more: u64| {
                let (ticks_per_ms, interval) = both.setup.rates[zone];
                (u128::from(place) + u128::from(more * interval), u128::from(ticks_per_ms))
            };
            let used = |zone| uses(&both.model, &both.setup, zone, key);
            let places = |zone| {
                used(zone)
                    .into_iter()
                    .map(|(request, index)| request.places[index])
                    .collect::<Vec<_>>()
            };
            let Some(last) = places(*before).into_iter().max().map(|place| ends(*before, place, 1))
            else {
                continue;
            };
            let apart = places(*after)
                .into_iter()
                .map(|place| ends(*after, place, 0))
                .all(|first| first.0 * last.1 >= last.0 * first.1);
            assert!(apart, "zone {before} and its successor {after}, key {key}");
        }
    }
}

/// Runs a trace for each seed; everything is compared at every moment, and the invariants at the
/// end.
fn traces(seeds: std::ops::Range<u64>, zones: usize, routes: usize, reloads: &[usize]) {
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0xD134_2543_DE82_EF95) | 1);
        let setup = rolled_setup(&mut dice, zones, routes);
        let longest =
            setup.rates.iter().map(|(ticks, interval)| interval / ticks).max().unwrap_or(1).max(1);
        let strategy = match dice.roll(4) {
            0 => Strategy::Random,
            1 => Strategy::Impatient(1 + dice.roll(longest * 5)),
            2 => Strategy::JustBefore(dice.roll(3)),
            _ => Strategy::Middle,
        };
        let mut both = Both::new(setup.clone(), strategy, seed);
        let mut now = 0;
        let gap = 1 + longest / 2;
        for number in 0..120 {
            now +=
                if dice.roll(3) == 0 { dice.roll(gap * 4) } else { dice.roll(2) * dice.roll(gap) };
            if reloads.contains(&number) {
                both.reload(now);
            }
            both.arrival(usize::try_from(dice.roll(CLIENTS as u64)).expect("few"), now);
        }
        both.run_to(u64::MAX);
        assert!(both.engine.waiting.is_empty(), "somebody waits for ever");
        places_are_apart(&both.model, &both.setup);
        if reloads.is_empty() {
            envelope_holds(&both.model, &setup);
        }
        reloads_hand_no_place_out_twice(&both);
        let late = both
            .model
            .requests
            .iter()
            .find(|request| request.released().is_some_and(|at| at > request.told));
        assert!(late.is_none(), "later than told: {late:?}");
    }
}

#[test]
fn leaving_under_one_rule_is_the_model_s_to_the_millisecond() {
    traces(0..3_000, 1, 1, &[]);
}

#[test]
fn leaving_under_several_rules_is_the_model_s_to_the_millisecond() {
    traces(10_000..11_500, 2, 1, &[]);
    traces(20_000..20_500, 3, 1, &[]);
}

#[test]
fn leaving_under_rules_of_different_delay_is_the_model_s_to_the_millisecond() {
    traces(30_000..31_500, 1, 3, &[]);
    traces(40_000..41_500, 2, 3, &[]);
}

#[test]
fn leaving_over_reloads_is_the_model_s_to_the_millisecond() {
    traces(70_000..71_500, 1, 1, &[60]);
    traces(80_000..81_000, 2, 2, &[30, 60, 61]);
}

/// A rule without `max_wait` on the first zone.
fn first(burst: u64, delay: u64) -> RuleModel {
    RuleModel { zone: 0, burst, delay, max_wait: None }
}

/// A worked example: requests by name, on virtual time.
struct Script {
    engine: Engine,
    names: Vec<&'static str>,
    now: u64,
}

impl Script {
    fn new(setup: &Setup) -> Self {
        Self { engine: Engine::new(setup), names: Vec::new(), now: 0 }
    }

    /// Everything up to this millisecond happens.
    fn at(&mut self, now: u64) -> &mut Self {
        while let Some(next) = self.engine.next_look().filter(|next| *next <= now) {
            self.engine.look(next);
        }
        self.now = now;
        self
    }

    /// These ask one after the other, and are told these instants.
    fn ask<const N: usize>(
        &mut self,
        client: usize,
        names: [&'static str; N],
        told: [u64; N],
    ) -> &mut Self {
        let asked = names.map(|name| {
            self.names.push(name);
            match self.engine.ask(self.names.len() - 1, client, 0, self.now) {
                Asked::Passed => self.now,
                Asked::Parked(told) => told,
                Asked::Refused(retry) => panic!("{name} is refused, for {retry} ms"),
            }
        });
        assert_eq!(asked, told, "{names:?}");
        self
    }

    /// One more asks and is refused for so long.
    fn refused(&mut self, client: usize, retry: u64) -> &mut Self {
        assert_eq!(self.engine.ask(usize::MAX, client, 0, self.now), Asked::Refused(retry));
        self
    }

    fn leave<const N: usize>(&mut self, names: [&'static str; N]) -> &mut Self {
        for name in names {
            let number =
                self.names.iter().position(|known| *known == name).expect("a name of the example");
            self.engine.leave(number, self.now);
        }
        self
    }

    /// In the end these were forwarded at these instants, and nobody else.
    fn goes(&mut self, expected: &[(&'static str, u64)]) {
        self.at(u64::MAX);
        let seen: Vec<_> =
            self.engine.released.iter().map(|(number, at)| (self.names[*number], *at)).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn example_1_the_middle_leaves() {
    let mut script = Script::new(&Setup::one((1, 100), first(20, 0)));
    script.ask(0, ["r1", "r2", "r3", "r4", "r5", "r6"], [0, 100, 200, 300, 400, 500]);
    script.at(150).leave(["r4"]).ask(0, ["r7"], [500]);
    script.goes(&[("r1", 0), ("r2", 100), ("r3", 200), ("r5", 300), ("r6", 400), ("r7", 500)]);
}

#[test]
fn example_2_the_first_leaves_just_before_its_slot_and_asks_again() {
    let mut script = Script::new(&Setup::one((1, 100), first(3, 0)));
    script.ask(0, ["a", "b", "c", "d"], [0, 100, 200, 300]);
    script.at(99).leave(["b"]).ask(0, ["b2"], [300]).refused(0, 1);
    script.at(100).ask(0, ["e2"], [400]);
    script.goes(&[("a", 0), ("c", 100), ("d", 200), ("b2", 300), ("e2", 400)]);
}

#[test]
fn example_3_all_leave() {
    let mut script = Script::new(&Setup::one((1, 1_000), first(5, 0)));
    script.ask(0, ["r1", "r2", "r3", "r4", "r5", "r6"], [0, 1_000, 2_000, 3_000, 4_000, 5_000]);
    script.at(100).leave(["r2", "r3", "r4", "r5", "r6"]);
    script.at(500).ask(0, ["r7"], [1_000]).at(900).leave(["r7"]);
    script.at(1_500).ask(0, ["r8", "r9"], [1_500, 2_500]);
    script.goes(&[("r1", 0), ("r8", 1_500), ("r9", 2_500)]);
}

#[test]
fn example_4_two_stages() {
    let mut script = Script::new(&Setup::one((1, 200), first(12, 8)));
    script.ask(0, ["1", "2", "3", "4", "5", "6", "7", "8", "9"], [0; 9]);
    script.ask(0, ["10", "11", "12", "13"], [200, 400, 600, 800]).refused(0, 200);
    script.at(100).leave(["10"]).ask(0, ["14"], [800]).refused(0, 100);
    let passed = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|name| (name, 0));
    script.goes(&[&passed[..], &[("11", 200), ("12", 400), ("13", 600), ("14", 800)]].concat());
}

#[test]
fn example_5_two_rules() {
    let site = RuleModel { zone: 0, burst: 10, delay: 0, max_wait: None };
    let client = RuleModel { zone: 1, burst: 5, delay: 0, max_wait: None };
    let rates = vec![(1, 100), (1, 1_000)];
    let mut script =
        Script::new(&Setup { rates, shared: vec![true, false], routes: vec![vec![site, client]] });
    script.ask(0, ["X1", "X2", "X3"], [0, 1_000, 2_000]).ask(1, ["Y1"], [300]);
    script.at(50).leave(["X2"]).at(250).leave(["X3"]);
    script.at(300).ask(0, ["X4"], [1_000]).ask(1, ["Y2"], [1_000]);
    script.goes(&[("X1", 0), ("Y1", 200), ("X4", 1_000), ("Y2", 1_000)]);
}

/// Another rate, or the same: the debts of the zone before, and none of its lines.
fn reloaded(before: &Zone, rate: &str, now: u64) -> Arc<Zone> {
    let settings =
        ZoneSettings { rate: rate.parse().expect("a rate"), ..before.settings().clone() };
    let zone = Zone::with_seed(settings, before.seed());
    Snapshot::take(before, Millis(now))
        .restore(&zone, Millis(now))
        .expect("a zone of the same name and seed");
    Arc::new(zone)
}

#[test]
fn example_6_reload_to_another_rate() {
    let mut script = Script::new(&Setup::one((1, 100), first(10, 0)));
    script.ask(0, ["r1", "r2", "r3", "r4", "r5"], [0, 100, 200, 300, 400]).at(50);
    let after = reloaded(script.engine.gates[0].rules()[0].zone(), "5r/s", 50);
    script.engine.gates = vec![gate(&[after], &[first(10, 0)])];
    script.ask(0, ["r6"], [500]).at(60).leave(["r2"]).ask(0, ["r7"], [700]);
    script.goes(&[("r1", 0), ("r3", 100), ("r4", 200), ("r5", 300), ("r6", 500), ("r7", 700)]);
}

#[test]
fn example_7_thirds_of_a_second() {
    let mut script = Script::new(&Setup::one((3, 1_000), first(5, 0)));
    script.ask(0, ["r1", "r2", "r3", "r4", "r5"], [0, 333, 666, 1_000, 1_333]);
    script.at(332).leave(["r2"]).ask(0, ["r6"], [1_333]);
    script.goes(&[("r1", 0), ("r3", 333), ("r4", 666), ("r5", 1_000), ("r6", 1_333)]);
}

/// Requests of a storm: each waits so long, leaves, and asks again in the same millisecond.
fn storm(setup: &Setup, clients: usize, strategy: Strategy, end: u64) -> Both {
    let mut both = Both::new(setup.clone(), strategy, 1);
    for start in 0..clients {
        both.arrival(0, start as u64 * 13);
    }
    // The refused ask again every 50 ms.
    for now in (clients as u64 * 13..end).step_by(50) {
        both.arrival(0, now);
        both.arrival(0, now);
    }
    both.run_to(end);
    both
}

#[test]
fn storm_of_impatient_clients_never_gets_more_through_than_the_rate() {
    let setup = Setup::one((1, 100), first(20, 0));
    for strategy in [
        Strategy::Impatient(1_000),
        Strategy::Impatient(100),
        Strategy::JustBefore(1),
        Strategy::JustBefore(30),
    ] {
        let both = storm(&setup, 80, strategy, 3_000);
        envelope_holds(&both.model, &setup);
        places_are_apart(&both.model, &setup);
        // One each 100 ms, all the time: what the leaving left was used.
        let forwarded = both.engine.released.values().filter(|at| **at < 3_000).count();
        assert_eq!(forwarded, 30, "{strategy:?}");
    }
}

/// Invariant (3): one rule, one delay. Nobody is refused while the tail, what somebody holds or
/// used, is within burst and `max_wait`. Invariant (4): with nobody parked, who comes when the last
/// place allows it passes.
#[test]
fn place_that_is_free_is_never_refused() {
    for seed in 50_000..52_000 {
        let mut dice = Dice(seed | 1);
        let setup = rolled_setup(&mut dice, 1, 1);
        let (ticks_per_ms, interval) = setup.rates[0];
        let rule = setup.routes[0][0];
        let mut both = Both::new(setup.clone(), Strategy::Random, seed);
        let mut now = 0;
        for _ in 0..120 {
            now += dice.roll(3) * dice.roll(interval / ticks_per_ms + 2);
            both.run_to(now);
            let client = usize::try_from(dice.roll(CLIENTS as u64)).expect("few");
            let mine = |request: &&Admitted| {
                (setup.shared[0] || request.client == client) && !request.left
            };
            let held: Vec<&Admitted> = both.model.requests.iter().filter(mine).collect();
            let tail = held.iter().map(|request| request.places[0] + interval).max().unwrap_or(0);
            let ahead = tail.saturating_sub(now * ticks_per_ms);
            let wait = ahead.saturating_sub(rule.delay * interval) / ticks_per_ms;
            let is_free =
                ahead <= rule.burst * interval && rule.max_wait.is_none_or(|most| wait <= most);
            let nobody_parked = held.iter().all(|request| request.released().is_some());
            let passes =
                nobody_parked && tail.saturating_sub(rule.delay * interval) <= now * ticks_per_ms;
            let asked = both.ask(client, now);
            assert!(
                !is_free || !matches!(asked, Asked::Refused(_)),
                "seed {seed}: refused at {now} ms, {ahead} ahead"
            );
            assert!(!passes || asked == Asked::Passed, "seed {seed}: {asked:?} at {now} ms");
        }
    }
}

/// Invariant (6): at no time is more than one request behind what would be forwarded if nothing
/// were ever given back; and with an overload that gives up, many times as much is forwarded.
#[test]
fn giving_back_is_never_more_than_one_request_behind_and_many_ahead() {
    let mut ahead = (0, 0);
    for seed in 60_000..60_400 {
        let mut dice = Dice(seed | 1);
        let rule = first(20, 0);
        let [mut with, mut without] =
            [true, false].map(|back| LineModel::new(&[(1, 100)], &[true], 1, back));
        let (mut now, mut leaves) = (0, Vec::new());
        for _ in 0..400 {
            now += dice.roll(160);
            let patience = (dice.roll(2) == 0).then(|| dice.roll(1_500));
            for (index, model) in [&mut with, &mut without].into_iter().enumerate() {
                let number = model.requests.len();
                if let (Asked::Parked(_), Some(patience)) = (model.ask(0, &[rule], now), patience) {
                    leaves.push((now + patience, index, number));
                }
            }
            leaves.sort_unstable();
            let due = leaves.partition_point(|(at, ..)| *at <= now);
            for (at, index, number) in leaves.drain(..due) {
                let model = if index == 0 { &mut with } else { &mut without };
                model.leave(number, at);
            }
            with.advance(now);
            without.advance(now);
            let counts = [&with, &without].map(|model| model.forwarded_by(now));
            assert!(counts[0] + 1 >= counts[1], "seed {seed} at {now} ms: {counts:?}");
        }
        let counts = [&with, &without].map(|model| model.forwarded_by(now));
        ahead = (ahead.0 + counts[0], ahead.1 + counts[1]);
    }
    assert!(ahead.0 * 2 > ahead.1 * 3, "{ahead:?} forwarded with and without giving back");
}

/// However many stand behind, a leave wakes at most one request of each delay.
#[test]
fn leave_wakes_no_more_than_one_request_of_each_delay() {
    for delays in [vec![0], vec![0, 3], vec![0, 3, 7]] {
        let routes: Vec<Vec<RuleModel>> =
            delays.iter().map(|delay| vec![first(2_000, *delay)]).collect();
        let setup = Setup { rates: vec![(1, 100)], shared: vec![true], routes };
        let mut engine = Engine::new(&setup);
        for number in 0..1_000 {
            assert!(!matches!(engine.ask(number, 0, number % delays.len(), 0), Asked::Refused(_)));
        }
        for leaver in [10, 500, 999, 11] {
            let before = engine.wakes;
            engine.leave(leaver, 1);
            assert!(
                engine.wakes - before <= delays.len(),
                "{} woken, delays {delays:?}",
                engine.wakes - before
            );
        }
    }
}
