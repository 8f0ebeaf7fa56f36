//! Access tokens: EdDSA JWTs of ten minutes, signed with the current key, verified with the next,
//! the current and the previous one: a replica that has not been started again yet knows the key
//! that the others sign with by now.

pub mod key;
pub mod opaque;
pub mod refresh;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::token::key::SigningKey;

/// Seconds an access token is good for.
pub const ACCESS_S: u64 = 600;

/// Claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// The user's id.
    pub sub: Uuid,
    /// The session's id.
    pub sid: Uuid,
    /// Issued at, seconds since 1970.
    pub iat: u64,
    /// Not good from then on, seconds since 1970.
    pub exp: u64,
    /// Scopes, separated by blanks (RFC 8693).
    pub scope: String,
}

/// The keys of this service: one signs, all verify.
#[derive(Debug)]
pub struct KeyRing {
    issuer: String,
    current: SigningKey,
    others: Vec<SigningKey>,
}

impl KeyRing {
    /// Tokens are issued as `issuer`, and signed with `current`.
    #[must_use]
    pub fn new(issuer: String, current: SigningKey, others: Vec<SigningKey>) -> Self {
        Self { issuer, current, others }
    }

    /// The keys that verify, the signing one first.
    pub fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The claims of a new token, good from `now_s` on.
    #[must_use]
    pub fn claims(&self, sub: Uuid, sid: Uuid, scopes: &[String], now_s: u64) -> Claims {
        Claims {
            iss: self.issuer.clone(),
            sub,
            sid,
            iat: now_s,
            exp: now_s + ACCESS_S,
            scope: scopes.join(" "),
        }
    }

    /// Signs with the current key.
    ///
    /// # Errors
    /// The key is not usable, which [`SigningKey`] rules out.
    pub fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.current.kid().to_owned());
        encode(&header, claims, self.current.encoding())
    }

    /// The claims of a token of ours that has not expired at `now_s`; of anything else nothing.
    #[must_use]
    pub fn verify(&self, token: &str, now_s: u64) -> Option<Claims> {
        let kid = decode_header(token).ok()?.kid?;
        // Only known keys are tried: the header of a token is read before its signature is checked.
        let key = self.keys().find(|key| key.kid() == kid)?;
        // EdDSA alone: an algorithm that the token chose could be a weaker one.
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Compared below with the given time: the crate reads a clock and allows 60 s beyond the
        // end.
        rules.validate_exp = false;
        let claims: Claims = decode(token, key.decoding(), &rules).ok()?.claims;
        (now_s < claims.exp).then_some(claims)
    }

    /// The public keys, as `/.well-known/jwks.json` (RFC 7517, RFC 8037).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": self.keys().map(SigningKey::jwk).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::key::SigningKey;
    use super::{ACCESS_S, KeyRing};

    fn ring(current: &SigningKey, others: &[&SigningKey]) -> KeyRing {
        KeyRing::new("auth".to_owned(), current.clone(), others.iter().copied().cloned().collect())
    }

    #[test]
    fn access_token_is_valid_for_ten_minutes_to_the_second() {
        let ring = ring(&SigningKey::generate().unwrap(), &[]);
        let claims =
            ring.claims(Uuid::nil(), Uuid::max(), &["a:read".to_owned(), "b".to_owned()], 1000);
        let token = ring.sign(&claims).unwrap();
        assert_eq!(claims.scope, "a:read b");
        assert_eq!(ring.verify(&token, 1000 + ACCESS_S - 1), Some(claims));
        assert_eq!(ring.verify(&token, 1000 + ACCESS_S), None);
    }

    #[test]
    fn access_token_is_valid_after_one_key_rotation_and_not_after_two() {
        let keys = [(); 3].map(|()| SigningKey::generate().unwrap());
        let first = ring(&keys[0], &[]);
        let token = first.sign(&first.claims(Uuid::nil(), Uuid::nil(), &[], 0)).unwrap();
        assert!(ring(&keys[1], &[&keys[0]]).verify(&token, 1).is_some());
        assert!(ring(&keys[2], &[&keys[1]]).verify(&token, 1).is_none());
        assert_eq!(ring(&keys[1], &[&keys[0]]).jwks()["keys"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn access_token_changed_foreign_or_unsigned_is_nothing() {
        let key = SigningKey::generate().unwrap();
        let ours = ring(&key, &[]);
        let token = ours.sign(&ours.claims(Uuid::nil(), Uuid::nil(), &[], 0)).unwrap();
        let (body, _) = token.rsplit_once('.').unwrap();
        let foreign = KeyRing::new("other".to_owned(), key, Vec::new());
        assert!(ours.verify(&format!("{body}."), 1).is_none());
        assert!(ours.verify(&token.replace('.', ".x"), 1).is_none());
        assert!(foreign.verify(&token, 1).is_none());
        assert!(ours.verify("eyJhbGciOiJub25lIn0.e30.", 1).is_none());
    }
}
