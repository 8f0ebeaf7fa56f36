//! Maps that make the key of a zone empty for some requests: conditions of the rules of the zone.

use ipnet::IpNet;

use super::{
    expressions::{escaped_value, value_expression},
    scalar::{quoted, single_quoted},
    tree::Directive,
};
use crate::config::networks::network;

/// Key of the requests that a map counts, and the condition of being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionalKey {
    /// Value of the map for them.
    pub value: String,
    /// `when: {...}` or `unless: {...}`.
    pub condition: String,
}

/// Row of a map.
#[derive(Clone, Copy, Debug)]
struct MapRow<'a> {
    pattern: &'a str,
    value: &'a str,
}

/// Reads a `map` or `geo` that has one value, or none, for each request; none where it says more
/// than one condition of weir.
#[must_use]
pub fn of_map(map: &Directive) -> Option<ConditionalKey> {
    let (mut default, mut rows) = ("", Vec::new());
    for row in map.children() {
        match &*row.name {
            "default" => default = row.arg(0),
            "volatile" => {}
            "hostnames" | "include" | "ranges" | "proxy" | "delete" | "proxy_recursive" => {
                return None;
            }
            pattern => rows.push(MapRow { pattern, value: row.arg(0) }),
        }
    }
    // Two keys would be two zones, and a rule has one.
    let values = rows.iter().map(|row| row.value).chain([default]);
    let mut values = values.filter(|value| !value.is_empty());
    let value = values.next()?;
    if values.any(|other| other != value) {
        return None;
    }
    // The rows that are not as the default is. Others beside an expression would come before it.
    let (tested, others): (Vec<MapRow<'_>>, Vec<MapRow<'_>>) =
        rows.iter().partition(|row| row.value.is_empty() != default.is_empty());
    if tested.is_empty() || (!others.is_empty() && rows.iter().any(|row| row.is_expression())) {
        return None;
    }
    // What is counted by default is not counted for the rows, and the reverse.
    let key = if default.is_empty() { "when" } else { "unless" };
    let source = match (&*map.name, map.args.len()) {
        ("geo", 1) => "remote_addr",
        _ => map.arg(0).strip_prefix('$')?,
    };
    let test = test(source, &tested, others.is_empty())?;
    Some(ConditionalKey { value: value.to_owned(), condition: format!("{key}: {{ {test} }}") })
}

impl MapRow<'_> {
    fn is_expression(&self) -> bool {
        self.pattern.starts_with('~')
    }

    /// Test of a value; nginx compares texts without case.
    fn test(&self) -> Option<String> {
        let expression = match self.pattern.strip_prefix('~') {
            Some(text) => {
                let (sign, text) = text.strip_prefix('*').map_or(("~", text), |text| ("~*", text));
                format!("{sign}{}", value_expression(text).ok()?)
            }
            // A field that is missing, or one that is empty.
            None if self.pattern.is_empty() => return None,
            None => format!("~*^{}$", escaped_value(self.pattern.trim_start_matches('\\'))),
        };
        Some(single_quoted(&expression))
    }
}

/// Condition on the source of a map.
fn test(source: &str, rows: &[MapRow<'_>], is_alone: bool) -> Option<String> {
    if matches!(source, "remote_addr" | "binary_remote_addr" | "realip_remote_addr") {
        let networks: Vec<IpNet> =
            rows.iter().map(|row| network(row.pattern)).collect::<Option<_>>()?;
        // The narrowest network counts in nginx, and any of the list here.
        let texts: Vec<_> = networks.iter().map(|network| quoted(&network.to_string())).collect();
        return is_alone.then(|| format!("clients: [ {} ]", texts.join(", ")));
    }
    if source == "request_method" {
        let is_method =
            |row: &MapRow<'_>| row.pattern.bytes().all(|byte| byte.is_ascii_uppercase());
        // `GET` of weir takes HEAD too.
        let has = |name: &str| rows.iter().any(|row| row.pattern == name);
        let is_same = has("GET") == has("HEAD");
        let texts: Vec<_> = rows.iter().map(|row| row.pattern).collect();
        return (is_same && rows.iter().all(is_method))
            .then(|| format!("methods: [ {} ]", texts.join(", ")));
    }
    let (kind, name) = match source {
        "host" | "http_host" => ("headers", "host".to_owned()),
        source => {
            let header =
                source.strip_prefix("http_").map(|name| ("headers", name.replace('_', "-")));
            let cookie = source.strip_prefix("cookie_").map(|name| ("cookies", name.to_owned()));
            let query = source.strip_prefix("arg_").map(|name| ("query", name.to_owned()));
            header.or(cookie).or(query)?
        }
    };
    let name = quoted(&name);
    if let [MapRow { pattern: "", .. }] = rows {
        return Some(format!("{kind}: {{ {name}: false }}"));
    }
    // One test must hold, as one row does.
    let tests: Vec<String> = rows.iter().map(MapRow::test).collect::<Option<_>>()?;
    let tests = match &tests[..] {
        [one] => one.clone(),
        tests => format!("[ {} ]", tests.join(", ")),
    };
    Some(format!("{kind}: {{ {name}: {tests} }}"))
}

#[cfg(test)]
mod tests {
    use crate::tools::import::{key_conditions::*, tree::TreeBuilder};

    #[test]
    fn map_of_one_value_is_a_condition() {
        for (text, expected) in [
            (
                "map $http_user_agent $k { default \"\"; ~*(bot|crawl) $remote_addr; }",
                Some("when: { headers: { user-agent: '~*(bot|crawl)' } }"),
            ),
            (
                "map $request_method $k { default \"\"; POST $remote_addr; PUT $remote_addr; }",
                Some("when: { methods: [ POST, PUT ] }"),
            ),
            (
                "map $cookie_session $k { \"\" $remote_addr; default \"\"; }",
                Some("when: { cookies: { session: false } }"),
            ),
            (
                "map $arg_plan $k { default $remote_addr; gold \"\"; silver \"\"; }",
                Some("unless: { query: { plan: [ '~*^gold$', '~*^silver$' ] } }"),
            ),
            (
                "geo $k { default \"\"; 192.0.2.0/24 $remote_addr; }",
                Some("when: { clients: [ \"192.0.2.0/24\" ] }"),
            ),
            ("map $request_method $k { default \"\"; GET $remote_addr; }", None),
            ("map $http_x $k { default $a; b $b; }", None),
            ("map $http_x $k { default \"\"; a $k; ~a \"\"; }", None),
            ("map $http_x $k { default \"\"; ~(?=a) $k; }", None),
            ("map $uri $k { default \"\"; /a $k; }", None),
        ] {
            let tree = TreeBuilder::default().parse("a", 0, text).expect("a tree");
            let found = of_map(&tree[0]).map(|key| key.condition);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
