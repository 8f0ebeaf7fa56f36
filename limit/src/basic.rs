//! User of Basic credentials (RFC 7617), not verified.

/// User of the value of an `Authorization` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasicUser {
    /// The value has another scheme.
    OtherScheme,
    /// The text behind `Basic` is not Base 64, or has no colon. Servers read such a text each in
    /// its own way, so it may stand for any user.
    Malformed,
    /// Text before the first colon, which may be empty.
    Named(Vec<u8>),
}

impl BasicUser {
    /// Reads the user of a field value. The password is not kept.
    ///
    /// ```
    /// use weir_limit::basic::BasicUser;
    ///
    /// assert_eq!(BasicUser::of(b"Basic bWF4OnNlY3JldA=="), BasicUser::Named(b"max".to_vec()));
    /// assert_eq!(BasicUser::of(b"Bearer bWF4"), BasicUser::OtherScheme);
    /// ```
    #[must_use]
    pub fn of(credentials: &[u8]) -> Self {
        let end = credentials.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let (scheme, rest) = credentials.split_at(end.unwrap_or(credentials.len()));
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return Self::OtherScheme;
        }
        // The decoded text has the password too, and is dropped here.
        let Some(mut decoded) = decode_base64(rest.trim_ascii()) else { return Self::Malformed };
        let Some(end) = decoded.iter().position(|byte| *byte == b':') else {
            return Self::Malformed;
        };
        decoded.truncate(end);
        Self::Named(decoded)
    }
}

/// Decodes Base 64 (RFC 4648, section 4) with or without padding.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (mut decoded, mut bits, mut kept) = (Vec::with_capacity(digits * 3 / 4), 0_u32, 0_u32);
    for digit in &text[..digits] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            decoded.push(u8::try_from(bits >> kept & 0xff).ok()?);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_what_stands_before_the_first_colon() {
        let named = |text: &str| BasicUser::Named(text.as_bytes().to_vec());
        for (credentials, user) in [
            ("Basic bWF4OmE6Yg==", named("max")),
            ("basic\t bWF4OmE6Yg", named("max")),
            ("Basic OnNlY3JldA==", named("")),
            ("Basic ", BasicUser::Malformed),
            ("Basic", BasicUser::Malformed),
            ("Basic bWF4", BasicUser::Malformed),
            ("Basicx bWF4", BasicUser::OtherScheme),
            ("Bearer a.b", BasicUser::OtherScheme),
            ("", BasicUser::OtherScheme),
            ("Basic bW F4", BasicUser::Malformed),
            ("Basic bW-4", BasicUser::Malformed),
            ("Basic b=WF4", BasicUser::Malformed),
        ] {
            assert_eq!(BasicUser::of(credentials.as_bytes()), user, "{credentials}");
        }
    }
}
