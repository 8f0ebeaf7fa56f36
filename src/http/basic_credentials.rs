//! Credentials of the scheme Basic (RFC 7617), read strictly: an upstream that reads the same field
//! must not see another user.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{header_list::HeaderList, known_name::KnownName};

/// Limit on the user and the password together: some hashes take longer for a longer password.
pub const MAX_CREDENTIALS: usize = 1_024;

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    text: String,
    /// Place of the colon.
    colon: usize,
}

/// Reason why a request has no such credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCredentials {
    /// There is no `Authorization`, or one of another scheme, or one that is not well-formed.
    Missing,
    /// There is more than one `Authorization`.
    Repeated,
}

impl BasicCredentials {
    /// Reads the credentials of a request.
    ///
    /// # Errors
    /// When there are none, or no single ones.
    pub fn of(headers: &HeaderList) -> Result<Self, NoCredentials> {
        let mut lines = headers.get_all(KnownName::Authorization);
        let line = lines.next().ok_or(NoCredentials::Missing)?;
        if lines.next().is_some() {
            return Err(NoCredentials::Repeated);
        }
        Self::read(line).ok_or(NoCredentials::Missing)
    }

    fn read(line: &[u8]) -> Option<Self> {
        let (scheme, rest) = line.split_at_checked("basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let encoded = rest.trim_ascii();
        if encoded.len() > MAX_CREDENTIALS.div_ceil(3) * 4 {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        // RFC 7617, section 2: neither has a control character.
        let colon = text.find(':').filter(|_| !text.contains(char::is_control))?;
        (text.len() <= MAX_CREDENTIALS).then_some(Self { text, colon })
    }

    /// User.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.text[..self.colon]
    }

    /// Password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.text[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use crate::http::basic_credentials::*;

    fn of(lines: &[&str]) -> Result<(String, String), NoCredentials> {
        let mut headers = HeaderList::default();
        for line in lines {
            headers.append(&AUTHORIZATION, &line.parse().expect("a value"));
        }
        let credentials = BasicCredentials::of(&headers)?;
        Ok((credentials.user().to_owned(), credentials.password().to_owned()))
    }

    #[test]
    fn basic_credentials_are_user_and_password() {
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        // The example of RFC 7617, section 2, and that of section 2.1 with a pound sign.
        assert_eq!(of(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), pair("Aladdin", "open sesame"));
        assert_eq!(of(&["bASIC   dGVzdDoxMjPCow=="]), pair("test", "123\u{a3}"));
        assert_eq!(of(&["Basic Og=="]), pair("", ""));
        assert_eq!(of(&["Basic YTpiOmM="]), pair("a", "b:c"));
    }

    #[test]
    fn basic_credentials_in_any_other_form_are_none() {
        let long = format!("Basic {}", STANDARD.encode("a:".repeat(MAX_CREDENTIALS)));
        for line in [
            "",
            "Basic",
            "Basic ",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic YTpi",
            "Basic YTp i",
            "Basic YTpi_-8=",
            "Basic YWI=",
            "Basic YQo6Yg==",
            "Basic YTr/",
            "Basic YTpi!",
            &long,
        ] {
            assert_eq!(of(&[line]), Err(NoCredentials::Missing), "{line}");
        }
        assert_eq!(of(&[]), Err(NoCredentials::Missing));
        assert_eq!(of(&["Basic YTpi", "Basic YTpi"]), Err(NoCredentials::Repeated));
    }
}
