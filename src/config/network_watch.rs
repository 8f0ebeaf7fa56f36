//! Watch on files of networks and of users while they are served.
//!
//! Guarantee: an invalid file changes nothing, and is logged once.

use std::fmt::Display;

use super::settings::Config;

/// Watches files of networks, and logs an invalid one once.
#[derive(Debug, Default)]
pub struct NetworkWatch(LastError);

/// Watches files of users, and logs an invalid one once.
#[derive(Debug, Default)]
pub struct PasswordWatch(LastError);

/// Error that was logged last, while it lasts.
#[derive(Debug, Default)]
struct LastError(Option<String>);

impl NetworkWatch {
    /// Returns the configuration to serve instead of `config`, if its files of networks have
    /// changed.
    pub fn look(&mut self, config: &Config) -> Option<Config> {
        self.0.settle(config.with_networks_read_again(), "networks")
    }
}

impl PasswordWatch {
    /// Returns the configuration to serve instead of `config`, if its files of users have changed.
    pub fn look(&mut self, config: &Config) -> Option<Config> {
        self.0.settle(config.with_passwords_read_again(), "users")
    }
}

impl LastError {
    fn settle<E: Display>(
        &mut self,
        outcome: Result<Option<Config>, E>,
        kept: &str,
    ) -> Option<Config> {
        match outcome {
            Ok(changed) => {
                // Valid again: the same error is reported again when it returns.
                self.0 = None;
                changed
            }
            Err(error) => {
                let error = error.to_string();
                if self.0.as_ref() != Some(&error) {
                    tracing::warn!("{error}; keeping the current {kept}");
                }
                self.0 = Some(error);
                None
            }
        }
    }
}
