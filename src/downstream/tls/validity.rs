//! Validity of a certificate, read from its DER (RFC 5280, section 4.1). The TLS library checks it
//! for the certificate of a peer, but does not report it for our own.

use std::time::SystemTime;

use jiff::{civil::DateTime, tz::TimeZone};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns the end of the validity; none if the bytes are not a certificate.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = expect(SEQUENCE, der)?;
    let (body, _) = expect(SEQUENCE, certificate)?;
    // An optional version, then serial number, signature algorithm and issuer.
    let mut rest = body;
    // The version is absent for version 1, because DER leaves defaults out.
    let others = if element(body)?.0 == VERSION { 4 } else { 3 };
    for _ in 0..others {
        rest = element(rest)?.2;
    }
    let (validity, _) = expect(SEQUENCE, rest)?;
    let (tag, text, _) = element(element(validity)?.2)?;
    time(tag, str::from_utf8(text).ok()?)
}

fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let (year, rest) = match tag {
        UTC_TIME => {
            // Two digits of a year mean 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
            let year: i16 = number(text, 0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (number(text, 0, 4)?, text.get(4..)?),
        _ => return None,
    };
    let part = |from| number::<i8>(rest, from, 2);
    let at = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

fn number<T: std::str::FromStr>(text: &str, from: usize, digits: usize) -> Option<T> {
    text.get(from..from + digits)?.parse().ok()
}

fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// Returns tag and content of the first element, and the rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Longer lengths exceed any file. `0x80` has no length, which DER does not allow.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use crate::downstream::tls::validity::*;

    fn seconds(year: i32) -> Option<Duration> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 2, 3);
        let certificate =
            params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        not_after(certificate.der()).map(|at| at.duration_since(UNIX_EPOCH).expect("after 1970"))
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        assert_eq!(seconds(2031), Some(Duration::from_secs(1_927_843_200)));
        assert_eq!(seconds(2070), Some(Duration::from_secs(3_158_611_200)));
    }

    #[test]
    fn validity_of_invalid_certificate_is_none() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x02, 0x30, 0x00],
            &[0x30, 0x80],
        ] {
            assert_eq!(not_after(der), None, "{der:?}");
        }
    }
}
