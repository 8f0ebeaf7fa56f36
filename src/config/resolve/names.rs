//! Names that a route can refer to.

use crate::{
    config::{schema::File, yaml_tree::Node},
    limit::ZoneSettings,
    upstream::settings::UpstreamSettings,
};

/// Names that can be referred to.
#[derive(Debug)]
pub struct Names<'a> {
    /// Decoded file.
    pub file: &'a File,
    /// Tree before wrong parts were removed.
    pub written: &'a Node,
    /// Zones in the order of the file.
    pub zones: Vec<ZoneSettings>,
    /// Upstreams in the order of the file, then those that routes name by their address.
    pub upstreams: Vec<UpstreamSettings>,
}

impl Names<'_> {
    /// Returns true if the name is written, even if its value is wrong.
    #[must_use]
    pub fn is_written(&self, section: &str, name: &str) -> bool {
        self.written.get(section).is_some_and(|entry| entry.node.get(name).is_some())
    }
}
