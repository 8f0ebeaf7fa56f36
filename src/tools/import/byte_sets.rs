//! Sets of bytes of expressions: classes of Perl and POSIX, and how weir's expressions write them.

/// Signs that mean something in a class here or there.
const CLASS_SIGNS: &str = "[]\\^-&~";

/// Expression of what does not begin with one of these texts, which are not empty.
#[must_use]
pub fn none_of(texts: &[&str]) -> String {
    // In order, so that texts with one beginning share its branch.
    let mut firsts: Vec<char> = texts.iter().filter_map(|text| text.chars().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let signs: String = firsts.iter().map(|sign| range(*sign as u8, *sign as u8)).collect();
    // The end of the path, a sign that none of them begins with, or one of them without its rest.
    let mut branches = vec!["$".to_owned(), format!("[^{signs}]")];
    for first in firsts {
        let rests: Vec<&str> = texts.iter().filter_map(|text| text.strip_prefix(first)).collect();
        // Behind a whole text nothing may follow, so that branch has no match.
        if rests.iter().all(|rest| !rest.is_empty()) {
            branches.push(format!("{first}{}", none_of(&rests)));
        }
    }
    format!("(?:{})", branches.join("|"))
}

/// Set of one byte.
#[must_use]
pub fn only(byte: u8) -> [bool; 256] {
    of(|one| one == byte)
}

fn of(is_member: impl Fn(u8) -> bool) -> [bool; 256] {
    let mut set = [false; 256];
    (0..=255_u8).for_each(|byte| set[usize::from(byte)] = is_member(byte));
    set
}

/// Bytes of `\d` and the like.
#[must_use]
pub fn perl(letter: char) -> Option<[bool; 256]> {
    // ASCII only: nginx compiles expressions without UTF.
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // Rust leaves out the vertical tab, PCRE does not.
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    Some(match letter {
        'd' => of(|byte| byte.is_ascii_digit()),
        'D' => of(|byte| !byte.is_ascii_digit()),
        'w' => of(is_word),
        'W' => of(|byte| !is_word(byte)),
        's' => of(is_space),
        'S' => of(|byte| !is_space(byte)),
        'h' => of(|byte| byte == b' ' || byte == b'\t'),
        _ => return None,
    })
}

/// Bytes of `[:alpha:]` and the like.
#[must_use]
pub fn posix(name: &str) -> Option<[bool; 256]> {
    Some(match name {
        "alnum" => of(|byte| byte.is_ascii_alphanumeric()),
        "alpha" => of(|byte| byte.is_ascii_alphabetic()),
        "digit" => of(|byte| byte.is_ascii_digit()),
        "lower" => of(|byte| byte.is_ascii_lowercase()),
        "upper" => of(|byte| byte.is_ascii_uppercase()),
        "punct" => of(|byte| byte.is_ascii_punctuation()),
        "xdigit" => of(|byte| byte.is_ascii_hexdigit()),
        "word" => perl('w')?,
        "space" => perl('s')?,
        _ => return None,
    })
}

/// Ranges of the bytes of a set.
#[must_use]
pub fn ranges(has: impl Fn(u8) -> bool) -> Vec<(u8, u8)> {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for byte in (0..=255_u8).filter(|byte| has(*byte)) {
        match ranges.last_mut() {
            Some((_, last)) if u16::from(*last) + 1 == u16::from(byte) => *last = byte,
            _ => ranges.push((byte, byte)),
        }
    }
    ranges
}

/// Range of bytes as a class has it.
#[must_use]
pub fn range(first: u8, last: u8) -> String {
    let sign = |byte: u8| match char::from(byte) {
        sign if CLASS_SIGNS.contains(sign) => format!("\\{sign}"),
        sign if sign.is_ascii_graphic() => sign.to_string(),
        _ => format!("\\x{byte:02X}"),
    };
    match last - first {
        0 => sign(first),
        // Two signs beside each other read better than a range of them.
        1 => sign(first) + &sign(last),
        _ => format!("{}-{}", sign(first), sign(last)),
    }
}

/// Expression of the two signs of these octets; empty for none.
#[must_use]
pub fn octets(has: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = |is_in: &dyn Fn(u8) -> bool| -> String {
        let members: Vec<u8> = (0..16).filter(|digit| is_in(*digit)).collect();
        let signs: String =
            members.iter().map(|digit| char::from(DIGITS[usize::from(*digit)])).collect();
        match members.len() {
            // The digits of an octet are in upper case in the normal form.
            16 => "[0-9A-F]".to_owned(),
            1 => signs,
            _ => format!("[{signs}]"),
        }
    };
    let low_of = |high: u8| -> Vec<u8> { (0..16).filter(|low| has(high << 4 | low)).collect() };
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    // Rows with the same low digits are one: `[89]0` and not `80|90`.
    for high in 0..16 {
        let low = low_of(high);
        match rows.iter_mut().find(|(_, known)| *known == low) {
            _ if low.is_empty() => {}
            Some((highs, _)) => highs.push(high),
            None => rows.push((vec![high], low)),
        }
    }
    let rows: Vec<String> = rows
        .iter()
        .map(|(high, low)| {
            digits(&|digit| high.contains(&digit)) + &digits(&|digit| low.contains(&digit))
        })
        .collect();
    match &rows[..] {
        [] => String::new(),
        [one] => one.clone(),
        rows => format!("(?:{})", rows.join("|")),
    }
}
