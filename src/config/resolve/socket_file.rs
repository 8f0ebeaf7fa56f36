//! Mode and owner of the file of a Unix socket.

use std::{fs, path::Path};

use super::{collector::Collector, location::Location};
use crate::{
    config::schema::LongListener,
    downstream::{
        listen_address::ListenAddress,
        settings::{FileOwner, SocketFileSettings},
    },
    runtime::hint::{HintedError, hinted},
};

/// Resolves the permissions of a listener's file.
pub fn permissions(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    address: &ListenAddress,
    listener: &LongListener,
) -> SocketFileSettings {
    let mut settings = SocketFileSettings::default();
    let written = [("mode", listener.mode.is_some()), ("owner", listener.owner.is_some())];
    for (key, _) in written.into_iter().filter(|(_, is_written)| *is_written) {
        if !matches!(address, ListenAddress::Unix(_)) {
            let hint = "write it on a listener of `unix:/path`";
            let message = format!("`{key}` on a listener without a socket file");
            judge.refuse(spot.key(key), hinted(message, hint));
        }
    }
    // Checked on other listeners too, so that all mistakes are reported in one run.
    if let Some(text) = &listener.mode {
        settings.mode = judge.take(spot.key("mode"), mode(text)).unwrap_or(settings.mode);
    }
    if let Some(text) = &listener.owner {
        settings.owner = judge.take(spot.key("owner"), owner(text)).unwrap_or_default();
    }
    settings
}

/// Parses a mode in octal digits, of reading and writing: nothing else has a meaning for a socket.
fn mode(text: &str) -> Result<u32, HintedError> {
    let wrong = || {
        let hint = "write three octal digits of 0, 2, 4 or 6 in quotes, like \"660\"";
        hinted(format!("`{text}` is not the mode of a socket"), hint)
    };
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let is_mode = digits.len() == 3 && digits.bytes().all(|digit| b"0246".contains(&digit));
    u32::from_str_radix(digits, 8).ok().filter(|_| is_mode).ok_or_else(wrong)
}

/// Parses `user`, `user:group` or `:group`, each a name or a number.
fn owner(text: &str) -> Result<FileOwner, HintedError> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let find = |file: &str, what: &str, name: &str| {
        if name.is_empty() {
            return Ok(None);
        }
        // 4294967295 is no number of a user: `chown(2)` takes it for none.
        let number = name.parse().ok().filter(|number| *number != u32::MAX);
        let found = number.or_else(|| number_of(Path::new(file), name));
        let hint = "write `user:group`, by name or by number";
        found.map(Some).ok_or_else(|| hinted(format!("there is no {what} `{name}`"), hint))
    };
    if user.is_empty() && group.is_empty() {
        return Err(hinted("an empty owner", "write `user:group`, by name or by number"));
    }
    Ok(FileOwner {
        user: find("/etc/passwd", "user", user)?,
        group: find("/etc/group", "group", group)?,
    })
}

/// Number of a name in a file of users or groups (`passwd(5)`, `group(5)`): its third field.
fn number_of(file: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::config::resolve::socket_file::*;

    #[test]
    fn socket_mode_is_octal_without_execution() {
        assert_eq!(mode("660").ok(), Some(0o660));
        assert_eq!(mode("0666").ok(), Some(0o666));
        for text in ["", "66", "777", "1660", "0o660", "432", "668", "+66", "00660"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn socket_owner_is_a_name_or_a_number() {
        let of = |user, group| FileOwner { user, group };
        assert_eq!(owner("root:root").ok(), Some(of(Some(0), Some(0))));
        assert_eq!(owner("1000").ok(), Some(of(Some(1000), None)));
        assert_eq!(owner(":33").ok(), Some(of(None, Some(33))));
        for text in ["", ":", "no-such-user", "root:no-such-group", "4294967295", "1:2:3"] {
            assert!(owner(text).is_err(), "{text}");
        }
    }
}
