//! Conditions on requests: networks of clients, methods, headers, cookies and query parameters.
//!
//! Guarantees: a condition is parsed once, and the time to check it is linear in the length of the
//! request (finite automata, no backtracking; [`MOST_SEARCHED`] bytes of a value at most). What a
//! client sends twice, or too long to be searched, is never read in its favor: the caller says by
//! [`Doubt`] what that is.

use std::str::FromStr;

use http::{HeaderName, Method, header};
use ipnet::IpNet;

use crate::{
    limit::{Scope, Subject},
    runtime::{expression::Expression, hint::Hinted},
};

/// Longest value that is searched by a regular expression, in bytes.
pub const MOST_SEARCHED: usize = 4 * 1024;

/// Condition on a request: all of its parts must hold. An empty list or map holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Networks, one of which contains the client address.
    pub clients: Vec<IpNet>,
    /// Methods, one of which the request has.
    pub methods: Vec<Method>,
    /// Tests of headers.
    pub headers: Vec<ConditionField<HeaderName>>,
    /// Tests of cookies.
    pub cookies: Vec<ConditionField<String>>,
    /// Tests of query parameters.
    pub query: Vec<ConditionField<String>>,
}

/// Field of a request with the tests of its value, one of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionField<N> {
    /// Name of the field.
    pub name: N,
    /// Tests; one must hold.
    pub tests: Vec<ValueTest>,
}

/// Reading of a field that has several values, or one too long to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The condition holds if any value may fulfil it: for what a client wants to avoid.
    Holds,
    /// The condition holds if all values fulfil it: for what a client wants to get.
    Fails,
}

/// Outcome of a condition for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The condition holds.
    Holds,
    /// It holds in one reading of the request, and fails in another.
    InDoubt,
    /// The condition fails.
    Fails,
}

/// Test of the value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTest {
    /// The field is there, whatever its value.
    Present,
    /// The field is not there.
    Absent,
    /// The value is this text.
    Exact(String),
    /// The value begins with this text.
    Prefix(String),
    /// The value ends with this text.
    Suffix(String),
    /// The value contains this text.
    Contains(String),
    /// The value matches this regular expression somewhere.
    Matches(Expression),
}

/// Error of a text that is not a test of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// The text has no value.
    #[error("`{0}` matches nothing in particular")]
    Empty(String),
    /// A sign for any text stands in the middle.
    #[error("`{0}` has `*` between other letters")]
    InnerStar(String),
    /// The regular expression is not valid.
    #[error("`{0}` is not a regular expression")]
    Pattern(String),
    /// The regular expression is too large.
    #[error("the regular expression `{0}` is too large")]
    TooLarge(String),
}

impl Hinted for TestError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Empty(_) => {
                "write `true` for any value, `false` for none, or `=` for an empty one"
            }
            Self::InnerStar(text) => {
                return Some(format!(
                    "write `={text}` for that text, or `~` and a regular expression"
                ));
            }
            Self::Pattern(_) => "it has no look-around and no back-references, and time is linear",
            Self::TooLarge(_) => "split it into a list, or repeat less",
        };
        Some(hint.to_owned())
    }
}

impl Condition {
    /// Returns true if no part is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if the condition holds for a request.
    #[must_use]
    pub fn holds(&self, subject: &Subject<'_>, doubt: Doubt) -> bool {
        // From the cheapest to the most expensive.
        (self.methods.is_empty() || self.has_method(subject.method))
            && (self.clients.is_empty() || self.has_client(subject))
            && self
                .headers
                .iter()
                .all(|field| field.holds(doubt, |see| subject.each_header(&field.name, see)))
            && self
                .cookies
                .iter()
                .all(|field| field.holds(doubt, |see| subject.each_cookie(&field.name, see)))
            && self
                .query
                .iter()
                .all(|field| field.holds(doubt, |see| subject.each_parameter(&field.name, see)))
    }

    /// Returns the outcome for a request, which neither side of a [`Doubt`] decides.
    #[must_use]
    pub fn fit(&self, subject: &Subject<'_>) -> Fit {
        // What holds against all doubt holds without it too.
        match (self.holds(subject, Doubt::Holds), self.holds(subject, Doubt::Fails)) {
            (false, _) => Fit::Fails,
            (true, false) => Fit::InDoubt,
            (true, true) => Fit::Holds,
        }
    }

    /// Header fields that it reads.
    pub fn fields(&self) -> impl Iterator<Item = HeaderName> {
        // A query is no field, and no endpoint reads it by another name.
        let cookie = (!self.cookies.is_empty()).then_some(header::COOKIE);
        self.headers.iter().map(|field| field.name.clone()).chain(cookie)
    }

    fn has_method(&self, method: &Method) -> bool {
        // GET takes HEAD too, as on a route.
        let takes =
            |one: &Method| one == method || (*one == Method::GET && *method == Method::HEAD);
        self.methods.iter().any(takes)
    }

    fn has_client(&self, subject: &Subject<'_>) -> bool {
        let client = subject.client.to_canonical();
        self.clients.iter().any(|network| network.contains(&client))
    }
}

impl<N> ConditionField<N> {
    /// Returns true if one of the tests holds for the values that `each` visits.
    fn holds(&self, doubt: Doubt, each: impl FnOnce(&mut dyn FnMut(&[u8]))) -> bool {
        let (mut is_there, mut any, mut all) = (false, false, true);
        each(&mut |value| {
            let fulfils = self.tests.iter().any(|test| test.fulfils(value, doubt));
            is_there = true;
            any |= fulfils;
            all &= fulfils;
        });
        match doubt {
            _ if !is_there => self.tests.contains(&ValueTest::Absent),
            Doubt::Holds => any,
            Doubt::Fails => all,
        }
    }
}

impl ValueTest {
    /// Returns true if a value fulfils the test.
    fn fulfils(&self, value: &[u8], doubt: Doubt) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Suffix(text) => value.ends_with(text.as_bytes()),
            Self::Contains(text) => memchr::memmem::find(value, text.as_bytes()).is_some(),
            Self::Matches(_) if value.len() > MOST_SEARCHED => doubt == Doubt::Holds,
            Self::Matches(pattern) => pattern.regex().is_match(value),
        }
    }
}

impl FromStr for ValueTest {
    type Err = TestError;

    /// Parses a text as configurations write it: `~` and a regular expression, `~*` for one that
    /// ignores case, `=` and an exact text, or a text with `*` for any text at its ends.
    fn from_str(text: &str) -> Result<Self, TestError> {
        if let Some(pattern) = text.strip_prefix('~') {
            return expression(pattern, text).map(Self::Matches);
        }
        if let Some(exact) = text.strip_prefix('=') {
            return Ok(Self::Exact(exact.to_owned()));
        }
        let (rest, ends_open) = text.strip_suffix('*').map_or((text, false), |rest| (rest, true));
        let (rest, begins_open) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        match rest {
            "" => Err(TestError::Empty(text.to_owned())),
            rest if rest.contains('*') => Err(TestError::InnerStar(text.to_owned())),
            rest => Ok(match (begins_open, ends_open) {
                (false, false) => Self::Exact(rest.to_owned()),
                (false, true) => Self::Prefix(rest.to_owned()),
                (true, false) => Self::Suffix(rest.to_owned()),
                (true, true) => Self::Contains(rest.to_owned()),
            }),
        }
    }
}

/// Parses what stands behind the first `~`; `written` is the whole text.
fn expression(text: &str, written: &str) -> Result<Expression, TestError> {
    let (pattern, ignores_case) = text.strip_prefix('*').map_or((text, false), |rest| (rest, true));
    if pattern.is_empty() {
        return Err(TestError::Empty(written.to_owned()));
    }
    Expression::new(pattern, ignores_case).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => TestError::TooLarge(pattern.to_owned()),
        _ => TestError::Pattern(pattern.to_owned()),
    })
}

/// Requests that a rule applies to: those for which `when` holds and `unless` does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleScope {
    /// Condition of requests that are counted.
    pub when: Option<Condition>,
    /// Condition of requests that are not counted.
    pub unless: Option<Condition>,
}

impl Scope for RuleScope {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        // Both times a client that makes itself ambiguous is counted.
        self.when.as_ref().is_none_or(|when| when.holds(subject, Doubt::Holds))
            && !self.unless.as_ref().is_some_and(|unless| unless.holds(subject, Doubt::Fails))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use crate::http::condition::*;

    fn tests(texts: &[&str]) -> Vec<ValueTest> {
        texts.iter().map(|text| text.parse().expect("a test")).collect()
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    /// Holds of `x-a` with these values, doubt for and against.
    fn of_values(texts: &[&str], values: &[&'static str]) -> (bool, bool) {
        let name = HeaderName::from_static("x-a");
        let condition = Condition {
            headers: vec![ConditionField { name, tests: tests(texts) }],
            ..Condition::default()
        };
        let lines: Vec<_> = values.iter().map(|value| ("x-a", *value)).collect();
        let headers = headers(&lines);
        let subject = Subject::of(IpAddr::from([192, 0, 2, 1]), &Method::GET, &headers);
        (condition.holds(&subject, Doubt::Holds), condition.holds(&subject, Doubt::Fails))
    }

    #[test]
    fn test_of_a_value_is_what_its_signs_say() {
        for (text, yes, no) in [
            ("abc", &["abc"][..], &["abcd", "ABC", "", "a"][..]),
            ("abc*", &["abc", "abcd"], &["xabc", "ABC"]),
            ("*abc", &["abc", "xabc"], &["abcx"]),
            ("*abc*", &["abc", "xabcx"], &["ab c"]),
            ("=a*c", &["a*c"], &["abc"]),
            ("=~a", &["~a"], &["a"]),
            ("=", &[""], &["a"]),
            ("~^a[0-9]+$", &["a1"], &["a", "xa1", "A1"]),
            ("~b.t", &["robot"], &["bt", "BOT"]),
            ("~b..t", &["b\u{e9}t"], &[]),
            ("~*bot|crawl", &["GoogleBOT/2", "Crawler"], &["Mozilla"]),
        ] {
            for value in yes {
                assert_eq!(of_values(&[text], &[value]), (true, true), "{text} {value}");
            }
            for value in no {
                assert_eq!(of_values(&[text], &[value]), (false, false), "{text} {value}");
            }
            assert_eq!(of_values(&[text], &[]), (false, false), "{text}");
        }
    }

    #[test]
    fn test_that_means_nothing_or_cannot_be_run_is_an_error() {
        for text in ["", "*", "**", "~", "~*"] {
            assert_eq!(text.parse::<ValueTest>(), Err(TestError::Empty(text.to_owned())), "{text}");
        }
        assert_eq!("a*b".parse::<ValueTest>(), Err(TestError::InnerStar("a*b".to_owned())));
        for text in ["~(", r"~(a)\1", "~(?=a)", r"~\p{Greek}"] {
            let error = text.parse::<ValueTest>();
            assert_eq!(error, Err(TestError::Pattern(text[1..].to_owned())), "{text}");
        }
        let large = "~(a{1000}){1000}";
        assert_eq!(large.parse::<ValueTest>(), Err(TestError::TooLarge(large[1..].to_owned())));
    }

    #[test]
    fn several_values_hold_together_or_each_as_doubt_says() {
        assert_eq!(of_values(&["a", "b"], &["a", "b"]), (true, true));
        assert_eq!(of_values(&["a"], &["a", "x"]), (true, false));
        assert_eq!(of_values(&["a"], &["x", "y"]), (false, false));
        assert_eq!(of_values(&["a"], &["a", "a"]), (true, true));
    }

    #[test]
    fn fit_is_in_doubt_where_one_value_fulfils_a_test_and_another_does_not() {
        let name = HeaderName::from_static("x-a");
        let fields = vec![ConditionField { name, tests: tests(&["a"]) }];
        let condition = Condition { headers: fields, ..Condition::default() };
        let of = |values: &[&'static str]| {
            let lines: Vec<_> = values.iter().map(|value| ("x-a", *value)).collect();
            let headers = headers(&lines);
            condition.fit(&Subject::of(IpAddr::from([192, 0, 2, 1]), &Method::GET, &headers))
        };
        assert_eq!(of(&["a", "a"]), Fit::Holds);
        assert_eq!(of(&["a", "b"]), Fit::InDoubt);
        assert_eq!(of(&["b", "b"]), Fit::Fails);
        assert_eq!(of(&[]), Fit::Fails);
    }

    #[test]
    fn value_too_long_to_be_searched_is_in_doubt() {
        let long: &'static str = Box::leak("bot".repeat(MOST_SEARCHED).into_boxed_str());
        assert_eq!(of_values(&["~bot"], &[&long[..MOST_SEARCHED]]), (true, true));
        assert_eq!(of_values(&["~bot"], &[&long[..=MOST_SEARCHED]]), (true, false));
        assert_eq!(of_values(&["*bot*"], &[long]), (true, true), "no search by an expression");
    }

    #[test]
    fn presence_is_a_test_of_its_own() {
        let of = |test: ValueTest, lines: &[(&'static str, &'static str)]| {
            let name = HeaderName::from_static("x-a");
            let fields = vec![ConditionField { name, tests: vec![test] }];
            let condition = Condition { headers: fields, ..Condition::default() };
            let headers = headers(lines);
            let subject = Subject::of(IpAddr::from([192, 0, 2, 1]), &Method::GET, &headers);
            condition.holds(&subject, Doubt::Fails)
        };
        assert!(of(ValueTest::Present, &[("x-a", "")]));
        assert!(!of(ValueTest::Present, &[("x-b", "1")]));
        assert!(of(ValueTest::Absent, &[("x-b", "1")]));
        assert!(!of(ValueTest::Absent, &[("x-a", "")]));
    }

    #[test]
    fn condition_holds_if_all_of_its_parts_do() {
        let condition = Condition {
            clients: vec!["192.0.2.0/24".parse().expect("a network")],
            methods: vec![Method::GET],
            cookies: vec![ConditionField { name: "sid".to_owned(), tests: tests(&["a b"]) }],
            query: vec![ConditionField { name: "q".to_owned(), tests: tests(&["x*"]) }],
            ..Condition::default()
        };
        let headers = headers(&[("cookie", "a=1; sid=\"a%20b\"")]);
        let good = Subject {
            query: Some("p=1&%71=%78y"),
            ..Subject::of("::ffff:192.0.2.9".parse().expect("an address"), &Method::HEAD, &headers)
        };
        let holds = |subject: &Subject<'_>| condition.holds(subject, Doubt::Fails);
        assert!(holds(&good));
        assert!(!holds(&Subject { client: IpAddr::from([192, 0, 3, 1]), ..good }));
        assert!(!holds(&Subject { method: &Method::POST, ..good }));
        assert!(!holds(&Subject { query: Some("q=y"), ..good }));
        assert!(!holds(&Subject { query: Some("q=x&q=y"), ..good }));
        assert!(!holds(&Subject { query: Some("q"), ..good }));
        assert!(!holds(&Subject { headers: &HeaderMap::new(), ..good }));
    }
}
