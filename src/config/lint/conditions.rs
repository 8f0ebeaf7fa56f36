//! Lints on conditions of routes and rules.

use crate::{
    config::{problem::Problems, resolve::location::Location},
    http::condition::{Condition, RuleScope, ValueTest},
};

/// Fields in which proxies name the client. Any client can send them as well.
pub const NAMES_THE_CLIENT: [&str; 8] = [
    "cf-connecting-ip",
    "client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-for",
    "x-real-ip",
];

/// Warns about conditions that a client can fulfil at will.
pub fn scope(scope: &RuleScope, spot: Location<'_>, problems: &mut Problems) {
    if scope.unless.as_ref().is_some_and(is_at_will) {
        let message = "any client can send this, and is not limited then";
        let hint = "add `clients`, or write a secret of at least 16 letters as the exact value";
        problems.warn(spot.key("unless").span, message, hint);
    }
    for (key, condition) in [("when", &scope.when), ("unless", &scope.unless)] {
        condition.iter().for_each(|condition| claims(condition, spot.key(key), problems));
    }
}

/// Warns about a condition on a field that names the client.
pub fn claims(condition: &Condition, spot: Location<'_>, problems: &mut Problems) {
    // Only headers can name the client: cookies and queries are the client's own words.
    for name in condition.headers.iter().map(|field| field.name.as_str()) {
        if NAMES_THE_CLIENT.contains(&name) {
            let message = format!("any client can send any value there: `{name}`");
            let hint = "use `clients`, and name the proxies in `client_ip.trusted_proxies`";
            problems.warn(spot.key("headers").name(name).span, message, hint);
        }
    }
}

/// Returns true if a client can fulfil a condition without an address or a secret.
#[must_use]
pub fn is_at_will(condition: &Condition) -> bool {
    let headers = condition.headers.iter().map(|field| &field.tests);
    let others = condition.cookies.iter().chain(&condition.query).map(|field| &field.tests);
    let mut fields = headers.chain(others).peekable();
    // A method says what the client wants to do, so another one is another request.
    let has_fields = fields.peek().is_some();
    condition.clients.is_empty()
        && has_fields
        && fields.all(|tests| tests.iter().any(|test| !is_secret(test)))
}

/// Returns true for a value that is long enough not to be guessed.
fn is_secret(test: &ValueTest) -> bool {
    matches!(test, ValueTest::Exact(text) if text.len() >= 16)
}
