//! Collector of problems: parses texts into typed values, or reports a problem at the text and
//! returns a stand-in, so that checking continues.

use std::{fmt::Display, ops::RangeInclusive, path::Path, time::Duration};

use ipnet::IpNet;

use super::location::Location;
use crate::{
    config::{
        networks::{self, NetworkEntry},
        problem::{Problems, SourceText, Span},
        quantity::{parse_count, parse_size},
        schema::Amount,
    },
    limit::rate::parse_period,
};

/// Longest time that can be configured.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Collector of problems.
#[derive(Debug)]
pub struct Collector<'a> {
    /// Problems so far.
    pub problems: &'a mut Problems,
    /// Directory that relative paths of networks start from.
    pub base: &'a Path,
}

/// Separates a message from its hint in the text of an error.
const HINT: &str = ", hint: ";

impl Collector<'_> {
    /// Reports an error text of the form `cause, hint: advice`. A value that came from outside is
    /// never part of it.
    pub fn refuse(&mut self, spot: Location<'_>, error: impl Display) {
        let error = error.to_string();
        let (message, hint) = parts(&error, spot.scalar().map_or("", |scalar| &scalar.text));
        self.refuse_with(spot, message, Some(hint));
    }

    /// Reports a message with its hint; a value that came from outside is part of neither.
    pub fn refuse_with(
        &mut self,
        spot: Location<'_>,
        message: impl Display,
        hint: Option<impl Into<String>>,
    ) {
        let scalar = spot.scalar();
        if scalar.is_some_and(|scalar| scalar.broken) {
            return;
        }
        if let Some(filled) = scalar.and_then(|scalar| scalar.filled.as_ref()) {
            let message = format!("the value of `{filled}` is not valid here");
            return self.problems.error(
                spot.span,
                message,
                "the value is not shown: it may be a secret",
            );
        }
        let hint = hint.map_or_else(String::new, Into::into);
        self.problems.error(spot.span, message.to_string(), hint);
    }

    /// Reports an error text of the same form about the text at a place that shows nothing that
    /// came from outside.
    pub fn refuse_at(&mut self, span: Span, text: &str, error: &str) {
        let (message, hint) = parts(error, text);
        self.problems.error(span, message, hint);
    }

    /// Returns the value, or reports its error.
    pub fn take<T, E: Display>(&mut self, spot: Location<'_>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.refuse(spot, error)).ok()
    }

    /// Parses a duration.
    pub fn duration(&mut self, spot: Location<'_>, text: &str) -> Duration {
        let duration = self.take(spot, parse_period(text)).unwrap_or(YEAR);
        if duration > YEAR {
            self.refuse(spot, format!("`{text}` is longer than a year, hint: at most `366d`"));
        }
        duration.min(YEAR)
    }

    /// Parses a duration above zero.
    pub fn positive(&mut self, spot: Location<'_>, text: &str) -> Duration {
        let duration = self.duration(spot, text);
        if duration.is_zero() {
            self.refuse(spot, format!("duration `{text}` must be longer than 0"));
        }
        duration
    }

    /// Parses a count within a range.
    pub fn count(
        &mut self,
        spot: Location<'_>,
        amount: &Amount,
        range: RangeInclusive<usize>,
    ) -> usize {
        let count = self.take(spot, parse_count(&amount.0));
        self.within(spot, count, &amount.0, range)
    }

    /// Parses a size in bytes within a range.
    pub fn size(
        &mut self,
        spot: Location<'_>,
        amount: &Amount,
        range: RangeInclusive<usize>,
    ) -> usize {
        let size = self.take(spot, parse_size(&amount.0));
        self.within(spot, size, &amount.0, range)
    }

    fn within(
        &mut self,
        spot: Location<'_>,
        value: Option<u64>,
        text: &str,
        range: RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = value else { return *range.start() };
        match usize::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                self.refuse(
                    spot,
                    format!(
                        "`{text}` is out of range, hint: at least {} and at most {}",
                        range.start(),
                        range.end()
                    ),
                );
                *range.start()
            }
        }
    }

    /// Parses a list of networks, with a warning for bits behind a prefix, which mean nothing.
    pub fn networks(&mut self, spot: Location<'_>, texts: &[String]) -> Vec<IpNet> {
        let read = |(index, text): (usize, &String)| self.network(spot.item(index), text);
        texts.iter().enumerate().flat_map(read).collect()
    }

    fn network(&mut self, spot: Location<'_>, text: &str) -> Vec<IpNet> {
        if let Some(NetworkEntry::File(path)) = NetworkEntry::read(text, self.base) {
            return self.networks_of(spot, &path);
        }
        let shape = || {
            format!(
                "`{text}` is not a network, hint: write an address and a prefix, like \
                `10.8.0.0/16`, or `@file:PATH`"
            )
        };
        let Some(network) = self.take(spot, networks::network(text).ok_or_else(shape)) else {
            return Vec::new();
        };
        let shown = spot.scalar().is_some_and(|scalar| scalar.filled.is_none());
        vec![self.truncated(spot.span, network, shown)]
    }

    /// Networks of a file; an invalid line is reported at that line.
    fn networks_of(&mut self, spot: Location<'_>, path: &Path) -> Vec<IpNet> {
        let read = networks::read(path)
            .and_then(|text| networks::lines(&text, path).map(|lines| (text, lines)));
        let (text, lines) = match read {
            Ok(read) => read,
            Err(error) => {
                let hint = "use a file of at most 1 MiB with one network per line; a relative \
                    path starts at the configuration's folder";
                self.refuse(spot, format!("{error}{HINT}{hint}"));
                return Vec::new();
            }
        };
        if lines.is_empty() {
            self.problems.warn(
                spot.span,
                "this file contains no network",
                "write one per line, like `10.8.0.0/16`; `#` begins a comment",
            );
        }
        // No message contains a value from outside, not even a path.
        let filled = spot.scalar().and_then(|scalar| scalar.filled.clone());
        let name = filled.unwrap_or_else(|| path.display().to_string());
        let source = self.problems.add_source(SourceText { name, text });
        let mut found = Vec::with_capacity(lines.len());
        for line in lines {
            let span = Span { source, start: line.span.start, end: line.span.end };
            match line.network {
                Some(network) => found.push(self.truncated(span, network, true)),
                None => {
                    let hint = "write an address and a prefix, like `10.8.0.0/16`; `#` \
                        begins a comment";
                    self.problems.error(span, "this line is not a network", hint);
                }
            }
        }
        found
    }

    /// Returns the network without the bits behind its prefix, with a warning about them.
    fn truncated(&mut self, span: Span, network: IpNet, is_shown: bool) -> IpNet {
        if network.trunc() != network {
            let hint = format!("the network is `{}`", network.trunc());
            self.problems.warn(
                span,
                "bits after the prefix are ignored",
                if is_shown { &hint } else { "" },
            );
        }
        network.trunc()
    }
}

/// The message and the hint of an error text `message, hint: advice` about `value`, which may
/// itself contain the words between the two: a message quotes a value before the hint begins.
fn parts<'a>(error: &'a str, value: &str) -> (&'a str, &'a str) {
    let end_of_quote = match value.contains(HINT) {
        true => error.find(value).map(|start| start + value.len()),
        false => Some(0),
    };
    let at = match end_of_quote {
        Some(end) => error[end..].find(HINT).map(|found| end + found),
        // A part of the value is quoted; hints quote none that contains it.
        None => error.rfind(HINT),
    };
    at.map_or((error, ""), |at| (&error[..at], &error[at + HINT.len()..]))
}

#[cfg(test)]
mod tests {
    use crate::config::resolve::collector::*;

    #[test]
    fn hint_is_told_apart_from_a_value_that_looks_like_one() {
        for (error, value, message, hint) in [
            ("`x` is bad, hint: write y", "x", "`x` is bad", "write y"),
            ("`x` is bad", "x", "`x` is bad", ""),
            ("`a, hint: b` is bad, hint: write y", "a, hint: b", "`a, hint: b` is bad", "write y"),
            ("`a, hint: b` is bad", "a, hint: b", "`a, hint: b` is bad", ""),
            ("`, hint: b` is bad, hint: write y", "a, hint: b", "`, hint: b` is bad", "write y"),
            (
                "`a, hint: b, hint: c` is bad, hint: y",
                "a, hint: b, hint: c",
                "`a, hint: b, hint: c` is bad",
                "y",
            ),
        ] {
            assert_eq!(parts(error, value), (message, hint), "{error}");
        }
    }
}
