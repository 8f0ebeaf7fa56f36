//! Users and the hashes of their passwords, in the form of Apache's `htpasswd`.
//!
//! Guarantee: a name that is not there costs what one of the others does, and always the same one,
//! so that the time of a response does not tell which names exist.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use super::password_hash::{HashError, PasswordHash};

/// Limit on the users of one file.
pub const MAX_USERS: usize = 10_000;

/// Users of one file.
#[derive(Clone, Debug, Default)]
pub struct Users {
    hashes: Vec<PasswordHash>,
    places: HashMap<Box<str>, usize>,
    /// Chooses the hash for a name that is not there.
    chooser: RandomState,
}

/// Line of a file of users that cannot be used. It never contains the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct UsersError {
    /// Number of the line, counted from 1.
    pub line: usize,
    /// Fault of the line.
    pub fault: LineFault,
}

/// Fault of a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// There is no colon, or nothing before it.
    #[error("not `user:hash`")]
    Form,
    /// The hash of this user is none that is verified.
    #[error("user `{0}`: {1}")]
    Hash(String, #[source] HashError),
    /// Another line has this user.
    #[error("user `{0}` is listed twice")]
    Twice(String),
    /// There are too many users.
    #[error("more than {MAX_USERS} users")]
    TooMany,
}

/// Hash to verify a password with.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Hash of the user, or of any other one.
    pub hash: &'a PasswordHash,
    /// True if it is that of the user.
    pub is_known: bool,
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.hashes == other.hashes && self.places == other.places
    }
}

impl Users {
    /// Reads the text of a file: lines of `user:hash`, blank ones, and comments (`#`). What follows
    /// a further colon is a comment too.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let mut users = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim_start_matches('\u{feff}').trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            users.add(line_text).map_err(|fault| UsersError { line: index + 1, fault })?;
        }
        Ok(users)
    }

    fn add(&mut self, line: &str) -> Result<(), LineFault> {
        let (name, rest) = line.split_once(':').ok_or(LineFault::Form)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(LineFault::Form);
        }
        let hash = rest.split(':').next().unwrap_or_default();
        let hash = hash.parse().map_err(|error| LineFault::Hash(name.to_owned(), error))?;
        if self.hashes.len() == MAX_USERS {
            return Err(LineFault::TooMany);
        }
        // The first one counts in nginx, and an operator who changed the second would not notice.
        if self.places.insert(name.into(), self.hashes.len()).is_some() {
            return Err(LineFault::Twice(name.to_owned()));
        }
        self.hashes.push(hash);
        Ok(())
    }

    /// Returns true if there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Hash for the password of this user; none without any user.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<Candidate<'_>> {
        if let Some(place) = self.places.get(name) {
            return Some(Candidate { hash: &self.hashes[*place], is_known: true });
        }
        let count = u64::try_from(self.hashes.len()).ok().filter(|count| *count > 0)?;
        let chosen = usize::try_from(self.chooser.hash_one(name) % count).ok()?;
        Some(Candidate { hash: self.hashes.get(chosen)?, is_known: false })
    }
}

#[cfg(test)]
mod tests {
    use crate::access::users::*;

    const ADA: &str = "$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/";
    const BOB: &str = "$apr1$12345678$zbBEMgfXu4mAHPrplrtNt.";

    #[test]
    fn users_are_lines_but_for_comments_and_blanks() {
        let text = format!("\u{feff}# ours\r\nada:{ADA}\r\n\n  bob:{BOB}:his password is x\n");
        let users = Users::parse(&text).expect("users");
        let hash = |name: &str| {
            users.candidate(name).filter(|it| it.is_known).map(|it| it.hash.as_bytes())
        };
        assert_eq!(hash("ada"), Some(ADA.as_bytes()));
        assert_eq!(hash("bob"), Some(BOB.as_bytes()));
        assert_eq!((hash("Ada"), hash("")), (None, None));
    }

    #[test]
    fn unknown_user_gets_one_of_the_hashes_and_always_the_same() {
        let users = Users::parse(&format!("ada:{ADA}\nbob:{BOB}\n")).expect("users");
        let mut chosen = std::collections::BTreeSet::new();
        for number in 0..100 {
            let name = format!("user{number}");
            let of = || users.candidate(&name).expect("a hash");
            assert!(!of().is_known);
            assert_eq!(of().hash, of().hash);
            chosen.insert(of().hash.as_bytes().to_vec());
        }
        assert_eq!(chosen.len(), 2);
        assert!(Users::default().candidate("ada").is_none());
    }

    #[test]
    fn users_wrong_line_is_named_without_its_password() {
        let long: String = (0..=MAX_USERS).map(|index| format!("u{index}:{ADA}\n")).collect();
        for (text, expected) in [
            ("\nada\n", "line 2: not `user:hash`"),
            (":x", "line 1: not `user:hash`"),
            ("a\tb:x", "line 1: not `user:hash`"),
            ("ada:secret", "line 1: user `ada`: the password is plain text or a hash of crypt(3)"),
            (&format!("ada:{ADA}\nada:{BOB}"), "line 2: user `ada` is listed twice"),
            (&long, "line 10001: more than 10000 users"),
        ] {
            let error = Users::parse(text).expect_err("a wrong line").to_string();
            assert_eq!(error, expected);
        }
    }
}
