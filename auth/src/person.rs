//! Names, addresses and countries that cannot exist wrong, and what is known about a person and a
//! session.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::in_nfc;

/// Rule that a text breaks. Reads on from the name of what it was meant for: "`email` is not of the
/// form ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    /// See [`Username`].
    #[error("is 3 to 32 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first")]
    Username,
    /// See [`Email`].
    #[error("is not of the form name@example.org")]
    Email,
    /// See [`Country`].
    #[error("is two capital letters, as in `NO`")]
    Country,
}

/// 3 to 32 of `a-z A-Z 0-9 . _ -`, a letter or digit first; kept as typed, compared in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Parses a user name.
    ///
    /// # Errors
    /// It has another length or another letter.
    pub fn parse(text: String) -> Result<Self, PersonError> {
        let letter = |c: char| c.is_ascii_alphanumeric();
        let fits = (3..=32).contains(&text.len())
            && text.starts_with(letter)
            && text.chars().all(|c| letter(c) || matches!(c, '.' | '_' | '-'));
        if fits {
            return Ok(Self(text));
        }
        Err(PersonError::Username)
    }

    /// As typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something of the form `local@domain.tld`, at most 254 bytes. Only a sent mail can prove more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses an address.
    ///
    /// # Errors
    /// It cannot be an address.
    pub fn parse(text: String) -> Result<Self, PersonError> {
        // First of all, so that the bounds hold for what is stored.
        let text = in_nfc(text);
        let plain = text.len() <= 254 && text.chars().all(is_plain);
        let parts = text.rsplit_once('@').is_some_and(|(local, domain)| {
            (1..=64).contains(&local.len())
                && !local.contains('@')
                && domain.contains('.')
                && domain.split('.').all(|label| {
                    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
                })
        });
        if plain && parts {
            return Ok(Self(text));
        }
        Err(PersonError::Email)
    }

    /// As typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether an address may have this character: none that is not seen, and none that stands
/// for something around addresses (RFC 5322, section 3.2.3).
fn is_plain(c: char) -> bool {
    let is_unseen = c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        );
    !is_unseen && !"()<>[]:;,\\\"".contains(c)
}

/// ISO 3166-1 alpha-2, two capital letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country(String);

impl Country {
    /// Parses a country.
    ///
    /// # Errors
    /// It is not two capital letters.
    pub fn parse(text: String) -> Result<Self, PersonError> {
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            return Ok(Self(text));
        }
        Err(PersonError::Country)
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person as the service and its cache know them; never the password's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// UUID v7: sorts by the time of sign-up.
    pub id: Uuid,
    /// As typed at sign-up.
    pub username: String,
    /// As typed at sign-up.
    pub email: String,
    /// If given.
    pub country: Option<String>,
    /// Grows with every change.
    pub version: i64,
    /// Microseconds since 1970.
    pub created_us: i64,
    /// May not log in, and no token is good.
    pub disabled: bool,
    /// Names of roles, in order.
    pub roles: Vec<String>,
    /// Scopes of the roles, in order.
    pub scopes: Vec<String>,
}

/// One logged-in device, as the cache knows it: only live ones are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The `sid` of its access tokens.
    pub id: Uuid,
    /// Owner.
    pub user_id: Uuid,
    /// Seconds since 1970 after which it is over.
    pub expires_s: i64,
}

#[cfg(test)]
mod tests {
    use super::{Country, Email, Username};

    #[test]
    fn user_names_that_are_and_are_not() {
        for good in ["ada", "A.b-c_9", "0x0"] {
            assert!(Username::parse(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["ab", "", "-ada", "ada lovelace", "ada@x", "añada", &"a".repeat(33)] {
            assert!(Username::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails_that_are_and_are_not() {
        for good in ["ada@example.org", "a+b@x.y.z", "ñ@example.org"] {
            assert!(Email::parse(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "ada",
            "@example.org",
            "ada@example",
            "a b@example.org",
            "a@b@c.d",
            "a@x..y",
            "a@.y",
            "<script>@x.org",
            "a,b@x.org",
            "\"a\"@x.org",
            "x@-.-",
            "x@-a.org",
            "a\u{202e}@x.org",
            "a\u{200b}@x.org",
        ] {
            assert!(Email::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        let parse =
            |text: &str| Email::parse(text.to_owned()).map(|email| email.as_str().to_owned());
        assert_eq!(parse("jose\u{301}@x.org"), parse("jos\u{e9}@x.org"));
        assert_eq!(crate::text::canonical("JOSE\u{301}@X.org"), "jos\u{e9}@x.org");
    }

    #[test]
    fn countries_that_are_and_are_not() {
        assert!(Country::parse("NO".to_owned()).is_ok());
        assert!(
            Country::parse("no".to_owned()).is_err() && Country::parse("NOR".to_owned()).is_err()
        );
    }
}
