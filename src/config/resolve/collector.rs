//! Collector of problems: parses texts into typed values, or reports a problem at the text and
//! returns a stand-in, so that checking continues.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use ipnet::IpNet;

use super::location::Location;
use crate::{
    config::{
        networks::{self, NetworkEntry, NetworksError},
        problem::{Problems, SourceText, Span},
        quantity::{parse_count, parse_size},
        schema::Amount,
        small_file,
    },
    limit::rate::parse_period,
    runtime::hint::{Hinted, HintedError, hinted},
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

impl Collector<'_> {
    /// Reports an error, message and hint apart. A value that came from outside is part of neither.
    pub fn refuse(&mut self, spot: Location<'_>, error: impl Hinted) {
        let scalar = spot.scalar();
        // A stand-in is only there because the real value was reported.
        if scalar.is_some_and(|scalar| scalar.broken) {
            return;
        }
        if let Some(filled) = scalar.and_then(|scalar| scalar.filled.as_ref()) {
            let message = format!("the value of `{filled}` is not valid here");
            let secret = "the value is not shown: it may be a secret";
            let hint = match error.rule() {
                Some(rule) => format!("{rule}; {secret}"),
                None => secret.to_owned(),
            };
            return self.refuse_at(spot.span, hinted(message, hint));
        }
        self.refuse_at(spot.span, error);
    }

    /// Reports an error at a place that shows nothing that came from outside.
    pub fn refuse_at(&mut self, span: Span, error: impl Hinted) {
        self.problems.error(span, error.to_string(), error.hint().unwrap_or_default());
    }

    /// Returns the value, or reports its error.
    pub fn take<T, E: Hinted>(&mut self, spot: Location<'_>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.refuse(spot, error)).ok()
    }

    /// Parses a duration.
    pub fn duration(&mut self, spot: Location<'_>, text: &str) -> Duration {
        // A wrong duration becomes the longest, not zero, so that it is not reported as too short
        // as well.
        let duration = self.take(spot, parse_period(text)).unwrap_or(YEAR);
        if duration > YEAR {
            self.refuse(spot, hinted(format!("`{text}` is longer than a year"), "at most `366d`"));
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
        // Reported already. The start of the range lets the other checks go on.
        let Some(value) = value else { return *range.start() };
        match usize::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let hint = format!("at least {} and at most {}", range.start(), range.end());
                self.refuse(spot, hinted(format!("`{text}` is out of range"), hint));
                *range.start()
            }
        }
    }

    /// Parses a list called `key` that must have an entry, and none twice.
    pub fn listed<T: PartialEq>(
        &mut self,
        spot: Location<'_>,
        key: &str,
        texts: &[String],
        read: impl Fn(&String) -> Result<T, HintedError>,
    ) -> Vec<T> {
        if texts.is_empty() {
            self.refuse(spot, hinted(format!("`{key}` is empty"), "write at least one entry"));
        }
        let mut found = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let Some(entry) = self.take(spot.item(index), read(text)) else { continue };
            if found.contains(&entry) {
                let message = format!("`{text}` is in `{key}` twice");
                self.refuse(spot.item(index), hinted(message, "keep one of them"));
            }
            found.push(entry);
        }
        found
    }

    /// Parses a list of networks, with a warning for bits behind a prefix, which mean nothing.
    pub fn networks(&mut self, spot: Location<'_>, texts: &[String]) -> Vec<IpNet> {
        let read = |(index, text): (usize, &String)| self.network(spot.item(index), text);
        texts.iter().enumerate().flat_map(read).collect()
    }

    fn network(&mut self, spot: Location<'_>, text: &str) -> Vec<IpNet> {
        // A file is read now, so that a wrong one stops the start and not the first request.
        if let Some(NetworkEntry::File(path)) = NetworkEntry::read(text, self.base) {
            return self.networks_of(spot, &path);
        }
        let shape = || {
            let hint = "write an address and a prefix, like `10.8.0.0/16`, or `@file:PATH`";
            hinted(format!("`{text}` is not a network"), hint)
        };
        let Some(network) = self.take(spot, networks::network(text).ok_or_else(shape)) else {
            return Vec::new();
        };
        // A hint with the network would show a value that came from outside.
        let shown = spot.scalar().is_some_and(|scalar| scalar.filled.is_none());
        vec![self.truncated(spot.span, network, shown)]
    }

    /// Networks of a file; an invalid line is reported at that line.
    fn networks_of(&mut self, spot: Location<'_>, path: &Path) -> Vec<IpNet> {
        let read = small_file::read_text(path)
            .map_err(NetworksError::from)
            .and_then(|text| networks::lines(&text, path).map(|lines| (text, lines)));
        let (text, lines) = match read {
            Ok(read) => read,
            Err(error) => {
                let hint = "use a file of at most 1 MiB with one network per line; a relative \
                    path starts at the configuration's folder";
                self.refuse(spot, hinted(error, hint));
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
