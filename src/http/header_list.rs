//! Header fields of a message, as received: their order, lines, and the case of their names.
//!
//! Guarantees: no name and no value has a byte that could end its line, so what is written can be
//! read in one way only (`value_with_a_control_byte_is_refused_and_changes_nothing`). A field that
//! was not changed is written with the bytes that were received, but for the white space around its
//! value (`fields_are_written_as_received_but_for_white_space`).

use std::{fmt, ops::Range};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    framing::line,
    known_name::{KnownName, KnownNames},
};
use crate::{limit::Headers, runtime::decimal::write_number};

/// Bytes and fields that most heads of weir's own fit in.
const USUAL: (usize, usize) = (512, 12);

/// List of header fields.
#[derive(Clone, Default)]
pub struct HeaderList {
    /// Bytes of all lines. Those of a removed one stay.
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Known names of the lines.
    present: KnownNames,
}

/// Line of a field: places in the text.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
    known: Option<KnownName>,
    /// True if the text has `name: value` and CRLF, which can be written as it stands.
    is_plain: bool,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine<'a> {
    /// Name as received.
    pub name: &'a [u8],
    /// Value without the white space around it.
    pub value: &'a [u8],
    /// Name, if weir knows it.
    pub known: Option<KnownName>,
}

/// Lines of a head that is still being read.
#[derive(Debug, Default)]
pub struct LinesSoFar {
    lines: Vec<Line>,
    present: KnownNames,
}

/// A text that cannot be the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header value has a control byte")]
pub struct InvalidValue;

impl LinesSoFar {
    /// Adds the field whose line begins at `start` of the head. Returns its value, and its name if
    /// weir knows it.
    pub fn push<'a>(
        &mut self,
        start: usize,
        name: &[u8],
        value: &'a [u8],
    ) -> (Option<KnownName>, &'a [u8]) {
        let name_end = start + name.len();
        let known = KnownName::of(name);
        if let Some(known) = known {
            self.present.insert(known);
        }
        // Nearly all lines have one space before the value and none behind it.
        let is_plain = match value {
            [b' ', value] => !line::is_space(value),
            [b' ', first, .., last] => !line::is_space(first) && !line::is_space(last),
            _ => false,
        };
        let (space, value) = if is_plain {
            (1, &value[1..])
        } else {
            let space = value.iter().position(|byte| !line::is_space(byte)).unwrap_or(value.len());
            (space, line::trim(value))
        };
        let value_start = name_end + 1 + space;
        if self.lines.capacity() == 0 {
            self.lines.reserve(USUAL.1);
        }
        let value_place = value_start..value_start + value.len();
        self.lines.push(Line::new(start..name_end, value_place, known, is_plain));
        (known, value)
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true if there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Builds the list, with the bytes of the whole head.
    #[must_use]
    pub fn finish(self, head: &[u8]) -> HeaderList {
        HeaderList { text: head.to_vec(), lines: self.lines, present: self.present }
    }
}

impl Line {
    fn new(
        name: Range<usize>,
        value: Range<usize>,
        known: Option<KnownName>,
        is_plain: bool,
    ) -> Self {
        // Limits on heads are far below 4 GiB.
        let at = |position| u32::try_from(position).unwrap_or(u32::MAX);
        Self {
            name: at(name.start),
            name_end: at(name.end),
            value: at(value.start),
            value_end: at(value.end),
            known,
            is_plain,
        }
    }

    fn field<'a>(&self, text: &'a [u8]) -> FieldLine<'a> {
        FieldLine {
            name: &text[self.name as usize..self.name_end as usize],
            value: &text[self.value as usize..self.value_end as usize],
            known: self.known,
        }
    }

    /// End of the line in the text, with its CRLF, if it is plain.
    fn end(&self) -> usize {
        self.value_end as usize + 2
    }
}

impl HeaderList {
    /// Creates an empty list with room for a usual head.
    #[must_use]
    pub fn with_room() -> Self {
        let (text, lines) = (Vec::with_capacity(USUAL.0), Vec::with_capacity(USUAL.1));
        Self { text, lines, present: KnownNames::default() }
    }

    /// Copies the list, with room for further fields of a usual head.
    #[must_use]
    pub fn with_room_behind(&self) -> Self {
        let mut copy = Self { present: self.present, ..Self::with_room() };
        copy.text.extend_from_slice(&self.text);
        copy.lines.extend_from_slice(&self.lines);
        copy
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true if there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns true if it has this field.
    #[must_use]
    pub fn contains(&self, name: KnownName) -> bool {
        self.present.contains(name)
    }

    /// Returns true if it has any of these fields.
    #[must_use]
    pub fn contains_any(&self, names: KnownNames) -> bool {
        self.present.intersects(names)
    }

    /// Value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: KnownName) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Values of all fields of this name.
    pub fn get_all(&self, name: KnownName) -> impl DoubleEndedIterator<Item = &[u8]> {
        let lines = if self.present.contains(name) { &self.lines[..] } else { &[] };
        lines
            .iter()
            .filter(move |line| line.known == Some(name))
            .map(|line| line.field(&self.text).value)
    }

    /// Values of all fields of this name, in any case.
    pub fn values<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FieldLine<'_>> {
        self.lines.iter().map(|line| line.field(&self.text))
    }

    /// Adds a field.
    pub fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        let name = name.as_str().as_bytes();
        self.push(name, KnownName::of(name), value.as_bytes());
    }

    /// Sets a field to a value, in the place of those of this name.
    pub fn set(&mut self, name: KnownName, value: &HeaderValue) {
        self.set_valid(name, value.as_bytes());
    }

    /// Sets a field of any name.
    pub fn set_any(&mut self, name: &HeaderName, value: &HeaderValue) {
        match KnownName::of(name.as_str().as_bytes()) {
            Some(known) => self.set(known, value),
            None => {
                let name = name.as_str().as_bytes();
                let line = self.write_behind(name, None, value.as_bytes());
                self.put(line, |text, other| {
                    other.known.is_none() && other.field(text).name.eq_ignore_ascii_case(name)
                });
            }
        }
    }

    /// Sets a field to a constant of weir's own.
    pub fn set_static(&mut self, name: KnownName, value: &'static str) {
        self.set_valid(name, value.as_bytes());
    }

    /// Sets a field to a number.
    pub fn set_number(&mut self, name: KnownName, value: u64) {
        self.set_line(name, |text| write_number(text, value));
    }

    /// Sets a field to a text.
    ///
    /// # Errors
    /// When the text cannot be a value. The list is unchanged then.
    pub fn set_text(&mut self, name: KnownName, value: &[u8]) -> Result<(), InvalidValue> {
        self.set_parts(name, &[value])
    }

    /// Sets a field to a text that is given in parts.
    ///
    /// # Errors
    /// When the text cannot be a value. The list is unchanged then.
    pub fn set_parts(&mut self, name: KnownName, parts: &[&[u8]]) -> Result<(), InvalidValue> {
        if !parts.iter().all(|part| is_value(part)) {
            return Err(InvalidValue);
        }
        self.set_line(name, |text| parts.iter().for_each(|part| text.extend_from_slice(part)));
        Ok(())
    }

    /// Removes all fields of this name.
    pub fn remove(&mut self, name: KnownName) {
        if self.present.contains(name) {
            self.lines.retain(|line| line.known != Some(name));
            self.present.remove(name);
        }
    }

    /// Removes all fields of any name.
    pub fn remove_any(&mut self, name: &HeaderName) {
        match KnownName::of(name.as_str().as_bytes()) {
            Some(known) => self.remove(known),
            None => {
                let name = name.as_str().as_bytes();
                self.retain(|_, field| !field.name.eq_ignore_ascii_case(name));
            }
        }
    }

    /// Keeps the fields for which `keeps` is true, which gets the number of the field too.
    pub fn retain(&mut self, mut keeps: impl FnMut(usize, &FieldLine<'_>) -> bool) {
        let (text, mut present, mut index) = (&self.text, KnownNames::default(), 0);
        self.lines.retain(|line| {
            let kept = keeps(index, &line.field(text));
            index += 1;
            if let Some(known) = line.known.filter(|_| kept) {
                present.insert(known);
            }
            kept
        });
        self.present = present;
    }

    /// Writes all fields as lines.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_each(out, |_, _| true);
    }

    /// Writes the fields for which `crosses` is true, which gets the number of the field too.
    /// Neighbours are copied together.
    pub fn write_each(
        &self,
        out: &mut Vec<u8>,
        mut crosses: impl FnMut(usize, &FieldLine<'_>) -> bool,
    ) {
        let mut run = 0..0;
        for (index, line) in self.lines.iter().enumerate() {
            let field = line.field(&self.text);
            if !crosses(index, &field) {
                continue;
            }
            if line.is_plain && run.end == line.name as usize {
                run.end = line.end();
                continue;
            }
            out.extend_from_slice(&self.text[run]);
            run = 0..0;
            if line.is_plain {
                run = line.name as usize..line.end();
            } else {
                write_line(out, field.name, field.value);
            }
        }
        out.extend_from_slice(&self.text[run]);
    }

    /// Copies the fields into the form that other crates take. Names are in lower case there.
    ///
    /// A field that they cannot express is left out; no head that was accepted has one.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.lines.len());
        for field in self.iter() {
            let name = HeaderName::from_bytes(field.name);
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) else {
                tracing::error!(name = %field.name.escape_ascii(), "invalid header; left out");
                continue;
            };
            if map.try_append(name, value).is_err() {
                tracing::error!("too many headers; the rest is left out");
                break;
            }
        }
        map
    }

    /// Adds a field of another list.
    pub fn append_line(&mut self, field: &FieldLine<'_>) {
        self.push(field.name, field.known, field.value);
    }

    /// Sets a field to a value that is made of other values.
    pub(crate) fn set_valid(&mut self, name: KnownName, value: &[u8]) {
        self.set_line(name, |text| text.extend_from_slice(value));
    }

    /// Adds a field whose value is made of other values.
    pub(super) fn append_valid(&mut self, name: KnownName, value: &[u8]) {
        debug_assert!(is_value(value));
        self.push(name.text().as_bytes(), Some(name), value);
    }

    /// Adds a field behind all others.
    fn push(&mut self, name: &[u8], known: Option<KnownName>, value: &[u8]) {
        let line = self.write_behind(name, known, value);
        self.lines.push(line);
    }

    /// Writes a line behind the text, without adding it to the lines.
    fn write_behind(&mut self, name: &[u8], known: Option<KnownName>, value: &[u8]) -> Line {
        let start = self.text.len();
        write_line(&mut self.text, name, value);
        if let Some(known) = known {
            self.present.insert(known);
        }
        let name_end = start + name.len();
        Line::new(start..name_end, name_end + 2..name_end + 2 + value.len(), known, true)
    }

    /// Sets a field whose name weir knows to the value that `write` appends, which has no control
    /// byte.
    fn set_line(&mut self, name: KnownName, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        self.text.extend_from_slice(name.line_start().as_bytes());
        let value = self.text.len();
        write(&mut self.text);
        let end = self.text.len();
        debug_assert!(is_value(&self.text[value..end]));
        self.text.extend_from_slice(b"\r\n");
        let line = Line::new(start..value - 2, value..end, Some(name), true);
        if self.present.contains(name) {
            self.put(line, |_, other| other.known == Some(name));
        } else {
            self.present.insert(name);
            self.lines.push(line);
        }
    }

    /// Puts a line in the place of the first for which `is_it` is true, without the others.
    fn put(&mut self, line: Line, is_it: impl Fn(&[u8], &Line) -> bool) {
        let Some(first) = self.lines.iter().position(|other| is_it(&self.text, other)) else {
            return self.lines.push(line);
        };
        let (text, mut index) = (&self.text, 0);
        self.lines.retain(|other| {
            index += 1;
            index <= first + 1 || !is_it(text, other)
        });
        self.lines[first] = line;
    }
}

impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_map()
            .entries(self.iter().map(|field| (text(field.name), text(field.value))))
            .finish()
    }
}

impl Headers for HeaderList {
    fn each<'a>(&'a self, name: &HeaderName, see: &mut dyn FnMut(&'a [u8])) {
        match KnownName::of(name.as_str().as_bytes()) {
            Some(known) => self.get_all(known).for_each(see),
            None => self.values(name.as_str()).for_each(see),
        }
    }
}

impl From<&HeaderMap> for HeaderList {
    fn from(map: &HeaderMap) -> Self {
        let mut list = Self { lines: Vec::with_capacity(map.len()), ..Self::default() };
        for (name, value) in map {
            let name = name.as_str().as_bytes();
            list.push(name, KnownName::of(name), line::trim(value.as_bytes()));
        }
        list
    }
}

/// Writes the line of a field whose name weir knows.
pub(super) fn write_known_line(out: &mut Vec<u8>, name: KnownName, value: &[u8]) {
    let start = name.line_start().as_bytes();
    out.reserve(start.len() + value.len() + 2);
    out.extend_from_slice(start);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the line of a field.
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Returns true if a text can be a value: it has no control byte but tabs.
fn is_value(text: &[u8]) -> bool {
    // Without an early end, so that many bytes are looked at together.
    !text.iter().fold(false, |found, byte| found | (byte.is_ascii_control() && *byte != b'\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::http::header_list::*;

    fn read(head: &[u8]) -> HeaderList {
        let (mut lines, mut start) = (LinesSoFar::default(), 0);
        while let Some(length) = line::end(&head[start..]).expect("lines") {
            let (name, value) = line::field(&head[start..start + length]).expect("a field");
            lines.push(start, name, value);
            start += length + 2;
        }
        lines.finish(head)
    }

    fn written(list: &HeaderList) -> String {
        let mut out = Vec::new();
        list.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn fields_are_written_as_received_but_for_white_space() {
        let text = "Host: a\r\nX-A: 1\r\nx-a:2\r\nX-B: \t 3 \r\nX-C:\r\nVia: 4\r\n";
        let list = read(text.as_bytes());
        assert_eq!(written(&list), "Host: a\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3\r\nX-C: \r\nVia: 4\r\n");
        assert_eq!(list.get(KnownName::Host), Some(&b"a"[..]));
        assert_eq!(list.get(KnownName::Te), None);
        assert_eq!(list.values("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(format!("{:?}", read(b"A: b\r\n")), r#"{"A": "b"}"#);
    }

    /// Some servers of HTTP/2 send white space, which would not belong to the value in HTTP/1.1.
    #[test]
    fn value_from_a_map_loses_surrounding_space() {
        let map = HeaderMap::from_iter([
            (http::header::ETAG, HeaderValue::from_static(" \t\"a\" ")),
            (http::header::AGE, HeaderValue::from_static("")),
        ]);
        assert_eq!(written(&HeaderList::from(&map)), "etag: \"a\"\r\nage: \r\n");
    }

    #[test]
    fn field_is_set_in_its_place_and_once() {
        let mut list = read(b"via: 1\r\nDate: 2\r\nVia: 3\r\n");
        list.set_static(KnownName::Via, "4");
        list.set_number(KnownName::RetryAfter, 5);
        assert_eq!(written(&list), "via: 4\r\nDate: 2\r\nretry-after: 5\r\n");
        list.set_any(&"x".parse().expect("a name"), &HeaderValue::from_static("6"));
        list.set_any(&"x".parse().expect("a name"), &HeaderValue::from_static("7"));
        list.remove(KnownName::Date);
        assert_eq!(written(&list), "via: 4\r\nretry-after: 5\r\nx: 7\r\n");
        assert!(!list.contains(KnownName::Date) && list.contains(KnownName::Via));
    }

    #[test]
    fn value_with_a_control_byte_is_refused_and_changes_nothing() {
        let mut list = read(b"location: /\r\n");
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\0", b"\x7f"] {
            assert_eq!(list.set_text(KnownName::Location, value), Err(InvalidValue));
        }
        assert_eq!(written(&list), "location: /\r\n");
        assert_eq!(list.set_text(KnownName::Location, b"a\tb\xe9"), Ok(()));
        assert_eq!(list.get(KnownName::Location), Some(&b"a\tb\xe9"[..]));
    }

    /// Change of a list, made to a plain one too.
    #[derive(Clone, Debug)]
    enum Change {
        Set(usize, u8),
        Remove(usize),
        Append(usize, u8),
        Keep(u8),
    }

    const NAMES: [&str; 5] = ["host", "via", "x-a", "x-ab", "date"];

    fn change() -> impl Strategy<Value = Change> {
        let name = 0..NAMES.len();
        prop_oneof![
            (name.clone(), any::<u8>()).prop_map(|(name, value)| Change::Set(name, value)),
            name.clone().prop_map(Change::Remove),
            (name, any::<u8>()).prop_map(|(name, value)| Change::Append(name, value)),
            any::<u8>().prop_map(Change::Keep),
        ]
    }

    proptest! {
        #[test]
        fn list_is_what_a_list_of_pairs_would_be(changes in proptest::collection::vec(change(), 0..30)) {
            let mut list = read(b"Host: a\r\nx-a:1\r\nVIA: 2\r\nX-A: 3\r\n");
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let mut pairs =
                vec![pair("Host", "a"), pair("x-a", "1"), pair("VIA", "2"), pair("X-A", "3")];
            for change in changes {
                match change {
                    Change::Set(name, value) => {
                        let (name, value) = (NAMES[name], value.to_string());
                        list.set_any(&name.parse().expect("a name"), &value.parse().expect("a value"));
                        let is_it = |pair: &(String, String)| pair.0.eq_ignore_ascii_case(name);
                        let first = pairs.iter().position(is_it);
                        let at = first.unwrap_or(pairs.len());
                        pairs.retain(|pair| !is_it(pair));
                        pairs.insert(at, pair(name, &value));
                    }
                    Change::Remove(name) => {
                        list.remove_any(&NAMES[name].parse().expect("a name"));
                        pairs.retain(|pair| !pair.0.eq_ignore_ascii_case(NAMES[name]));
                    }
                    Change::Append(name, value) => {
                        let (name, value) = (NAMES[name], value.to_string());
                        list.append(&name.parse().expect("a name"), &value.parse().expect("a value"));
                        pairs.push(pair(name, &value));
                    }
                    Change::Keep(mask) => {
                        list.retain(|index, _| mask >> (index % 8) & 1 == 1);
                        let mut index = 0;
                        pairs.retain(|_| {
                            index += 1;
                            mask >> ((index - 1) % 8) & 1 == 1
                        });
                    }
                }
                let expected: String =
                    pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                prop_assert_eq!(written(&list), expected);
                for name in NAMES {
                    let there = pairs.iter().any(|pair| pair.0.eq_ignore_ascii_case(name));
                    if let Some(known) = KnownName::of(name.as_bytes()) {
                        prop_assert_eq!(list.contains(known), there);
                        prop_assert_eq!(list.get(known).is_some(), there);
                    }
                    prop_assert_eq!(list.values(name).next().is_some(), there);
                }
                prop_assert_eq!(list.len(), pairs.len());
            }
        }
    }
}
