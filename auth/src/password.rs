//! Passwords that may be chosen: 8 to 128 characters, not a common one, not the person's own name.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};

use crate::text::in_nfc;

/// Most characters a password has.
const LENGTH_MAX: usize = 128;

/// Fewest characters a password has that is chosen now.
const LENGTH_MIN: usize = 8;

/// In lower case, one a line; all have at least eight letters, shorter ones are refused by length.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../assets/common_passwords.txt").lines().collect());

/// Rule that a password breaks. Reads on from the name of what it was meant for: "`new_password`
/// has 5 characters; ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Longer than any password, so hashing it would be for nothing.
    #[error("is longer than {LENGTH_MAX} characters")]
    TooLong,
    /// So many characters.
    #[error("has {0} characters; {LENGTH_MIN} to {LENGTH_MAX} are allowed")]
    Length(usize),
    /// Nothing but one character.
    #[error("is one character again and again")]
    OneCharacter,
    /// On the list of common passwords.
    #[error("is among the most common passwords")]
    Common,
    /// The name or the address of its owner.
    #[error("is your own name")]
    OwnName,
}

/// A password in NFC, as another keyboard may not type it (RFC 8265, section 4.2): wiped from
/// memory when dropped, never printed.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Takes what someone logs in with: whatever was once accepted, so only its length is looked
    /// at.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`].
    pub fn presented(text: String) -> Result<Self, PasswordError> {
        let text = in_nfc(text);
        if text.chars().count() > LENGTH_MAX {
            return Err(PasswordError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// Takes what someone wants to log in with from now on.
    ///
    /// # Errors
    /// It is too short, too long or easily guessed.
    pub fn chosen(text: String) -> Result<Self, PasswordError> {
        let text = in_nfc(text);
        let length = text.chars().count();
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            return Err(PasswordError::Length(length));
        }
        if text.chars().all(|c| text.starts_with(c)) {
            return Err(PasswordError::OneCharacter);
        }
        if COMMON.contains(text.to_lowercase().as_str()) {
            return Err(PasswordError::Common);
        }
        Ok(Self(text.into()))
    }

    /// Refuses a password that is the name or the address of the person themselves.
    ///
    /// # Errors
    /// [`PasswordError::OwnName`].
    pub fn unlike(&self, names: &[&str]) -> Result<(), PasswordError> {
        let password = self.0.expose_secret().to_lowercase();
        if names.iter().any(|name| name.to_lowercase() == password) {
            return Err(PasswordError::OwnName);
        }
        Ok(())
    }

    /// For hashing only.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMON, Password, PasswordError};

    fn chosen(text: &str) -> bool {
        Password::chosen(text.to_owned()).is_ok()
    }

    #[test]
    fn password_has_8_to_128_characters_not_bytes() {
        assert!(chosen("ηλιοβασ1") && !chosen("sevench"));
        assert!(chosen(&format!("{}x", "ñ".repeat(127))) && !chosen(&"xy".repeat(65)));
    }

    #[test]
    fn password_of_one_character_is_refused() {
        assert!(!chosen("aaaaaaaa") && !chosen("        ") && !chosen(&"\u{f1}".repeat(20)));
    }

    #[test]
    fn letters_in_parts_are_the_same_password() {
        let of = |text: &str| Password::presented(text.to_owned()).expect("short enough");
        assert_eq!(of("cafe\u{301} noir").bytes(), of("caf\u{e9} noir").bytes());
    }

    #[test]
    fn common_ones_are_refused_in_any_case() {
        assert!(!chosen("Password123") && !chosen("QWERTYUIOP"));
        assert!(COMMON.iter().all(|word| word.len() >= 8 && *word == word.to_lowercase()));
    }

    #[test]
    fn password_that_is_the_own_name_is_refused() {
        let password = Password::chosen("Ada.Lovelace".to_owned()).expect("long enough");
        assert!(password.unlike(&["ada.lovelace"]) == Err(PasswordError::OwnName));
        assert!(password.unlike(&["charles"]).is_ok());
        assert_eq!(format!("{password:?}"), "Password(..)");
    }
}
