//! From text to a value of its own type, or a problem at the very text and a stand-in, so that judging goes on.

use std::{fmt::Display, net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;

use super::{
    super::{
        file::Amount,
        problem::{Problems, Span},
        quantity::{parse_count, parse_size},
    },
    spot::Spot,
};
use crate::limit::rate::parse_period;

/// The longest time that can be configured.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Collects what is wrong.
#[derive(Debug)]
pub struct Judge<'a> {
    /// What was found so far.
    pub problems: &'a mut Problems,
}

impl Judge<'_> {
    /// Reports an error text of the form `cause, hint: advice`. A value that came from outside is never part of it.
    pub fn refuse(&mut self, spot: Spot<'_>, error: impl Display) {
        let scalar = spot.scalar();
        if scalar.is_some_and(|scalar| scalar.broken) {
            return;
        }
        if let Some(filled) = scalar.and_then(|scalar| scalar.filled.as_ref()) {
            let message = format!("what `{}` stands for does not fit here", filled.written);
            return self.problems.error(spot.span, message, "it is not shown here, because it may be a secret");
        }
        self.refuse_at(spot.span, &error.to_string());
    }

    /// Reports an error text of the same form at a place that shows nothing that came from outside.
    pub fn refuse_at(&mut self, span: Span, error: &str) {
        let (message, hint) = error.split_once(", hint: ").unwrap_or((error, ""));
        self.problems.error(span, message, hint);
    }

    /// The value, or what it should have been reported.
    pub fn take<T, E: Display>(&mut self, spot: Spot<'_>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.refuse(spot, error)).ok()
    }

    /// A length of time.
    pub fn duration(&mut self, spot: Spot<'_>, text: &str) -> Duration {
        let duration = self.take(spot, parse_period(text)).unwrap_or(YEAR);
        if duration > YEAR {
            self.refuse(spot, format!("`{text}` is longer than a year, hint: at most `366d`"));
        }
        duration.min(YEAR)
    }

    /// A length of time that is not zero.
    pub fn positive(&mut self, spot: Spot<'_>, text: &str) -> Duration {
        let duration = self.duration(spot, text);
        if duration.is_zero() {
            self.refuse(spot, format!("`{text}` is no time at all, hint: nothing would ever be in time"));
        }
        duration
    }

    /// A count within a range.
    pub fn count(&mut self, spot: Spot<'_>, amount: &Amount, range: RangeInclusive<usize>) -> usize {
        let count = self.take(spot, parse_count(&amount.0));
        self.within(spot, count, &amount.0, range)
    }

    /// A size in bytes within a range.
    pub fn size(&mut self, spot: Spot<'_>, amount: &Amount, range: RangeInclusive<usize>) -> usize {
        let size = self.take(spot, parse_size(&amount.0));
        self.within(spot, size, &amount.0, range)
    }

    fn within(&mut self, spot: Spot<'_>, value: Option<u64>, text: &str, range: RangeInclusive<usize>) -> usize {
        let Some(value) = value else { return *range.start() };
        match usize::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                self.refuse(
                    spot,
                    format!("`{text}` is out of range, hint: at least {} and at most {}", range.start(), range.end()),
                );
                *range.start()
            }
        }
    }

    /// A list of networks; bits behind a prefix mean nothing and are worth a word.
    pub fn networks(&mut self, spot: Spot<'_>, texts: &[String]) -> Vec<IpNet> {
        let read = |(index, text): (usize, &String)| self.network(spot.item(index), text);
        texts.iter().enumerate().filter_map(read).collect()
    }

    fn network(&mut self, spot: Spot<'_>, text: &str) -> Option<IpNet> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let shape = || format!("`{text}` is not a network, hint: write an address and a prefix, like `10.8.0.0/16`");
        let network = self.take(spot, address.or_else(|_| text.parse::<IpNet>()).map_err(|_| shape()))?;
        if network.trunc() != network {
            let hint = format!("the network is `{}`", network.trunc());
            let shown = spot.scalar().is_some_and(|scalar| scalar.filled.is_none());
            self.problems.warn(spot.span, "bits behind the prefix mean nothing", if shown { &hint } else { "" });
        }
        Some(network.trunc())
    }
}
