//! Refresh tokens: session and generation, sealed with a MAC. The token of a generation can be made
//! again, so a repeat within the grace window gets the very same successor; and an old one of ours
//! differs from noise, so noise revokes nothing.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::token::KeyRing;
use crate::token::key::SigningKey;

/// Session, generation, MAC.
const LENGTH: usize = 16 + 8 + 32;

/// Session of a refresh token, and the number of tokens before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// The session's id.
    pub session: Uuid,
    /// Zero at login, one more with each rotation.
    pub generation: i64,
}

impl Refresh {
    /// The one that follows.
    #[must_use]
    pub fn successor(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    /// The token under the ring's current key.
    #[must_use]
    pub fn mint(self, ring: &KeyRing) -> String {
        self.seal(&ring.current)
    }

    /// The token under each key of the ring: one of them was handed out.
    pub fn mint_each(self, ring: &KeyRing) -> impl Iterator<Item = String> {
        ring.keys().map(move |key| self.seal(key))
    }

    /// Reads a token minted under a key of the ring; anything else is nothing.
    #[must_use]
    pub fn open(token: &str, ring: &KeyRing) -> Option<Self> {
        let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (body, mac) = bytes.split_at(24);
        // Under any key: a token that was handed out before a rotation stays valid after it.
        ring.keys().find(|key| hmac::verify(key.refresh(), body, mac).is_ok())?;
        let (session, generation) = body.split_at(16);
        Some(Self {
            session: Uuid::from_slice(session).ok()?,
            generation: i64::from_be_bytes(generation.try_into().ok()?),
        })
    }

    fn seal(self, key: &SigningKey) -> String {
        // Fixed widths: no other session and generation have the same bytes under the MAC.
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        let mac = hmac::sign(key.refresh(), &bytes);
        bytes.extend_from_slice(mac.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Refresh;
    use crate::token::KeyRing;
    use crate::token::key::SigningKey;

    #[test]
    fn refresh_token_is_read_back_and_its_successor_is_always_the_same() {
        let ring = KeyRing::new("auth".to_owned(), SigningKey::generate().unwrap(), Vec::new());
        let first = Refresh { session: Uuid::now_v7(), generation: 0 };
        assert_eq!(Refresh::open(&first.mint(&ring), &ring), Some(first));
        assert_eq!(first.successor().mint(&ring), first.successor().mint(&ring));
        assert_ne!(first.mint(&ring), first.successor().mint(&ring));
    }

    #[test]
    fn refresh_token_of_strangers_is_nothing() {
        let ring = |key: &SigningKey| KeyRing::new("auth".to_owned(), key.clone(), Vec::new());
        let (ours, theirs) =
            (ring(&SigningKey::generate().unwrap()), ring(&SigningKey::generate().unwrap()));
        let token = Refresh { session: Uuid::now_v7(), generation: 3 }.mint(&theirs);
        assert_eq!(Refresh::open(&token, &ours), None);
        assert_eq!(Refresh::open("", &ours), None);
        assert_eq!(Refresh::open(&"A".repeat(75), &ours), None);
    }
}
