//! Times and sizes of nginx, and the same as weir writes them.

/// Longest time that weir takes: a year.
const LONGEST_MS: u64 = 366 * 86_400_000;

/// Parses a time: `60`, `60s`, `1m30s`, `500ms`, `1h 30m`; in milliseconds.
#[must_use]
pub fn time_ms(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text.trim(), 0_u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = behind.trim_start();
    }
    (total <= LONGEST_MS).then_some(total)
}

/// Time in weir's words: the largest unit that makes it whole.
#[must_use]
pub fn time(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = |(unit_ms, _): &&(u64, &str)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms);
    match units.iter().find(fits) {
        // `90s` and not `1m30s`, which weir does not read.
        Some((unit_ms, unit)) => format!("{}{unit}", ms / unit_ms),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

/// Parses a size: `1024`, `8k`, `1m`, `1g`; in bytes.
#[must_use]
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes <= 1 << 50)
}

/// Size in weir's words.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(unit, _): &&(u64, &str)| bytes >= *unit && bytes.is_multiple_of(*unit);
    match units.iter().find(fits) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Number of keys that a zone of nginx of this size holds: 64 bytes each, `10m` is `160k`.
#[must_use]
pub fn keys(bytes: u64) -> String {
    // By nginx's own sentence, "one megabyte zone can keep about 16 thousand states".
    let keys = (bytes.saturating_mul(16_000) >> 20).clamp(1, 100_000_000);
    match keys {
        keys if keys.is_multiple_of(1_000_000) => format!("{}M", keys / 1_000_000),
        keys if keys.is_multiple_of(1_000) => format!("{}k", keys / 1_000),
        keys => keys.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::import::amounts::*;

    #[test]
    fn time_of_nginx_is_one_number_and_unit() {
        let of = |text| time_ms(text).map(time);
        for (text, expected) in [
            ("60", "1m"),
            ("65s", "65s"),
            ("1m30s", "90s"),
            ("1h 30m", "90m"),
            ("500ms", "500ms"),
            ("1d", "1d"),
            ("0", "0s"),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(["", "x", "5x", "2y", "99999999999999999999"].map(of), [const { None }; 5]);
    }

    #[test]
    fn size_of_nginx_is_a_power_of_1024() {
        let of = |text| size_bytes(text).map(size);
        for (text, expected) in
            [("1m", "1MiB"), ("8k", "8KiB"), ("1024", "1KiB"), ("2G", "2GiB"), ("1500", "1500")]
        {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(["", "m", "1.5m", "99999999999g"].map(of), [const { None }; 4]);
        assert_eq!([10 << 20, 1 << 20, 32 << 10].map(keys), ["160k", "16k", "500"]);
    }
}
