//! Conditions: tests parsed, names checked.

use std::collections::BTreeMap;

use http::header;

use super::{collector::Collector, location::Location, pattern};
use crate::{
    config::schema::{ConditionSpec, MatchSpec, ValueSpec},
    http::condition::{Condition, ConditionField, RuleScope, ValueTest},
    limit::{Part, key::PartError},
    runtime::hint::hinted,
};

/// Resolves the conditions of a rule.
pub fn scope(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    when: Option<&ConditionSpec>,
    unless: Option<&ConditionSpec>,
) -> Option<RuleScope> {
    let mut of = |key: &str, spec: Option<&ConditionSpec>| {
        spec.map(|spec| condition(judge, spot.key(key), spec))
    };
    let scope = RuleScope { when: of("when", when), unless: of("unless", unless) };
    (scope != RuleScope::default()).then_some(scope)
}

/// Resolves the condition of a route.
pub fn of_route(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    spec: Option<&MatchSpec>,
) -> Option<Condition> {
    let (spot, spec) = (spot.key("match"), spec?);
    if *spec == MatchSpec::default() {
        let hint = "give one of `clients`, `headers`, `cookies` and `query`";
        judge.refuse(spot, hinted("this condition holds for every request", hint));
        return None;
    }
    Some(condition(judge, spot, &spec.as_condition()))
}

/// Resolves one condition.
fn condition(judge: &mut Collector<'_>, spot: Location<'_>, spec: &ConditionSpec) -> Condition {
    if *spec == ConditionSpec::default() {
        let hint = "give one of `clients`, `methods`, `headers`, `cookies` and `query`";
        judge.refuse(spot, hinted("this condition holds for every request", hint));
    }
    let written = Some(&spec.methods[..]).filter(|methods| !methods.is_empty());
    Condition {
        clients: judge.networks(spot.key("clients"), &spec.clients),
        methods: pattern::methods(judge, spot.key("methods"), written),
        // The names are those of parts of a key, so they are checked in one place.
        headers: fields(judge, spot.key("headers"), &spec.headers, |name| {
            format!("header:{name}").parse().map(|part| match part {
                Part::Header(name) => name,
                _ => header::HOST,
            })
        }),
        cookies: fields(judge, spot.key("cookies"), &spec.cookies, |name| {
            format!("cookie:{name}").parse().map(|_: Part| name.to_owned())
        }),
        query: fields(judge, spot.key("query"), &spec.query, |name| {
            format!("query:{name}").parse().map(|_: Part| name.to_owned())
        }),
    }
}

fn fields<N>(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    specs: &BTreeMap<String, ValueSpec>,
    name_of: impl Fn(&str) -> Result<N, PartError>,
) -> Vec<ConditionField<N>> {
    let mut found = Vec::with_capacity(specs.len());
    for (name, spec) in specs {
        let tests = tests(judge, spot.key(name), spec);
        if let Some(name) = judge.take(spot.name(name), name_of(name)) {
            found.push(ConditionField { name, tests });
        }
    }
    found
}

fn tests(judge: &mut Collector<'_>, spot: Location<'_>, spec: &ValueSpec) -> Vec<ValueTest> {
    match spec {
        ValueSpec::Presence(true) => vec![ValueTest::Present],
        ValueSpec::Presence(false) => vec![ValueTest::Absent],
        ValueSpec::Test(text) => judge.take(spot, text.parse()).into_iter().collect(),
        ValueSpec::Tests(texts) => {
            if texts.is_empty() {
                judge.refuse(spot, hinted("no value is given", "write one, or `true` for any"));
            }
            let texts = texts.iter().enumerate();
            texts.filter_map(|(index, text)| judge.take(spot.item(index), text.parse())).collect()
        }
    }
}
