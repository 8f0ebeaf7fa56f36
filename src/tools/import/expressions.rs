//! Expressions of nginx as weir's: Perl's language in linear time, and on the normal form of paths.
//!
//! nginx matches the decoded path. In the normal form of weir a byte that is not a printable sign is
//! `%XX`, so a space of an expression becomes `%20`.
//!
//! Guarantee: the expression takes each path that nginx's takes, and no other unless a fault says
//! why (`expression_takes_the_paths_of_nginx`). What weir cannot say is left out where that only
//! makes it wider, like a look-ahead; else it takes every path.

use std::fmt::Write as _;

use super::byte_sets::{none_of, octets, only, perl, posix, range, ranges};

/// Expression that takes every path.
pub const EVERY_PATH: &str = "^/";
/// Signs that mean something outside of classes.
const SIGNS: &str = ".^$*+?()[]{}|\\";

/// Expression on the normal form of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathExpression {
    /// Text, as weir's file has it.
    pub text: String,
    /// Reason why it may take more paths than nginx's.
    pub fault: Option<String>,
}

/// Translates an expression of nginx on paths.
#[must_use]
pub fn path_expression(text: &str, ignores_case: bool) -> PathExpression {
    let mut reader = ExpressionReader::of(text, true);
    let whole = reader.read();
    let body = match whole {
        Some(()) if !reader.out.is_empty() => reader.out,
        // Nothing would be left, or nothing narrower is known.
        _ => EVERY_PATH.to_owned(),
    };
    // A flag on an expression that every path has would only be in the way.
    let flag = if ignores_case && body != EVERY_PATH { "(?i)" } else { "" };
    PathExpression { text: format!("{flag}{body}"), fault: reader.fault }
}

/// Translates an expression of nginx on values of fields, which weir compares as received.
///
/// # Errors
/// The reason why weir has no such expression.
pub fn value_expression(text: &str) -> Result<String, String> {
    let mut reader = ExpressionReader::of(text, false);
    match (reader.read(), reader.fault) {
        (Some(()), None) => Ok(reader.out),
        (_, fault) => Err(fault.unwrap_or_default()),
    }
}

/// Path as an expression that takes it alone where nothing else is written.
#[must_use]
pub fn escaped(path: &str) -> String {
    escaped_as(path, true)
}

/// Value as an expression.
#[must_use]
pub fn escaped_value(value: &str) -> String {
    escaped_as(value, false)
}

fn escaped_as(text: &str, is_path: bool) -> String {
    let mut reader = ExpressionReader::of("", is_path);
    text.chars().for_each(|letter| reader.literal(letter));
    reader.out
}

/// Reader of an expression. Its steps return none where nothing narrower than every path is known.
struct ExpressionReader<'t> {
    rest: &'t str,
    out: String,
    fault: Option<String>,
    is_path: bool,
}

impl<'t> ExpressionReader<'t> {
    fn of(rest: &'t str, is_path: bool) -> Self {
        Self { rest, out: String::new(), fault: None, is_path }
    }

    /// Returns true for a byte that stands as `%XX` in the normal form of a path.
    fn is_encoded(&self, byte: u8) -> bool {
        self.is_path && (!byte.is_ascii_graphic() || b"%?#\\".contains(&byte))
    }

    /// Returns true for the sign at which the normal form cuts a segment.
    fn is_cut(&self, letter: char) -> bool {
        self.is_path && letter == ';'
    }
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Notes that the result takes more.
    fn wider(&mut self, what: &str) {
        // The first reason is enough: the route is closed with it.
        self.fault.get_or_insert_with(|| format!("weir's expressions have no {what}"));
    }

    fn every<T>(&mut self, what: &str) -> Option<T> {
        self.wider(what);
        None
    }

    fn read(&mut self) -> Option<()> {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.out.push(letter);
                    self.greed();
                }
                '{' => self.repetition(),
                // Signs in Perl where nothing is open, and errors in Rust.
                '}' | ']' => self.out.extend(['\\', letter]),
                '^' | '$' | '.' | '|' | ')' => self.out.push(letter),
                letter if self.is_cut(letter) => return self.every("`;`: a path ends at it"),
                letter => self.literal(letter),
            }
        }
        Some(())
    }

    /// Sign behind a repetition: lazy, or possessive, which only makes it match less.
    fn greed(&mut self) {
        if self.take("?") {
            self.out.push('?');
        } else if self.take("+") {
            self.wider("possessive repetition");
        }
    }

    /// `{2}`, `{2,}` or `{2,3}`; any other brace is a sign.
    fn repetition(&mut self) {
        let end = self.rest.find('}');
        let inside = end.map_or("", |end| &self.rest[..end]);
        // `{,3}` is text in PCRE before 10.43, and nginx is built with older ones.
        let is_count = inside.starts_with(|letter: char| letter.is_ascii_digit())
            && inside.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
            && inside.matches(',').count() <= 1;
        if !is_count {
            return self.out.push_str("\\{");
        }
        let _written = write!(self.out, "{{{inside}}}");
        self.rest = &self.rest[inside.len() + 1..];
        self.greed();
    }

    fn is_repeated(&self) -> bool {
        self.rest.starts_with(['*', '+', '?', '{'])
    }

    /// Writes a letter that stands for itself.
    fn literal(&mut self, letter: char) {
        let mut bytes = [0; 4];
        let bytes = letter.encode_utf8(&mut bytes).as_bytes();
        // What is repeated is the last byte.
        let is_repeated = self.is_repeated();
        for (index, byte) in bytes.iter().enumerate() {
            self.byte(*byte, is_repeated && index + 1 == bytes.len());
        }
    }

    fn byte(&mut self, byte: u8, is_repeated: bool) {
        let _written = match byte {
            byte if self.is_encoded(byte) && is_repeated => {
                write!(self.out, "(?:%{byte:02X})")
            }
            byte if self.is_encoded(byte) => write!(self.out, "%{byte:02X}"),
            byte if SIGNS.contains(char::from(byte)) => write!(self.out, "\\{}", char::from(byte)),
            byte if byte.is_ascii() => write!(self.out, "{}", char::from(byte)),
            byte => write!(self.out, "\\x{byte:02X}"),
        };
    }

    fn escape(&mut self) -> Option<()> {
        let Some(letter) = self.next() else { return self.every("`\\` at an end") };
        match letter {
            'd' | 'w' | 'A' | 'z' => self.out.extend(['\\', letter]),
            'D' | 'W' | 's' | 'S' | 'h' => {
                let set = perl(letter).unwrap_or([false; 256]);
                self.set(&set);
            }
            // A path has no newline at its end, so both mean the end.
            'Z' => self.out.push('$'),
            'b' => {
                // Before a word the sign may follow an octet, whose last sign is of a word here.
                if self.rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_') {
                    self.wider("`\\b` beside octets");
                } else {
                    self.out.push_str("\\b");
                }
            }
            'B' | 'G' => self.wider("`\\B` and `\\G`"),
            // It moves the beginning of what is matched, and not what matches.
            'K' => {}
            'Q' => {
                let end = self.rest.find("\\E").unwrap_or(self.rest.len());
                let (plain, behind) = self.rest.split_at(end);
                self.rest = behind;
                self.out += &escaped(plain);
                self.take("\\E");
            }
            '1'..='9' | 'k' | 'g' => return self.every("back-references"),
            letter => match self.control(letter) {
                Some(byte) => self.byte(byte, self.is_repeated()),
                None if letter.is_ascii_alphanumeric() => {
                    return self.every(&format!("`\\{letter}`"));
                }
                None if self.is_cut(letter) => return self.every("`;`: a path ends at it"),
                None => self.literal(letter),
            },
        }
        Some(())
    }

    /// Byte of an escape that names one.
    fn control(&mut self, letter: char) -> Option<u8> {
        Some(match letter {
            't' => b'\t',
            'n' => b'\n',
            'r' => b'\r',
            'f' => 0x0c,
            'e' => 0x1b,
            'a' => 0x07,
            'x' => {
                let digits = self.rest.get(..2)?;
                let byte = u8::from_str_radix(digits, 16).ok()?;
                self.rest = &self.rest[2..];
                byte
            }
            _ => return None,
        })
    }

    fn group(&mut self) -> Option<()> {
        if self.rest.starts_with('*') {
            return self.every("verbs");
        }
        // `(` alone begins a group with a number, which stays the same here.
        if !self.take("?") {
            self.out.push('(');
            return Some(());
        }
        if self.take("#") {
            let end = self.rest.find(')').map_or(self.rest.len(), |end| end + 1);
            self.rest = &self.rest[end..];
            return Some(());
        }
        if let Some(texts) = self.last_refusal() {
            self.rest = "";
            self.out += &none_of(&texts);
            return Some(());
        }
        if ["=", "!", "<=", "<!"].iter().any(|sign| self.take(sign)) {
            self.wider("look-ahead and look-behind");
            return self.skip_group();
        }
        if self.take(">") {
            // Without going back it matches less, never more.
            self.wider("atomic groups");
            self.out.push_str("(?:");
            return Some(());
        }
        for (begin, end) in [("<", '>'), ("P<", '>'), ("'", '\'')] {
            if self.take(begin) {
                let Some((name, behind)) = self.rest.split_once(end) else {
                    return self.every("such groups");
                };
                let _written = write!(self.out, "(?<{name}>");
                self.rest = behind;
                return Some(());
            }
        }
        // `R` would be recursion there and a newline here, `x` ignores spaces of classes here only.
        let end = self.rest.find([':', ')']).unwrap_or(self.rest.len());
        let flags = &self.rest[..end];
        if !flags.bytes().all(|byte| b"ims-".contains(&byte)) || end == self.rest.len() {
            return self.every("such groups");
        }
        let _written = write!(self.out, "(?{}", &self.rest[..=end]);
        self.rest = &self.rest[end + 1..];
        Some(())
    }

    /// Texts of a negative look-ahead that ends the expression, if they are plain: `/\.(?!git)`.
    fn last_refusal(&self) -> Option<Vec<&'t str>> {
        let (inside, behind) = self.rest.strip_prefix('!')?.split_once(')')?;
        let is_end = matches!(behind, "" | ".*" | ".*$");
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_/|".contains(letter);
        let texts: Vec<&str> = inside.split('|').collect();
        let is_fine = self.is_path && is_end && inside.chars().all(is_plain) && self.is_outside();
        (is_fine && texts.iter().all(|text| !text.is_empty())).then_some(texts)
    }

    /// Returns true if no group and no branch is open.
    fn is_outside(&self) -> bool {
        !self.out.contains(['(', '|'])
    }

    /// Skips the inside of a group with its end.
    fn skip_group(&mut self) -> Option<()> {
        let mut depth = 1_u32;
        while let Some(letter) = self.next() {
            match letter {
                '\\' => _ = self.next(),
                // A parenthesis in a class ends no group.
                '[' => _ = self.class_set()?,
                '(' => depth += 1,
                ')' if depth == 1 => {
                    // A repetition would be that of what stands before.
                    return if self.is_repeated() { self.every("such groups") } else { Some(()) };
                }
                ')' => depth -= 1,
                _ => {}
            }
        }
        self.every("such groups")
    }

    fn class(&mut self) -> Option<()> {
        let begin = self.rest;
        let class = self.class_set()?;
        let inside = &begin[..begin.len() - self.rest.len() - 1];
        let has_encoded = |wanted: bool| {
            (0..=255_u8)
                .filter(|byte| self.is_encoded(*byte))
                .any(|byte| class[usize::from(byte)] == wanted)
        };
        // Escapes that mean the same in both, and no operator on sets.
        let bare = ["\\w", "\\d", "\\.", "\\-", "[:"];
        let bare = bare.iter().fold(inside.to_owned(), |text, known| text.replace(known, ""));
        let is_plain = !bare.contains(['\\', '&', '~', '[']) && !bare.contains("--");
        // The signs of an octet, one after the other.
        let of_octets = (*b"%0123456789ABCDEFabcdef").iter();
        let takes_octets = of_octets.clone().all(|byte| class[usize::from(*byte)] || *byte == b'%');
        let is_long = self.rest.starts_with(['*', '+']);
        // Written as it is where both read the same, so that the operator finds it again.
        let as_written = match inside.strip_prefix('^') {
            None => !has_encoded(true),
            Some(_) if !self.is_path => true,
            Some(_) => is_long && takes_octets && !has_encoded(false),
        };
        if as_written && is_plain {
            let _written = write!(self.out, "[{inside}]");
        } else {
            self.set(&class);
        }
        Some(())
    }

    /// Writes a set of bytes: signs, and octets.
    fn set(&mut self, set: &[bool; 256]) {
        let has = |byte: u8| set[usize::from(byte)];
        let plain = ranges(|byte| has(byte) && !self.is_encoded(byte) && !self.is_cut(byte.into()));
        let plain: String = plain.iter().map(|(first, last)| range(*first, *last)).collect();
        let octets = octets(|byte| has(byte) && self.is_encoded(byte));
        let _written = match (&*plain, &*octets) {
            // An empty class is an error in Rust: this one has no byte either.
            ("", "") => write!(self.out, "[^\\x00-\\xff]"),
            (plain, "") => write!(self.out, "[{plain}]"),
            ("", octets) => write!(self.out, "(?:%{octets})"),
            (plain, octets) => write!(self.out, "(?:[{plain}]|%{octets})"),
        };
    }

    /// Reads a class behind its `[`, with its end.
    fn class_set(&mut self) -> Option<[bool; 256]> {
        let mut set = [false; 256];
        let is_negated = self.take("^");
        let mut is_first = true;
        loop {
            // At the beginning the bracket is a member.
            if !is_first && self.take("]") {
                break;
            }
            is_first = false;
            let (members, last) = self.member()?;
            (0..256).for_each(|index| set[index] |= members[index]);
            let Some(first) =
                last.filter(|_| self.rest.starts_with('-') && !self.rest.starts_with("-]"))
            else {
                continue;
            };
            self.take("-");
            let (_, Some(end)) = self.member()? else { return self.every("such ranges") };
            (first..=end).for_each(|byte| set[usize::from(byte)] = true);
        }
        if is_negated {
            set.iter_mut().for_each(|member| *member = !*member);
        }
        Some(set)
    }

    /// Member of a class: its bytes, and the byte itself if it is one.
    fn member(&mut self) -> Option<([bool; 256], Option<u8>)> {
        if let Some((name, behind)) =
            self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        {
            let Some(set) = posix(name) else { return self.every("such classes") };
            self.rest = behind;
            return Some((set, None));
        }
        let Some(letter) = self.next() else { return self.every("open classes") };
        let letter = match letter {
            '\\' => {
                let Some(letter) = self.next() else { return self.every("open classes") };
                if let Some(set) = perl(letter) {
                    return Some((set, None));
                }
                match self.control(letter) {
                    Some(byte) => return Some((only(byte), Some(byte))),
                    // Within a class it is the backspace.
                    None if letter == 'b' => return Some((only(8), Some(8))),
                    None if letter.is_ascii_alphanumeric() => return self.every("such classes"),
                    None => letter,
                }
            }
            letter => letter,
        };
        // PCRE without UTF counts bytes, so a letter of two bytes is two members.
        let mut bytes = [0; 4];
        let bytes = letter.encode_utf8(&mut bytes).as_bytes();
        let mut set = [false; 256];
        bytes.iter().for_each(|byte| set[usize::from(*byte)] = true);
        Some((set, (bytes.len() == 1).then(|| bytes[0])))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        limit::normal_form, runtime::expression::Expression, tools::import::expressions::*,
    };

    fn told(text: &str) -> (String, bool) {
        let expression = path_expression(text, false);
        (expression.text, expression.fault.is_some())
    }

    #[test]
    fn usual_expression_stays() {
        for text in [
            r"\.php$",
            r"^/api/v[0-9]+/(.*)$",
            r"\.(?:css|js)$",
            r"^/u/(?<id>\d+)",
            r"/[^/]+/edit$",
            r"^/(a|b){1,2}x??",
            r"^/[[:alpha:]_-]+",
            r"^/[\w.-]+",
        ] {
            assert_eq!(told(text), (text.to_owned(), false));
        }
        assert_eq!(path_expression(r"\.PNG$", true).text, r"(?i)\.PNG$");
    }

    #[test]
    fn other_spelling_means_the_same() {
        for (text, expected) in [
            (r"^\/a\-b", "^/a-b"),
            (r"^/a b\?", "^/a%20b%3F"),
            ("^/é+", "^/%C3(?:%A9)+"),
            (r"[\w\/]", "[/-9A-Z_a-z]"),
            ("[ a]", "(?:[a]|%20)"),
            (r"a\s", "a(?:%(?:0[9ABCD]|20))"),
            (r"\Qa.b\E.", r"a\.b."),
            ("(?'x'a)", "(?<x>a)"),
            ("(?P<x>a)(?#no)", "(?<x>a)"),
            ("a{,3}", r"a\{,3\}"),
            ("[a&&b]", r"[\&ab]"),
            ("[a[b]", r"[\[ab]"),
            (r"\<", "<"),
        ] {
            assert_eq!(told(text), (expected.to_owned(), false), "{text}");
        }
    }

    #[test]
    fn what_weir_cannot_say_takes_more() {
        for (text, expected) in [
            (r"^/(?!api/).*\.php$", r"^/.*\.php$"),
            (r"(?<=a)b", "b"),
            ("^/a++b", "^/a+b"),
            ("(?>a|ab)c", "(?:a|ab)c"),
            (r"(a)\1", EVERY_PATH),
            ("(?R)", EVERY_PATH),
            ("(?x)a b", EVERY_PATH),
            ("(?=a)*", EVERY_PATH),
            (r"\p{L}", EVERY_PATH),
            ("a;b", EVERY_PATH),
            ("(?!a)b", "b"),
            ("[", EVERY_PATH),
        ] {
            assert_eq!(told(text), (expected.to_owned(), true), "{text}");
        }
    }

    /// Paths that nginx's expression takes, by hand.
    #[test]
    fn expression_takes_the_paths_of_nginx() {
        for (text, path, expected) in [
            (r"^/[^/]$", "/%20", true),
            (r"^/[^/]$", "/é", false),
            (r"^/[^/]{2}$", "/é", true),
            (r"^/[^0-9]+$", "/%20%21", true),
            (r"^/[^ ]+$", "/a%20b", false),
            (r"^/\S+$", "/a%20b", false),
            (r"^/\W$", "/%20", true),
            (r"^/\D\d$", "/%201", true),
            (r"/\.(?!well-known)", "/.well-known/x", false),
            (r"/\.(?!well-known)", "/.well-known/.git", true),
            (r"/\.(?!well-known)", "/a/.well", true),
            (r"/\.(?!well-known)", "/.", false),
            ("^/(?!api/|app/).*$", "/api/x", false),
            ("^/(?!api/|app/).*$", "/apis", true),
            ("^/(?!api/|app/).*$", "/", true),
            (r"^/admin\b", "/admin%20", true),
            (r"^/admin\b", "/administration", false),
            (r"^/[ -~]+$", "/a%20%25", true),
            (r"^/[\x80-\xff]{2}$", "/%C3%A9", true),
        ] {
            let translated = path_expression(text, false);
            assert_eq!(translated.fault, None, "{text}");
            let regex = Expression::new(&translated.text, false).expect("an expression");
            let path = normal_form::path(path).expect("a path");
            let is_match = regex.regex().is_match(path.as_bytes());
            assert_eq!(is_match, expected, "{text} as {} {path}", translated.text);
        }
    }
}
