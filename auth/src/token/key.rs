//! A signing key: Ed25519 as PKCS#8 PEM, named by the thumbprint of its public half (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use zeroize::Zeroizing;

/// Reason why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or not a private key.
    #[error("it is not a PEM `PRIVATE KEY`")]
    Pem,
    /// PEM, but another kind of key.
    #[error("it is not an Ed25519 private key")]
    Kind,
}

/// Signs and verifies access tokens, and makes refresh tokens ours.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    public: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    refresh: hmac::Key,
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// There is none.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Kind)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Kind)?;
        Self::from_der(der.as_ref())
    }

    /// Reads a key as [`SigningKey::to_pem`] wrote it, or as `openssl genpkey -algorithm ed25519`
    /// does.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----").ok_or(KeyError::Pem)?;
        let body = body.strip_suffix("-----END PRIVATE KEY-----").ok_or(KeyError::Pem)?;
        let body = Zeroizing::new(body.split_whitespace().collect::<String>());
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| KeyError::Pem)?);
        Self::from_der(&der)
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Kind)?;
        let public = pair.public_key().as_ref().to_vec();
        // The required members in the order of their names and without white space (RFC 7638,
        // section 3). Other bytes would be another name for the same key.
        let thumbprint =
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(&public));
        // A key of its own for refresh tokens, so that no signature is ever made over their bytes.
        let parent = hmac::Key::new(hmac::HMAC_SHA256, der);
        let refresh =
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&parent, b"refresh tokens, 1").as_ref());
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes())),
            decoding: DecodingKey::from_ed_der(&public),
            encoding: EncodingKey::from_ed_der(der),
            public,
            refresh,
        })
    }

    /// The private key, for a file only its owner reads.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(STANDARD.encode(self.encoding.as_bytes()));
        Zeroizing::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            *body
        ))
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(&self.public)
        })
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    pub(super) fn refresh(&self) -> &hmac::Key {
        &self.refresh
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKey;

    #[test]
    fn key_that_is_written_is_the_same_key() {
        let key = SigningKey::generate().unwrap();
        let read = SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.kid(), read.kid());
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.kid()));
    }

    #[test]
    fn key_of_rfc_8037_has_its_thumbprint() {
        // The private key and thumbprint of RFC 8037, appendix A.1 and A.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
            -----END PRIVATE KEY-----";
        assert_eq!(
            SigningKey::from_pem(pem).unwrap().kid(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn key_from_pem_refuses_anything_else() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert!(SigningKey::from_pem(text).is_err(), "{text}");
        }
    }
}
