//! argon2id over memory that is lent: a hash allocates nothing, so the memory of all hashes is what
//! was set aside for them.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::token::opaque::same;

/// Bytes of a hash.
const OUTPUT: usize = 32;

/// Result of comparing a password with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordMatch {
    /// It is the password.
    Match,
    /// It is, and its hash was made with other parameters than today's.
    Outdated,
    /// It is not, or there is no such user.
    Wrong,
}

/// Today's parameters.
#[derive(Debug, Clone)]
pub struct Argon(Params);

impl Argon {
    /// So many KiB, so many passes, one lane.
    ///
    /// # Errors
    /// argon2 does not take them.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, argon2::Error> {
        Ok(Self(Params::new(memory_kib, passes, 1, Some(OUTPUT))?))
    }

    /// The memory one hash needs.
    #[must_use]
    pub fn memory(&self) -> Vec<Block> {
        vec![Block::new(); self.0.block_count()]
    }

    /// Hashes for keeping, with a new salt, as a PHC string.
    ///
    /// # Errors
    /// There is no randomness, or the memory is too small.
    pub fn hash(
        &self,
        password: &[u8],
        memory: &mut [Block],
    ) -> Result<String, argon2::password_hash::Error> {
        let salt = Salt::generate();
        let mut output = [0; OUTPUT];
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.0.clone());
        argon.hash_password_into_with_memory(password, &salt, &mut output, memory)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&self.0)?,
            salt: Some(salt),
            hash: Some(Output::new(&output)?),
        };
        Ok(hash.to_string())
    }

    /// Compares with a kept hash under that hash's own parameters; memory grows if they need more.
    #[must_use]
    pub fn compare(&self, password: &[u8], kept: &str, memory: &mut Vec<Block>) -> PasswordMatch {
        match Self::matches(password, kept, memory) {
            Some(params) if self.is_today(&params) => PasswordMatch::Match,
            Some(_) => PasswordMatch::Outdated,
            None => PasswordMatch::Wrong,
        }
    }

    fn matches(password: &[u8], kept: &str, memory: &mut Vec<Block>) -> Option<Params> {
        let kept = PasswordHash::new(kept).ok()?;
        let algorithm = Algorithm::try_from(kept.algorithm.as_str()).ok()?;
        let version =
            kept.version.map_or(Some(Version::V0x13), |number| Version::try_from(number).ok())?;
        let params = Params::try_from(&kept).ok()?;
        if memory.len() < params.block_count() {
            memory.resize(params.block_count(), Block::new());
        }
        let expected = kept.hash?;
        let mut output = vec![0; expected.len()];
        let argon = Argon2::new(algorithm, version, params.clone());
        argon.hash_password_into_with_memory(password, &kept.salt?, &mut output, memory).ok()?;
        same(&output, expected.as_bytes()).then_some(params)
    }

    fn is_today(&self, params: &Params) -> bool {
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        cost(params) == cost(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;
    use argon2::{Argon2, Params};

    use super::{Argon, PasswordMatch};

    #[test]
    fn hash_matches_whatever_memory_is_lent() {
        let argon = Argon::new(64, 2).unwrap();
        let mut memory = argon.memory();
        let kept = argon.hash(b"correct horse", &mut memory).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{kept}");
        assert_eq!(argon.compare(b"correct horse", &kept, &mut memory), PasswordMatch::Match);
        assert_eq!(argon.compare(b"correct horse", &kept, &mut Vec::new()), PasswordMatch::Match);
        assert_eq!(argon.compare(b"wrong", &kept, &mut memory), PasswordMatch::Wrong);
        assert_eq!(argon.compare(b"correct horse", "no hash", &mut memory), PasswordMatch::Wrong);
    }

    #[test]
    fn hash_with_other_parameters_matches_and_is_outdated() {
        let other = Argon2::from(Params::new(128, 1, 2, None).unwrap());
        let kept = other.hash_password(b"correct horse").unwrap().to_string();
        let argon = Argon::new(64, 2).unwrap();
        assert_eq!(
            argon.compare(b"correct horse", &kept, &mut argon.memory()),
            PasswordMatch::Outdated
        );
    }
}
