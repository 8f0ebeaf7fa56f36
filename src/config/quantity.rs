//! Counts such as `10k` and sizes such as `32KiB`. Nothing is rounded; a value above 64 bits is an
//! error. Their errors, and those of the engine's own texts, have their hints apart.

use crate::{
    limit::{
        key::PartError,
        rate::{PeriodError, RateError},
        rule::RuleError,
    },
    runtime::hint::Hinted,
};

/// Error of a text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is not a whole number with a known letter behind it.
    #[error("`{0}` is not a count")]
    Count(String),
    /// The text is not a whole number with a known unit behind it.
    #[error("`{0}` is not a size")]
    Size(String),
    /// The unit is one of thousands where one of 1024 is probably meant, or the reverse.
    #[error("`{text}` has no clear unit")]
    Unit {
        /// Text as written.
        text: String,
        /// Number in the text.
        number: u64,
        /// Unit that is probably meant.
        unit: &'static str,
    },
    /// The quantity has more than 64 bits.
    #[error("`{0}` is too large")]
    TooMany(String),
}

impl Hinted for QuantityError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Count(_) => "write a whole number, or one followed by k, M or G, like `10k`",
            Self::Size(_) => {
                "write bytes, or a whole number followed by KiB, MiB or GiB, like `32KiB`"
            }
            Self::Unit { number, unit, .. } => {
                return Some(format!("did you mean `{number}{unit}`?"));
            }
            Self::TooMany(_) => return None,
        };
        Some(text.to_owned())
    }

    fn rule(&self) -> Option<&'static str> {
        Some("write a whole number with its unit, like `10k` for a count or `32KiB` for a size")
    }
}

/// Errors of the decision engine about a text of the configuration.
macro_rules! hinted_errors_of_the_engine {
    ($($error:ty => $rule:expr,)+) => {$(
        impl Hinted for $error {
            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }

            fn rule(&self) -> Option<&'static str> {
                $rule
            }
        }
    )+};
}

hinted_errors_of_the_engine! {
    PartError => Some("write a part of a request, like `client_ip` or `header:x-api-key`"),
    PeriodError => Some("write a number and ms, s, m, h or d, like `30s`"),
    RateError => Some("write requests per time above 0, like `10r/s` or `2r/m`"),
    RuleError => None,
}

/// Parses a count: `250`, `10k`, `1M`, `2G`; the letters are powers of a thousand.
///
/// # Errors
/// When the text is not one.
pub fn parse_count(text: &str) -> Result<u64, QuantityError> {
    let shape = || QuantityError::Count(text.to_owned());
    let (number, unit) = split(text, shape)?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        // nginx reads `m` as mebi, SI as milli: neither is a count.
        "m" => return Err(QuantityError::Unit { text: text.to_owned(), number, unit: "M" }),
        _ => return Err(shape()),
    };
    number.checked_mul(factor).ok_or_else(|| QuantityError::TooMany(text.to_owned()))
}

/// Parses a size in bytes: `512`, `512B`, `32KiB`, `1MiB`, `2GiB`; the units are powers of 1024.
///
/// # Errors
/// When the text is not one.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let shape = || QuantityError::Size(text.to_owned());
    let (number, unit) = split(text, shape)?;
    let unclear = |unit| Err(QuantityError::Unit { text: text.to_owned(), number, unit });
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        // Programs differ on whether these are powers of 1000 or 1024, so none is guessed.
        "k" | "K" | "kb" | "KB" | "kB" | "kib" => return unclear("KiB"),
        "m" | "M" | "mb" | "MB" | "mib" => return unclear("MiB"),
        "g" | "G" | "gb" | "GB" | "gib" => return unclear("GiB"),
        _ => return Err(shape()),
    };
    number.checked_mul(factor).ok_or_else(|| QuantityError::TooMany(text.to_owned()))
}

fn split(text: &str, shape: impl Fn() -> QuantityError) -> Result<(u64, &str), QuantityError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(shape());
    }
    let number = number.parse().map_err(|_| QuantityError::TooMany(text.to_owned()))?;
    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use crate::{config::quantity::*, runtime::hint::one_line};

    #[test]
    fn every_spelling_is_the_exact_number() {
        assert_eq!(parse_count("0"), Ok(0));
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("1M"), Ok(1_000_000));
        assert_eq!(parse_count("2G"), Ok(2_000_000_000));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("32KiB"), Ok(32_768));
        assert_eq!(parse_size("1MiB"), Ok(1_048_576));
        assert_eq!(parse_size("1GiB"), Ok(1_073_741_824));
    }

    #[test]
    fn quantity_error_says_what_to_write() {
        let count = |text| one_line(&parse_count(text).expect_err(text));
        let size = |text| one_line(&parse_size(text).expect_err(text));
        assert!(count("1m").contains("did you mean `1M`?"));
        assert!(count("-1").contains("`-1` is not a count"));
        assert!(count("1.5k").contains("is not a count"));
        assert!(count("").contains("is not a count"));
        assert!(count("99999999999999999999").contains("is too large"));
        assert!(count("99999999999999999G").contains("is too large"));
        assert!(size("1MB").contains("did you mean `1MiB`?"));
        assert!(size("1 MiB").contains("is not a size"));
    }
}
