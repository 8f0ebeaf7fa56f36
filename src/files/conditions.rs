//! Conditions of a request (RFC 9110, section 13) and the range that it asks for (section 14).

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use http_range_header::{RangeUnsatisfiableError, parse_range_header};

use crate::http::header_list::HeaderList;

/// Conditions of a request, as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Vec<Box<[u8]>>,
    if_none_match: Vec<Box<[u8]>>,
    if_modified_since: Option<SystemTime>,
    if_unmodified_since: Option<SystemTime>,
    if_range: Option<Box<[u8]>>,
    range: Option<Box<str>>,
}

/// Validators of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Strong entity tag, with its quotation marks.
    pub etag: String,
    /// Time of the last change, in whole seconds; none if it is no date that HTTP can say.
    pub modified: Option<SystemTime>,
}

/// Part of a file that is sent, or the reason why none is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole representation is sent.
    Whole,
    /// A part of it is sent.
    Part(Range<u64>),
    /// The client has it already.
    NotModified,
    /// The client wants another one.
    PreconditionFailed,
    /// The range is not within the representation.
    RangeNotSatisfiable,
}

impl Conditions {
    /// Reads the conditions of a request. The range is read for GET only (RFC 9110, section 14.2).
    #[must_use]
    pub fn of(headers: &HeaderList, is_get: bool) -> Self {
        let all = |name| headers.values(name).map(Box::from).collect();
        // A line of which there are two says nothing reliable.
        let one = |name| {
            let mut values = headers.values(name);
            values.next().filter(|_| values.next().is_none())
        };
        let date = |name| one(name).and_then(date);
        let range = one("range").filter(|_| is_get).and_then(|range| str::from_utf8(range).ok());
        Self {
            if_match: all("if-match"),
            if_none_match: all("if-none-match"),
            if_modified_since: date("if-modified-since"),
            if_unmodified_since: date("if-unmodified-since"),
            if_range: one("if-range").map(Box::from),
            range: range.map(Box::from),
        }
    }

    /// Evaluates the conditions in the order of RFC 9110, section 13.2.2.
    #[must_use]
    pub fn evaluate(&self, validators: &Validators, length: u64) -> Selection {
        let Validators { etag, modified } = validators;
        let fails = if self.if_match.is_empty() {
            self.if_unmodified_since.is_some_and(|date| modified.is_some_and(|it| it > date))
        } else {
            !names_tag(&self.if_match, etag, Comparison::Strong)
        };
        if fails {
            return Selection::PreconditionFailed;
        }
        let is_held = if self.if_none_match.is_empty() {
            self.if_modified_since.is_some_and(|date| modified.is_some_and(|it| it <= date))
        } else {
            names_tag(&self.if_none_match, etag, Comparison::Weak)
        };
        if is_held {
            return Selection::NotModified;
        }
        match &self.range {
            Some(range) if self.holds_part_of(validators) => part(range, length),
            _ => Selection::Whole,
        }
    }

    /// Returns true if a part fits to what the client has, or it does not say what it has.
    fn holds_part_of(&self, validators: &Validators) -> bool {
        let Some(held) = &self.if_range else { return true };
        **held == *validators.etag.as_bytes()
            || date(held).is_some_and(|date| validators.modified == Some(date))
    }
}

/// Comparison of entity tags (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Returns true if a list of entity tags has this strong tag, or is `*`.
fn names_tag(lines: &[Box<[u8]>], etag: &str, comparison: Comparison) -> bool {
    lines.iter().any(|line| {
        line.trim_ascii() == b"*"
            || tags(line).any(|(is_weak, tag)| {
                tag == etag.as_bytes() && (!is_weak || comparison == Comparison::Weak)
            })
    })
}

/// Tags of a list, with their quotation marks, and whether each is weak. It ends before something
/// that is no tag. A tag may contain a comma.
fn tags(line: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        let (is_weak, tag) = match rest {
            [b'W', b'/', tag @ ..] => (true, tag),
            tag => (false, tag),
        };
        let text = tag.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', text)? + 2;
        rest = &tag[end..];
        Some((is_weak, &tag[..end]))
    })
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(text).ok()?).ok()
}

/// Part that a range selects. Several parts, and what is no range, select the whole, as RFC 9110,
/// section 14.2, allows: a client has no use for parts that overlap but to make work.
fn part(range: &str, length: u64) -> Selection {
    let parts = parse_range_header(range).and_then(|ranges| ranges.validate(length));
    match parts.as_deref() {
        Ok([part]) => Selection::Part(*part.start()..part.end().saturating_add(1)),
        Err(RangeUnsatisfiableError::Unsatisfiable) => Selection::RangeNotSatisfiable,
        _ => Selection::Whole,
    }
}

/// Returns a date in whole seconds, as HTTP says it: none before 1970 and after the year 9999.
#[must_use]
pub fn whole_seconds(seconds: i64) -> Option<SystemTime> {
    /// Beginning of the year 10000.
    const END: u64 = 253_402_300_800;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < END)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use crate::{files::conditions::*, http::header_list::HeaderList};

    /// 1994-11-06 08:49:37.
    const AT: i64 = 784_111_777;

    fn outcome(fields: &[(&str, &str)]) -> Selection {
        outcome_of(fields, 100, true)
    }

    fn outcome_of(fields: &[(&str, &str)], length: u64, is_get: bool) -> Selection {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = name.parse::<HeaderName>().expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let validators = Validators { etag: "\"a,b\"".to_owned(), modified: whole_seconds(AT) };
        Conditions::of(&HeaderList::from(&map), is_get).evaluate(&validators, length)
    }

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEHIND: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn none_match_compares_weakly_and_beats_the_date() {
        for (value, expected) in [
            ("\"a,b\"", Selection::NotModified),
            ("W/\"a,b\"", Selection::NotModified),
            ("\"x\", W/\"y\",\"a,b\"", Selection::NotModified),
            ("*", Selection::NotModified),
            ("\"a\"", Selection::Whole),
            ("a,b", Selection::Whole),
            ("\"a,b", Selection::Whole),
            ("x\"a,b\"", Selection::Whole),
            ("", Selection::Whole),
        ] {
            assert_eq!(outcome(&[("if-none-match", value)]), expected, "{value}");
            let both = [("if-none-match", value), ("if-modified-since", SAME)];
            assert_eq!(outcome(&both), expected, "{value} with a date");
        }
        let lines = [("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")];
        assert_eq!(outcome(&lines), Selection::NotModified);
    }

    #[test]
    fn match_compares_strongly_and_beats_the_date() {
        for (value, expected) in [
            ("\"a,b\"", Selection::Whole),
            ("*", Selection::Whole),
            ("W/\"a,b\"", Selection::PreconditionFailed),
            ("\"x\"", Selection::PreconditionFailed),
        ] {
            assert_eq!(outcome(&[("if-match", value)]), expected, "{value}");
            let both = [("if-match", value), ("if-unmodified-since", BEFORE)];
            assert_eq!(outcome(&both), expected, "{value} with a date");
        }
    }

    #[test]
    fn dates_are_compared_in_seconds_and_in_three_spellings() {
        for (date, since, unmodified) in [
            (BEFORE, Selection::Whole, Selection::PreconditionFailed),
            (SAME, Selection::NotModified, Selection::Whole),
            (BEHIND, Selection::NotModified, Selection::Whole),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Selection::NotModified, Selection::Whole),
            ("Sun Nov  6 08:49:37 1994", Selection::NotModified, Selection::Whole),
            ("yesterday", Selection::Whole, Selection::Whole),
        ] {
            assert_eq!(outcome(&[("if-modified-since", date)]), since, "{date}");
            assert_eq!(outcome(&[("if-unmodified-since", date)]), unmodified, "{date}");
        }
        let twice = [("if-modified-since", SAME), ("if-modified-since", SAME)];
        assert_eq!(outcome(&twice), Selection::Whole);
    }

    #[test]
    fn range_selects_one_part() {
        for (range, expected) in [
            ("bytes=0-0", Selection::Part(0..1)),
            ("bytes=10-19", Selection::Part(10..20)),
            ("BYTES=90-", Selection::Part(90..100)),
            ("bytes=-1", Selection::Part(99..100)),
            ("bytes=-1000", Selection::Part(0..100)),
            ("bytes=99-18446744073709551615", Selection::Part(99..100)),
            ("bytes=100-", Selection::RangeNotSatisfiable),
            ("bytes=-0", Selection::RangeNotSatisfiable),
            ("bytes=18446744073709551615-", Selection::RangeNotSatisfiable),
            ("bytes=0-1,4-5", Selection::Whole),
            ("bytes=0-,0-,0-", Selection::Whole),
            ("bytes=5-1", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("lines=0-1", Selection::Whole),
        ] {
            assert_eq!(outcome(&[("range", range)]), expected, "{range}");
            assert_eq!(outcome_of(&[("range", range)], 100, false), Selection::Whole, "{range}");
        }
        assert_eq!(
            outcome_of(&[("range", "bytes=0-0")], 0, true),
            Selection::RangeNotSatisfiable,
            "an empty file has no byte"
        );
        assert_eq!(outcome_of(&[("range", "bytes=-1")], 0, true), Selection::Whole);
    }

    #[test]
    fn range_of_another_version_selects_the_whole() {
        for (held, expected) in [
            ("\"a,b\"", Selection::Part(0..1)),
            (SAME, Selection::Part(0..1)),
            ("W/\"a,b\"", Selection::Whole),
            ("\"x\"", Selection::Whole),
            (BEHIND, Selection::Whole),
            ("*", Selection::Whole),
        ] {
            let fields = [("range", "bytes=0-0"), ("if-range", held)];
            assert_eq!(outcome(&fields), expected, "{held}");
        }
    }

    #[test]
    fn conditions_come_before_the_range() {
        let range = ("range", "bytes=500-");
        assert_eq!(outcome(&[range, ("if-none-match", "*")]), Selection::NotModified);
        assert_eq!(outcome(&[range, ("if-match", "\"x\"")]), Selection::PreconditionFailed);
    }

    #[test]
    fn date_outside_of_http_is_none() {
        assert_eq!(whole_seconds(-1), None);
        assert_eq!(whole_seconds(i64::MAX), None);
        assert_eq!(whole_seconds(253_402_300_800), None);
        assert!(whole_seconds(253_402_300_799).is_some_and(|last| {
            httpdate::fmt_http_date(last) == "Fri, 31 Dec 9999 23:59:59 GMT"
        }));
    }
}
