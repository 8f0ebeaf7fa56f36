//! Rate as an exact fraction: requests per milliseconds.
//!
//! Guarantee: no rate is rounded. `3r/s` is three requests in 1000 ms, not one in 333 ms, and
//! `1r/m` is one in 60 000 ms.
//!
//! A zone counts time in *ticks* of `1/requests` milliseconds. With `n` requests in `p`
//! milliseconds, a millisecond is `n` ticks and the interval `T` between two requests is `p` ticks.
//! Both are whole numbers, so sums of them never drift, however long a client stays busy. For
//! `3r/s`: 3 ticks a millisecond, `T` = 1000 ticks; after three requests the debt is 3000 ticks,
//! which is 1000 ms exactly.

use std::{fmt, str::FromStr, time::Duration};

/// Finest rate that a zone can count: ticks per millisecond after reduction.
const MAX_TICKS_PER_MS: u64 = 1_000_000;

/// Requests in a period, reduced to lowest terms.
///
/// ```
/// use weir_limit::Rate;
///
/// let rate: Rate = "3r/s".parse()?;
/// assert_eq!((rate.ticks_per_ms(), rate.interval_ticks()), (3, 1_000));
/// assert_eq!("0.5r/s".parse::<Rate>()?, "30r/m".parse()?);
/// # Ok::<(), weir_limit::rate::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: u64,
    per_ms: u64,
}

impl Rate {
    /// Builds a rate of `requests` in `per`, cut to whole milliseconds.
    ///
    /// # Errors
    /// When either is zero, or the fraction is too fine to count in 64 bits.
    pub fn new(requests: u64, per: Duration) -> Result<Self, RateError> {
        let per_ms = u64::try_from(per.as_millis()).map_err(|_| RateError::TooFine)?;
        Self::reduced(requests.into(), per_ms.into())
    }

    fn reduced(requests: u128, per_ms: u128) -> Result<Self, RateError> {
        if requests == 0 || per_ms == 0 {
            return Err(RateError::Zero);
        }
        // Reduced before the bounds are checked: `1000000r/s` is only 1 000 ticks a millisecond.
        // Equal rates are also equal as values then, however they were written.
        let divisor = greatest_common_divisor(requests, per_ms);
        let requests = u64::try_from(requests / divisor).map_err(|_| RateError::TooFine)?;
        let per_ms = u64::try_from(per_ms / divisor).map_err(|_| RateError::TooFine)?;
        if requests > MAX_TICKS_PER_MS {
            return Err(RateError::TooFine);
        }
        Ok(Self { requests, per_ms })
    }

    /// Ticks per millisecond.
    #[must_use]
    pub fn ticks_per_ms(self) -> u64 {
        self.requests
    }

    /// Ticks between two requests at exactly this rate: the `T` of GCRA.
    #[must_use]
    pub fn interval_ticks(self) -> u64 {
        self.per_ms
    }
}

/// Error of a text that is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// `r/` is missing.
    #[error("`{0}` is not a rate")]
    Shape(String),
    /// The unit of time is missing, so the reader cannot know which was meant.
    #[error("`{0}` has no unit of time")]
    NoUnit(String),
    /// The number of requests is not a decimal number.
    #[error("`{0}` is not a number of requests")]
    Count(String),
    /// The period is not a duration.
    #[error("{0}")]
    Period(#[from] PeriodError),
    /// The number of requests or the period is zero.
    #[error("a rate must be greater than 0")]
    Zero,
    /// The fraction cannot be counted exactly.
    #[error("the rate is too fine to count exactly")]
    TooFine,
}

impl RateError {
    /// Returns what to write instead, if there is a usual remedy. It is no part of the message.
    ///
    /// ```
    /// use weir_limit::Rate;
    ///
    /// let error = "10".parse::<Rate>().expect_err("no unit of time");
    /// assert_eq!(error.to_string(), "`10` has no unit of time");
    /// assert_eq!(error.hint().as_deref(), Some("did you mean `10r/s` or `10r/m`?"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Shape(_) => "write requests per time, like `10r/s` or `2r/m`".to_owned(),
            Self::NoUnit(text) => format!("did you mean `{text}r/s` or `{text}r/m`?"),
            Self::Count(_) => "write digits, like `10r/s` or `0.5r/s`".to_owned(),
            Self::Period(error) => return error.hint(),
            Self::Zero => "to close a path remove its route".to_owned(),
            Self::TooFine => "use at most 1000000 requests per millisecond".to_owned(),
        })
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// Reads `<n>r/s|m|h|d` or `<n>r/<duration>`; `n` may have decimals.
    fn from_str(text: &str) -> Result<Self, RateError> {
        // A bare number is an error of its own: only its author knows which unit of time was meant.
        let Some((count, period)) = text.split_once("r/") else {
            let digits =
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let text = text.to_owned();
            return Err(if digits { RateError::NoUnit(text) } else { RateError::Shape(text) });
        };
        let (requests, scale) = decimal(count).ok_or_else(|| RateError::Count(count.to_owned()))?;
        let period = match period {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            other => parse_period(other)?,
        };
        // Decimals move into the period: `0.5r/s` is 5 requests in 10 * 1000 ms, so nothing is
        // rounded.
        Self::reduced(requests, period.as_millis() * scale)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first unit in which the count is whole: `0.5r/s` is printed as `30r/m`. The form
        // behind the loop always exists, and both parse to the same rate again.
        for (unit, unit_ms) in [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)] {
            if (self.requests * unit_ms).is_multiple_of(self.per_ms) {
                return write!(f, "{}r/{unit}", self.requests * unit_ms / self.per_ms);
            }
        }
        write!(f, "{}r/{}ms", self.requests, self.per_ms)
    }
}

/// Error of a text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// The unit is missing.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// The text is not a number and a unit.
    #[error("`{0}` is not a duration")]
    Shape(String),
    /// The duration has more than 64 bits of milliseconds.
    #[error("`{0}` is too long a duration")]
    TooLong(String),
}

impl PeriodError {
    /// Returns what to write instead, if there is a usual remedy. It is no part of the message.
    ///
    /// ```
    /// use weir_limit::rate::parse_period;
    ///
    /// let error = parse_period("30").expect_err("no unit");
    /// assert_eq!(error.to_string(), "`30` has no unit");
    /// assert_eq!(error.hint().as_deref(), Some("did you mean `30s` or `30ms`?"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoUnit(text) => Some(format!("did you mean `{text}s` or `{text}ms`?")),
            Self::Shape(_) => Some("write a number and ms, s, m, h or d, like `30s`".to_owned()),
            Self::TooLong(_) => None,
        }
    }
}

/// Parses a duration as the configuration writes it: a whole number and one of `ms`, `s`, `m`, `h`,
/// `d`.
///
/// ```
/// use std::time::Duration;
/// use weir_limit::rate::parse_period;
///
/// assert_eq!(parse_period("1500ms")?, Duration::from_millis(1_500));
/// assert!(parse_period("30").is_err());
/// # Ok::<(), weir_limit::rate::PeriodError>(())
/// ```
///
/// # Errors
/// When the text has no unit or is not a duration.
pub fn parse_period(text: &str) -> Result<Duration, PeriodError> {
    // Digits are cut off by hand because `u64::from_str` would also accept `+5`.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if digits > 0 => return Err(PeriodError::NoUnit(text.to_owned())),
        _ => return Err(PeriodError::Shape(text.to_owned())),
    };
    if digits == 0 {
        return Err(PeriodError::Shape(text.to_owned()));
    }
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| PeriodError::TooLong(text.to_owned()))
}

/// Parses `"0.25"` as `(25, 100)`: the digits without the point, and the power of ten by which they
/// are scaled.
fn decimal(text: &str) -> Option<(u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // At most 18 digits: the scale is at most 10^17. Times the longest period, 2^64 ms, it fits in
    // 128 bits.
    if whole.is_empty() || whole.len() + fraction.len() > 18 || !digits(whole) || !digits(fraction)
    {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let number: u128 = format!("{whole}{fraction}").parse().ok()?;
    Some((number, scale))
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate of the test")
    }

    #[test]
    fn every_spelling_is_the_exact_fraction() {
        for (text, requests, per_ms) in [
            ("10r/s", 1, 100),
            ("3r/s", 3, 1_000),
            ("2r/m", 1, 30_000),
            ("1r/m", 1, 60_000),
            ("100r/h", 1, 36_000),
            ("1r/d", 1, 86_400_000),
            ("10r/5s", 1, 500),
            ("0.5r/s", 1, 2_000),
            ("800r/s", 4, 5),
            ("0.333r/s", 333, 1_000_000),
            ("1r/250ms", 1, 250),
        ] {
            assert_eq!(rate(text), Rate { requests, per_ms }, "{text}");
        }
    }

    #[test]
    fn rate_display_parses_to_the_same() {
        for text in ["10r/s", "3r/s", "2r/m", "1r/d", "100r/h", "7r/11ms", "0.333r/s"] {
            assert_eq!(rate(&rate(text).to_string()), rate(text), "{text}");
        }
    }

    #[test]
    fn rate_error_says_what_to_write() {
        for (text, says) in [
            ("10", "did you mean `10r/s` or `10r/m`?"),
            ("10/s", "`10/s` is not a rate"),
            ("xr/s", "`x` is not a number of requests"),
            ("-1r/s", "`-1` is not a number of requests"),
            ("0r/s", "a rate must be greater than 0"),
            ("1r/0s", "a rate must be greater than 0"),
            ("1r/5", "did you mean `5s` or `5ms`?"),
            ("1r/week", "`week` is not a duration"),
            ("1r/", "`` is not a duration"),
            ("999999999999r/s", "too fine"),
        ] {
            let error = text.parse::<Rate>().expect_err(text);
            let hint = error.hint().unwrap_or_default();
            assert!(error.to_string().contains(says) || hint == says, "{text}: {error}: {hint}");
        }
    }
}
