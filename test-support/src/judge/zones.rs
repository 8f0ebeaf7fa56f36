//! What must hold of any key of a zone, and of any bytes where a state should be. Beside
//! `judge.rs`, for fewer need it.

use std::{
    hash::Hasher,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, header, uri::PathAndQuery};
use siphasher::sip::SipHasher13;
use weir::{
    limit::{Key, Millis, Part, Seed, Subject, Unkeyed, ZoneSettings},
    process::state::SavedState,
};

const SEED: Seed = Seed([7, 11]);

/// A part, a query, and lines of cookies: what is counted by is what a parser of another hand
/// finds; it may be missing, or there with several values.
pub fn key(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| str::from_utf8(line).ok());
    let (Some(part), Some(query)) = (text(), text()) else { return };
    // No request gets this far with another one.
    let sendable = query.bytes().all(|byte| byte.is_ascii_graphic())
        && format!("/?{query}").parse::<PathAndQuery>().is_ok();
    let (Ok(part), true) = (part.parse::<Part>(), sendable) else { return };
    assert_eq!(part.to_string().parse::<Part>().as_ref(), Ok(&part));
    let cookies: Vec<HeaderValue> =
        lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let found = match &part {
        Part::Cookie(name) => {
            let lines = cookies.iter().map(HeaderValue::as_bytes);
            all(lines, b';', name).iter().map(|value| without_space(value)).collect()
        }
        Part::Query(name) => all([query.as_bytes()].into_iter(), b'&', name),
        _ => return,
    };
    let mut headers = HeaderMap::new();
    for line in &cookies {
        headers.append(header::COOKIE, line.clone());
    }
    let seen = fingerprint(part, &headers, Some(query));
    if found.iter().any(|value| *value != found[0]) {
        return assert_eq!(seen, Err(Unkeyed::Repeated));
    }
    // Which part a value is of does not show in a fingerprint. Every byte is spelled here.
    let spelled = |value: &Vec<u8>| form(value).iter().map(|byte| format!("%{byte:02X}")).collect();
    let value: String = found.first().map(spelled).unwrap_or_default();
    let alone = format!("x={value}");
    let other: Part = "query:x".parse().expect("a part");
    assert_eq!(seen, fingerprint(other, &HeaderMap::new(), Some(&alone)), "{alone}");
}

/// Without the white space around it, also that of Latin-1.
fn without_space(value: &[u8]) -> Vec<u8> {
    let text: String = value.iter().map(|byte| char::from(*byte)).collect();
    let trimmed = text.trim_matches([' ', '\t', '\u{85}', '\u{a0}']);
    trimmed.chars().map(|letter| u32::from(letter) as u8).collect()
}

fn fingerprint(part: Part, headers: &HeaderMap, query: Option<&str>) -> Result<u64, Unkeyed> {
    let client = IpAddr::from(Ipv4Addr::LOCALHOST);
    let subject = Subject { query, ..Subject::of(client, &Method::GET, headers) };
    Key::of(vec![part]).fingerprint(SEED, &subject)
}

/// The values, as sent, of the pairs that are called `name`.
fn all<'a>(lines: impl Iterator<Item = &'a [u8]>, between: u8, name: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for line in lines {
        let mut pair = Vec::new();
        for byte in line.iter().chain([&between]) {
            if *byte != between {
                pair.push(*byte);
                continue;
            }
            let blank = |byte: &u8| between == b';' && matches!(byte, b' ' | b'\t');
            let begin = pair.iter().take_while(|byte| blank(byte)).count();
            let end =
                pair.len() - pair[begin..].iter().rev().take_while(|byte| blank(byte)).count();
            let whole = &pair[begin..end];
            if let Some(equals) = whole.iter().position(|byte| *byte == b'=') {
                let (named, value) =
                    (whole[..equals].trim_ascii_end(), whole[equals + 1..].trim_ascii_start());
                match between {
                    b'&' if form(&whole[..equals]) == form(name.as_bytes()) => {
                        found.push(whole[equals + 1..].to_vec());
                    }
                    b';' if named == name.as_bytes() => found.push(unquoted(value).to_vec()),
                    _ => {}
                }
            }
            pair.clear();
        }
    }
    found
}

fn unquoted(value: &[u8]) -> &[u8] {
    let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    if quoted { &value[1..value.len() - 1] } else { value }
}

/// A text of a form, decoded.
fn form(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::new(), text);
    loop {
        let hex = |digits: &[u8]| {
            digits
                .iter()
                .all(u8::is_ascii_hexdigit)
                .then(|| String::from_utf8_lossy(digits).into_owned())
        };
        match rest {
            [] => return decoded,
            [b'%', high, low, ..] if hex(&[*high, *low]).is_some() => {
                let digits = hex(&[*high, *low]).unwrap_or_default();
                decoded.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                rest = &rest[3..];
            }
            [first, ..] => {
                decoded.push(if *first == b'+' { b' ' } else { *first });
                rest = &rest[1..];
            }
        }
    }
}

/// What follows the first eight bytes of a state, under a sum that is right: it is a state that is
/// written with the same bytes, or damaged; zones that remember it owe no more than it says.
pub fn state(bytes: &[u8]) {
    let _ = SavedState::decode(bytes);
    let mut sealed = [b"weirst02", bytes].concat();
    let mut sum = SipHasher13::new();
    sum.write(&sealed);
    sealed.extend(sum.finish().to_le_bytes());
    let Ok(mut state) = SavedState::decode(&sealed) else { return };
    assert_eq!(state.encode(), sealed);
    let rate = "1000r/s".parse().expect("a rate");
    let key = Key::of(vec![Part::ClientIp]);
    let of = |name: &_| ZoneSettings {
        name: std::sync::Arc::clone(name),
        key: key.clone(),
        rate,
        capacity: 1000,
        exempt: Vec::new(),
    };
    let settings: Vec<ZoneSettings> =
        state.zones.iter().take(4).map(|zone| of(&zone.zone)).collect();
    let wall = UNIX_EPOCH + Duration::from_millis(state.taken_ms.min(1 << 45));
    remembered(&state, &settings, wall);
    // What is counted by another key is not remembered at all: once more as if all were counted by
    // this one.
    for zone in &mut state.zones {
        zone.key = key.digest();
    }
    remembered(&state, &settings, wall);
}

fn remembered(state: &SavedState, settings: &[ZoneSettings], wall: SystemTime) {
    let now = Millis(1_000_000);
    let zones = state.clone().revive(settings, now, wall);
    assert_eq!(zones.len(), settings.len());
    for snapshot in SavedState::take(&zones, now, wall).zones {
        let was = |fingerprint| {
            let same = state
                .zones
                .iter()
                .filter(|zone| zone.zone == snapshot.zone)
                .flat_map(|zone| &zone.debts);
            same.filter(move |(key, _)| *key == fingerprint).map(|(_, debt)| *debt).max()
        };
        for (fingerprint, debt) in snapshot.debts {
            // A tick of a thousand a second is a millisecond, and a debt is rounded up to one.
            let told =
                was(fingerprint).map(|was| was.div_ceil(1_000_000).saturating_mul(1_000_000));
            assert!(told.is_some_and(|told| debt <= told), "{fingerprint} owes {debt}, {told:?}");
        }
    }
}
