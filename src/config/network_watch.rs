//! Watch on files of networks while they are served.
//!
//! Guarantee: an invalid file changes nothing, and is logged once.

use super::settings::Config;

/// Watches files of networks, and logs an invalid one once.
#[derive(Debug, Default)]
pub struct NetworkWatch {
    told: Option<String>,
}

impl NetworkWatch {
    /// Returns the configuration to serve instead of `config`, if its files of networks have
    /// changed.
    pub fn look(&mut self, config: &Config) -> Option<Config> {
        match config.with_networks_read_again() {
            Ok(changed) => {
                // Valid again: the same error is reported again when it returns.
                self.told = None;
                changed
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    tracing::warn!("{error}; keeping the current networks");
                }
                self.told = Some(error);
                None
            }
        }
    }
}
