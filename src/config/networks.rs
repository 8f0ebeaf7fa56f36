//! Lists of networks: each entry is a network, or `@file:PATH`, whose lines are networks.
//!
//! Guarantee: files are read again without anything else of the configuration. New content that is
//! wrong changes nothing: the networks read before stay in use.

use std::{
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net};

use super::{
    schema::{self, RouteSpec},
    small_file::{self, SmallFileError},
};
use crate::downstream::listen_socket::UNIX_PEER;

/// Limit on the networks of one file: each is compared with the address of every request.
pub const MAX_NETWORKS: usize = 4_096;
/// Leading bits of an IPv4 address mapped into IPv6.
const MAPPED: u8 = 96;
/// Entry for every peer on a Unix socket, as in nginx.
const UNIX: &str = "unix:";
/// Prefix of an entry that names a file.
const FILE: &str = "@file:";

/// Entry of a list of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEntry {
    /// Network that is written out.
    Network(IpNet),
    /// File with one network per line.
    File(PathBuf),
}

/// Lists of a configuration whose networks can be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLists {
    /// Entries of `client_ip.trusted_proxies`.
    pub proxies: Vec<NetworkEntry>,
    /// Entries of `exempt`, zone by zone in the order of `Config::zones`.
    pub exempt: Vec<Vec<NetworkEntry>>,
    /// Entries of `exempt` of the zones of concurrency, in the order of `Config::concurrency`.
    pub concurrency: Vec<Vec<NetworkEntry>>,
    /// Entries of `clients` in the conditions of rules, in the order of the file.
    pub conditions: Vec<Vec<NetworkEntry>>,
    /// Entries of `access`, route by route in the order of `Config::routes`.
    pub access: Vec<AccessEntries>,
}

/// Entries of `access` of one route; none without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessEntries {
    /// Entries of `allow`, if it is written.
    pub allow: Option<Vec<NetworkEntry>>,
    /// Entries of `deny`.
    pub deny: Vec<NetworkEntry>,
}

/// Reason why a file of networks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] SmallFileError),
    /// The file has too many lines.
    #[error("`{}` has more than {MAX_NETWORKS} networks", .0.display())]
    TooMany(PathBuf),
    /// One of its lines is not a network.
    #[error("`{}`, line {line}: `{text}` is not a network", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, counted from 1.
        line: usize,
        /// Text of the line.
        text: String,
    },
}

/// Line of a file that is neither blank nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkLine {
    /// Bytes of the file it is written in.
    pub span: Range<usize>,
    /// Network as written; `None` when it is not one.
    pub network: Option<IpNet>,
}

impl NetworkEntry {
    /// Parses an entry, a path relative to `base`; `None` when it is neither a network nor a file.
    #[must_use]
    pub fn read(text: &str, base: &Path) -> Option<Self> {
        match text.strip_prefix(FILE) {
            Some(path) => Some(Self::File(base.join(path))),
            // Bits behind the prefix were warned of when the configuration was loaded.
            None => network(text).map(|network| Self::Network(network.trunc())),
        }
    }

    fn networks(&self, into: &mut Vec<IpNet>) -> Result<(), NetworksError> {
        let path = match self {
            Self::Network(network) => {
                into.push(*network);
                return Ok(());
            }
            Self::File(path) => path,
        };
        let text = small_file::read_text(path)?;
        for line in lines(&text, path)? {
            let network = line.network.ok_or_else(|| NetworksError::Line {
                path: path.clone(),
                line: text[..line.span.start].matches('\n').count() + 1,
                text: text[line.span.clone()].to_owned(),
            })?;
            into.push(network.trunc());
        }
        Ok(())
    }
}

impl AccessEntries {
    fn all(&self) -> impl Iterator<Item = &NetworkEntry> {
        self.allow.iter().flatten().chain(&self.deny)
    }
}

impl NetworkLists {
    /// Lists of a configuration file, paths relative to `base`.
    #[must_use]
    pub fn of(file: &schema::File, base: &Path) -> Self {
        let read = |texts: &[String]| {
            texts.iter().filter_map(|text| NetworkEntry::read(text, base)).collect()
        };
        let access = |route: &schema::RouteSpec| {
            let Some(access) = &route.access else { return AccessEntries::default() };
            let allow = access.allow.as_ref().map(|allow| read(allow));
            AccessEntries { allow, deny: read(&access.deny) }
        };
        Self {
            proxies: read(&file.client_ip.trusted_proxies),
            exempt: file.zones.values().map(|zone| read(&zone.exempt)).collect(),
            concurrency: file.concurrency.values().map(|zone| read(&zone.exempt)).collect(),
            conditions: file
                .routes
                .iter()
                .flat_map(RouteSpec::networks_of_conditions)
                .map(&read)
                .collect(),
            access: file.routes.iter().map(access).collect(),
        }
    }

    /// Returns true if a list has an entry that names a file.
    #[must_use]
    pub fn have_files(&self) -> bool {
        self.exempt
            .iter()
            .chain(&self.concurrency)
            .chain(&self.conditions)
            .flatten()
            .chain(&self.proxies)
            .chain(self.access.iter().flat_map(AccessEntries::all))
            .any(|entry| matches!(entry, NetworkEntry::File(_)))
    }
}

/// Networks of these entries, those of files as they are now.
///
/// # Errors
/// When a file cannot be used.
pub fn all(entries: &[NetworkEntry]) -> Result<Vec<IpNet>, NetworksError> {
    let mut networks = Vec::new();
    entries.iter().try_for_each(|entry| entry.networks(&mut networks))?;
    Ok(networks)
}

/// Parses a network as written, bits behind its prefix included. A network of IPv4-mapped IPv6
/// addresses (RFC 4291, section 2.5.5.2) becomes that of the IPv4 addresses, as which clients are
/// looked up.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    if text == UNIX {
        return Some(UNIX_PEER.ip().into());
    }
    let network: IpNet =
        // An address alone is a network of one.
        text.parse::<IpAddr>().map(IpNet::from).ok().or_else(|| text.parse().ok())?;
    // Clients are compared in their canonical form: a network of mapped addresses would never
    // match.
    let mapped = match (network, network.prefix_len().checked_sub(MAPPED)) {
        (IpNet::V6(net), Some(prefix)) => {
            net.addr().to_ipv4_mapped().and_then(|addr| Ipv4Net::new(addr, prefix).ok())
        }
        _ => None,
    };
    Some(mapped.map_or(network, IpNet::V4))
}

/// Lines of a file without blank ones and comments (`#`).
///
/// # Errors
/// When there are more than [`MAX_NETWORKS`].
pub fn lines(text: &str, path: &Path) -> Result<Vec<NetworkLine>, NetworksError> {
    let (mut found, mut start) = (Vec::new(), 0);
    // `split_inclusive` keeps the ends of lines, so that spans count the bytes of the file.
    for line in text.split_inclusive('\n') {
        let said = line.split('#').next().unwrap_or_default();
        let word = said.trim_start_matches('\u{feff}').trim();
        if !word.is_empty() {
            let at = start + said.find(word).unwrap_or_default();
            found.push(NetworkLine { span: at..at + word.len(), network: network(word) });
        }
        start += line.len();
        // Within the loop: a huge file is refused before all of its lines are parsed.
        if found.len() > MAX_NETWORKS {
            return Err(NetworksError::TooMany(path.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::config::networks::*;

    #[test]
    fn lines_are_networks_but_for_comments_and_blanks() {
        let text = "\u{feff}# ours\n10.0.0.0/8\r\n\n  2001:db8::/32  # them\n192.0.2.7\nnone\n";
        let lines = lines(text, Path::new("x")).expect("few lines");
        let read: Vec<_> =
            lines.iter().map(|line| (&text[line.span.clone()], line.network.is_some())).collect();
        assert_eq!(
            read,
            [("10.0.0.0/8", true), ("2001:db8::/32", true), ("192.0.2.7", true), ("none", false)]
        );
    }

    #[test]
    fn more_lines_than_are_compared_with_are_refused() {
        let text = "10.0.0.1\n".repeat(MAX_NETWORKS);
        assert_eq!(
            lines(&text, Path::new("x")).expect("as many as there may be").len(),
            MAX_NETWORKS
        );
        assert!(matches!(
            lines(&(text + "10.0.0.2"), Path::new("x")),
            Err(NetworksError::TooMany(_))
        ));
    }

    #[test]
    fn network_of_mapped_addresses_is_that_of_ipv4() {
        for (text, same) in [
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            ("::ffff:10.1.2.3/104", Some("10.1.2.3/8")),
            ("::ffff:192.0.2.7", Some("192.0.2.7/32")),
            ("::ffff:0:0/95", Some("::ffff:0:0/95")),
            ("::/0", Some("::/0")),
            ("2001:db8::/97", Some("2001:db8::/97")),
            ("::ffff:0:0/129", None),
        ] {
            assert_eq!(network(text), same.map(|same| same.parse().expect("a network")), "{text}");
        }
    }

    #[test]
    fn networks_file_is_found_beside_configuration() {
        let file = |text| NetworkEntry::read(text, Path::new("/etc/weir"));
        assert_eq!(file("@file:a.txt"), Some(NetworkEntry::File("/etc/weir/a.txt".into())));
        assert_eq!(file("@file:/run/a.txt"), Some(NetworkEntry::File("/run/a.txt".into())));
        assert_eq!(
            file("10.1.0.1/16"),
            Some(NetworkEntry::Network("10.1.0.0/16".parse().expect("a network")))
        );
        assert_eq!(file("file:a.txt"), None);
    }
}
