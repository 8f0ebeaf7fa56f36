//! Choice of the response coding (RFC 9110, section 12.5.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{header_list::HeaderList, known_name::KnownName};

/// Coding of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    // RFC 8878, within the window that RFC 9659 allows.
    /// Zstandard.
    Zstd,
    // RFC 7932.
    /// Brotli.
    #[serde(rename = "br")]
    Brotli,
    // RFC 1952.
    /// gzip.
    Gzip,
}

/// Weights are in thousandths: a weight has at most three digits.
type Weight = u16;

/// Codings that a client accepts. If a coding is listed twice the smaller weight counts, so a
/// refused coding is never sent.
#[derive(Debug, Default)]
struct Accepted {
    /// Weights of [`Coding::ALL`].
    listed: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    /// Weight of `*`: all codings that are not listed.
    other: Option<Weight>,
}

impl Coding {
    /// Every coding; a test compares it with the schema, which is made of the enum.
    pub const ALL: &[Self] = &[Self::Zstd, Self::Brotli, Self::Gzip];

    /// Name in `Content-Encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// Names in `Accept-Encoding`, that of `Content-Encoding` first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Zstd => &["zstd"],
            Self::Brotli => &["br"],
            Self::Gzip => &["gzip", "x-gzip"],
        }
    }

    fn has_name(self, name: &[u8]) -> bool {
        self.names().iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    }
}

/// Chooses the coding of `offered` with the greatest weight, of equals the first; none if the
/// client prefers the identity.
///
/// A client without `Accept-Encoding` gets none: often it cannot decode.
#[must_use]
pub fn choose(offered: &[Coding], headers: &HeaderList) -> Option<Coding> {
    let accepted = Accepted::read(headers);
    let identity = accepted.identity.or(accepted.other).unwrap_or(0);
    let mut best = None;
    for coding in offered {
        // `*` stands only for codings that are not listed, so a listed weight of zero refuses.
        let weight = accepted.weight_of(*coding).or(accepted.other).unwrap_or(0);
        // Strictly greater: of equal weights the first offered coding wins.
        if weight > 0 && weight >= identity && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, *coding));
        }
    }
    best.map(|(_, coding)| coding)
}

impl Accepted {
    fn read(headers: &HeaderList) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(KnownName::AcceptEncoding);
        for (name, weight) in
            lines.flat_map(|line| line.split(|byte| *byte == b',')).filter_map(element)
        {
            if let Some(known) = accepted.of(name) {
                *known = Some(known.map_or(weight, |before| before.min(weight)));
            }
        }
        accepted
    }

    fn of(&mut self, name: &[u8]) -> Option<&mut Option<Weight>> {
        if name == b"*" {
            return Some(&mut self.other);
        }
        if name.eq_ignore_ascii_case(b"identity") {
            return Some(&mut self.identity);
        }
        let mut known = Coding::ALL.iter().zip(&mut self.listed);
        known.find(|(coding, _)| coding.has_name(name)).map(|(_, weight)| weight)
    }

    /// Weight of a coding that is listed by its name.
    fn weight_of(&self, coding: Coding) -> Option<Weight> {
        let mut known = Coding::ALL.iter().zip(self.listed);
        known.find(|(other, _)| **other == coding).and_then(|(_, weight)| weight)
    }
}

/// Name and weight of an element; none for an invalid one.
fn element(text: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.next().map_or(Some(1000), weight);
    // Further parameters are not defined, so such an element is ignored.
    weight.filter(|_| parts.next().is_none()).map(|weight| (name, weight))
}

/// `q=0.5` (RFC 9110, section 12.4.2).
fn weight(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), fraction @ ..] = parameter else { return None };
    let digits = match fraction {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut weight = Weight::from(*whole - b'0') * 1000;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        weight += Weight::from(char::from(*digit).to_digit(10)? as u8) * worth;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::header;

    use crate::compress::negotiate::*;

    const ALL: &[Coding] = &[Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn chosen(offered: &[Coding], lines: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderList::default();
        for line in lines {
            headers.append(&header::ACCEPT_ENCODING, &line.parse().expect("a value"));
        }
        choose(offered, &headers).map(Coding::name)
    }

    #[test]
    fn coding_with_greatest_weight_wins_then_first_offered() {
        for (lines, expected) in [
            (&["gzip, br, zstd"][..], Some("zstd")),
            (&["gzip", "br"], Some("br")),
            (&["gzip;q=1.0, br;q=0.9, zstd;q=0.899"], Some("gzip")),
            (&["gzip;q=0.001"], Some("gzip")),
            (&["X-GZIP ; Q=0.5"], Some("gzip")),
            (&["*"], Some("zstd")),
            (&["zstd;q=0, *;q=0.5"], Some("br")),
            (&["deflate, compress"], None),
            (&[""], None),
            (&[], None),
            (&["*;q=0"], None),
            (&["gzip;q=0"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["*, gzip;q=0.5"], Some("zstd")),
            (&["identity, gzip"], Some("gzip")),
            (&["identity;q=0, gzip;q=0.1"], Some("gzip")),
            (&["identity;q=0"], None),
            (&["gzip, gzip;q=0"], None),
        ] {
            assert_eq!(chosen(ALL, lines), expected, "{lines:?}");
        }
        assert_eq!(chosen(&[Coding::Gzip], &["br, *;q=0.1, gzip;q=0.05"]), None);
        assert_eq!(chosen(&[Coding::Gzip, Coding::Zstd], &["zstd, gzip"]), Some("gzip"));
        assert_eq!(chosen(&[], &["gzip"]), None);
    }

    /// The schema is derived from the enum, so it has every coding, also one that `ALL` lacks.
    #[test]
    fn all_has_every_coding_under_its_name() {
        let schema = schemars::schema_for!(Coding).to_value();
        let variants = schema["oneOf"].as_array().expect("a list of codings");
        let words: Vec<_> = variants.iter().filter_map(|one| one["const"].as_str()).collect();
        let names: Vec<_> = Coding::ALL.iter().map(|coding| coding.name()).collect();
        assert_eq!(words, names);
    }

    #[test]
    fn accept_invalid_weight_is_ignored() {
        for line in [
            "gzip;q=",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.0001",
            "gzip;q=.5",
            "gzip;x=1",
            "gzip;q=1;a=b",
            "gzip q=1",
        ] {
            assert_eq!(chosen(ALL, &[line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn coding_chosen_is_offered_accepted_and_preferred(
            offered in proptest::sample::subsequence(Coding::ALL.to_vec(), 0..=Coding::ALL.len()).prop_shuffle(),
            weights in proptest::collection::vec(proptest::option::of(0_u16..=1000), Coding::ALL.len() + 2),
            split in any::<bool>(),
        ) {
            let codings = Coding::ALL.iter().map(|coding| coding.name());
            let names: Vec<_> = codings.chain(["identity", "*"]).collect();
            let said = names.iter().zip(&weights);
            let said: Vec<String> = said
                .filter_map(|(name, weight)| weight.map(|weight| format!("{name};q={}.{:03}", weight / 1000, weight % 1000)))
                .collect();
            let joined = said.join(" , ");
            let lines: Vec<&str> = if split { said.iter().map(String::as_str).collect() } else { vec![joined.as_str()] };
            let weight = |name: &str| weights[names.iter().position(|known| *known == name).expect("a name")];
            let preference = |name: &str| weight(name).or(weight("*")).unwrap_or(0);
            let most = offered.iter().map(|coding| preference(coding.name())).max().unwrap_or(0);
            let expected = offered.iter().find(|coding| preference(coding.name()) == most);
            let expected = expected.filter(|_| most > 0 && most >= preference("identity"));
            let expected = expected.map(|coding| coding.name());
            prop_assert_eq!(chosen(&offered, &lines), expected);
        }

        #[test]
        fn no_text_at_all_makes_it_panic(text in "[ -~]{0,60}") {
            let _ = chosen(Coding::ALL, &[&text]);
        }
    }
}
