//! Sticky sessions: a cookie leads a client back to the address that served it first.
//!
//! Guarantees: the cookie shows nothing of an address, and cannot be made for one: its value is a
//! digest under a key. One that leads to no available address changes nothing, and the client gets
//! another.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote::Remote;
use crate::{
    access::keyed_digest::DigestKey,
    http::{header_list::HeaderList, known_name::KnownName},
};

/// Bytes of a digest that are shown: as many as no one guesses.
const SHOWN: usize = 16;

/// `SameSite` of a cookie (RFC 6265bis, section 5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Sent when another site links to this one.
    #[default]
    Lax,
    /// Sent by requests of this site only.
    Strict,
    /// Sent always, over TLS only.
    None,
}

impl SameSite {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// Text from which the key is made; no message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct StickySecret(pub Arc<str>);

impl fmt::Debug for StickySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickySecret")
    }
}

/// Settings of the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickySettings {
    /// Name of the cookie.
    pub cookie: Arc<str>,
    /// Secret of the digests; none for one of this process.
    pub secret: Option<StickySecret>,
    /// Time that the client keeps the cookie; none for as long as it runs.
    pub max_age: Option<Duration>,
    /// Requests of other sites that carry it.
    pub same_site: SameSite,
}

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers for the key of sticky cookies")]
pub struct NoStickyKey;

/// Maker and reader of the cookies of one upstream.
#[derive(Debug)]
pub struct Sticky {
    settings: StickySettings,
    upstream: Arc<str>,
    key: DigestKey,
}

impl Sticky {
    /// Cookies of an upstream with this name.
    ///
    /// # Errors
    /// When there is neither a secret nor a random number.
    pub fn new(settings: &StickySettings, upstream: &Arc<str>) -> Result<Self, NoStickyKey> {
        // The key of the process is the same for all upstreams and configurations, so that a reload
        // does not send clients elsewhere.
        let key = match &settings.secret {
            Some(secret) => DigestKey::of(secret.0.as_bytes()),
            None => DigestKey::of(process_secret()?),
        };
        Ok(Self { settings: settings.clone(), upstream: Arc::clone(upstream), key })
    }

    /// Value of the cookie that leads to an address.
    #[must_use]
    pub fn id(&self, remote: &Remote) -> Box<str> {
        let address = remote.to_string();
        // With the name of the upstream: the cookie of one leads nowhere in another.
        let digest = self.key.digest(&[self.upstream.as_bytes(), address.as_bytes()]);
        URL_SAFE_NO_PAD.encode(&digest[..SHOWN]).into()
    }

    /// Value of the cookie that a client sent.
    #[must_use]
    pub fn presented<'a>(&self, headers: &'a HeaderList) -> Option<&'a [u8]> {
        let name = self.settings.cookie.as_bytes();
        // A quoted value is none of weir's own, and leads nowhere, as any other that was not made
        // here.
        let named = |pair: &'a [u8]| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=");
        headers
            .get_all(KnownName::Cookie)
            .find_map(|line| line.split(|byte| *byte == b';').find_map(named))
    }

    /// `Set-Cookie` with this value (RFC 6265, section 4.1).
    #[must_use]
    pub fn cookie(&self, id: &str, is_secure: bool) -> Option<HeaderValue> {
        let StickySettings { cookie, max_age, same_site, .. } = &self.settings;
        let mut text = format!("{cookie}={id}; Path=/; HttpOnly; SameSite={}", same_site.as_str());
        if let Some(age) = max_age {
            text += &format!("; Max-Age={}", age.as_secs());
        }
        // Browsers refuse `SameSite=None` without it.
        if is_secure || *same_site == SameSite::None {
            text += "; Secure";
        }
        // The name was checked, and the rest is of visible characters.
        HeaderValue::from_str(&text).ok()
    }
}

/// Secret of this process, the same for all its upstreams and configurations.
fn process_secret() -> Result<&'static [u8; 32], NoStickyKey> {
    static SECRET: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(known) = SECRET.get() {
        return Ok(known);
    }
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| NoStickyKey)?;
    // Another thread may have been first; its secret counts then.
    Ok(SECRET.get_or_init(|| secret))
}

#[cfg(test)]
mod tests {
    use crate::upstream::sticky::*;

    fn sticky(secret: Option<&str>) -> Sticky {
        let settings = StickySettings {
            cookie: "at".into(),
            secret: secret.map(|secret| StickySecret(secret.into())),
            max_age: Some(Duration::from_secs(3_600)),
            same_site: SameSite::Lax,
        };
        Sticky::new(&settings, &"app".into()).expect("a key")
    }

    fn remote(last: u8) -> Remote {
        Remote::Tcp(([10, 0, 0, last], 80).into())
    }

    #[test]
    fn sticky_id_depends_on_secret_and_address_and_shows_neither() {
        let [one, other] = [sticky(Some("a secret of this test")), sticky(None)];
        assert_eq!(one.id(&remote(1)), sticky(Some("a secret of this test")).id(&remote(1)));
        assert_eq!(other.id(&remote(1)), sticky(None).id(&remote(1)));
        assert_ne!(one.id(&remote(1)), one.id(&remote(2)));
        assert_ne!(one.id(&remote(1)), other.id(&remote(1)));
        assert_eq!(one.id(&remote(1)).len(), 22);
        assert!(!format!("{one:?}").contains("a secret"));
    }

    #[test]
    fn sticky_cookie_is_found_by_its_whole_name() {
        let sticky = sticky(None);
        let presented = |text: &'static str| {
            let mut headers = HeaderList::default();
            headers.set_static(KnownName::Cookie, text);
            sticky.presented(&headers).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(presented("at=x").as_deref(), Some("x"));
        assert_eq!(presented("that=y; at2=z;  at=x; b=c").as_deref(), Some("x"));
        assert_eq!(presented("that=y; AT=x; at"), None);
    }

    #[test]
    fn sticky_cookie_is_out_of_reach_of_scripts() {
        let cookie = |secure| sticky(None).cookie("x", secure).expect("a value");
        assert_eq!(cookie(false), "at=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
        assert_eq!(cookie(true), "at=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure");
    }
}
