//! Which passwords may be chosen: 8 to 128 characters, not a common one, not the person's own name.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};

use crate::problem::Problem;
use crate::text::in_nfc;

/// In lower case, one a line; all have at least eight letters, shorter ones are refused by length.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../assets/common_passwords.txt").lines().collect());

/// A password in NFC, as another keyboard may not type it (RFC 8265, section 4.2): wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// What someone logs in with: whatever was once accepted, so only its length is looked at.
    ///
    /// # Errors
    /// It is longer than any password, so hashing it would be for nothing.
    pub fn presented(field: &str, text: String) -> Result<Self, Problem> {
        let text = in_nfc(text);
        if text.chars().count() > 128 {
            return Err(Problem::field(field, format!("`{field}` is longer than 128 characters")));
        }
        Ok(Self(text.into()))
    }

    /// What someone wants to log in with from now on.
    ///
    /// # Errors
    /// It is too short, too long or common.
    pub fn chosen(field: &str, text: String) -> Result<Self, Problem> {
        let text = in_nfc(text);
        let length = text.chars().count();
        if !(8..=128).contains(&length) {
            return Err(Problem::field(field, format!("`{field}` has {length} characters; 8 to 128 are allowed")));
        }
        if text.chars().all(|c| text.starts_with(c)) {
            return Err(Problem::field(field, format!("`{field}` is one character again and again")));
        }
        if COMMON.contains(text.to_lowercase().as_str()) {
            return Err(Problem::field(field, format!("`{field}` is among the most common passwords")));
        }
        Ok(Self(text.into()))
    }

    /// Refuses a password that is the name or the address of the person themselves.
    ///
    /// # Errors
    /// It is.
    pub fn unlike(&self, field: &str, names: &[&str]) -> Result<(), Problem> {
        let password = self.0.expose_secret().to_lowercase();
        if names.iter().any(|name| name.to_lowercase() == password) {
            return Err(Problem::field(field, format!("`{field}` is your own name")));
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
    use super::{COMMON, Password};

    fn chosen(text: &str) -> bool {
        Password::chosen("password", text.to_owned()).is_ok()
    }

    #[test]
    fn eight_to_128_characters_not_bytes() {
        assert!(chosen("ηλιοβασ1") && !chosen("sevench"));
        assert!(chosen(&format!("{}x", "ñ".repeat(127))) && !chosen(&"xy".repeat(65)));
    }

    #[test]
    fn one_character_again_and_again_is_refused() {
        assert!(!chosen("aaaaaaaa") && !chosen("        ") && !chosen(&"\u{f1}".repeat(20)));
    }

    #[test]
    fn letters_in_parts_are_the_same_password() {
        let of = |text: &str| Password::presented("password", text.to_owned()).expect("short enough");
        assert_eq!(of("cafe\u{301} noir").bytes(), of("caf\u{e9} noir").bytes());
    }

    #[test]
    fn common_ones_are_refused_in_any_case() {
        assert!(!chosen("Password123") && !chosen("QWERTYUIOP"));
        assert!(COMMON.iter().all(|word| word.len() >= 8 && *word == word.to_lowercase()));
    }

    #[test]
    fn your_own_name_is_refused() {
        let password = Password::chosen("password", "Ada.Lovelace".to_owned()).expect("long enough");
        assert!(password.unlike("password", &["ada.lovelace"]).is_err());
        assert!(password.unlike("password", &["charles"]).is_ok());
        assert_eq!(format!("{password:?}"), "Password(..)");
    }
}
