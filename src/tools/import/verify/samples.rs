//! Paths that an expression takes, to ask for them.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

use crate::{limit::normal_form, runtime::expression::Expression};

/// Limit on the paths of one expression.
const MAX_SAMPLES: usize = 6;
/// Limit on a path, in bytes.
const MAX_LENGTH: usize = 256;
/// Paths before a text that may stand anywhere in one, and signs behind it: `/.` alone is the root.
const AROUND: [(&str, &str); 6] =
    [("", ""), ("/weir-verify", ""), ("/", ""), ("", "x"), ("/weir-verify", "x"), ("/", "x")];

/// Paths that an expression takes: the shortest of each branch, as far as few say something.
#[must_use]
pub fn samples(expression: &str) -> Vec<String> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(expression);
    let (Ok(hir), Ok(regex)) = (parsed, Expression::new(expression, false)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for text in texts(&hir) {
        // One that is compared without case has the letters of both.
        for text in [text.clone(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
            let takes = |path: &String| {
                path.starts_with('/')
                    && path.len() <= MAX_LENGTH
                    && normal_form::path(path).is_ok_and(|form| form == *path)
                    && regex.regex().is_match(path.as_bytes())
            };
            let around = AROUND.iter().map(|(before, behind)| format!("{before}{text}{behind}"));
            let path = { around }.find(takes);
            found.extend(path.filter(|path| !found.contains(path)));
        }
    }
    found.truncate(MAX_SAMPLES);
    found
}

/// Texts of an expression, one for each of its first branches.
fn texts(hir: &Hir) -> Vec<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8_lossy(&literal.0).into_owned()],
        HirKind::Class(class) => vec![sign(class).to_string()],
        HirKind::Capture(capture) => texts(&capture.sub),
        HirKind::Alternation(branches) => {
            branches.iter().flat_map(texts).take(MAX_SAMPLES).collect()
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            // Once where it may be left out: then the sign is seen in its place.
            let times = repetition.min.max(1).min(most).min(64) as usize;
            texts(&repetition.sub).iter().map(|text| text.repeat(times)).collect()
        }
        HirKind::Concat(parts) => {
            let mut whole = vec![String::new()];
            for part in parts {
                let part = texts(part);
                let longer =
                    whole.iter().flat_map(|text| part.iter().map(move |end| text.clone() + end));
                whole = longer.filter(|text| text.len() <= MAX_LENGTH).take(MAX_SAMPLES).collect();
            }
            whole
        }
    }
}

/// Sign of a class that stands for itself in a path.
fn sign(class: &Class) -> char {
    let has = |letter: char| match class {
        Class::Unicode(class) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&letter))
        }
        Class::Bytes(class) => class.iter().any(|range| {
            u8::try_from(letter).is_ok_and(|byte| (range.start()..=range.end()).contains(&byte))
        }),
    };
    // Letters first: a sign could divide the path, or be encoded in it.
    let preferred = ('a'..='z').chain('0'..='9').chain('A'..='Z').chain(['-', '_', '.', '/']);
    preferred.into_iter().find(|letter| has(*letter)).unwrap_or('~')
}

#[cfg(test)]
mod tests {
    use crate::tools::import::verify::samples::*;

    #[test]
    fn sample_is_a_path_that_the_expression_takes() {
        for (expression, expected) in [
            (r"\.php$", &["/weir-verify.php"][..]),
            (r"^/u/[0-9]{2}/(.*)$", &["/u/00/a"]),
            (r"\.(css|js)$", &["/weir-verify.css", "/weir-verify.js"]),
            (r"(?i)\.PNG$", &["/weir-verify.png", "/weir-verify.PNG"]),
            (r"^/a/", &["/a/"]),
            (r"/\.", &["/.x"]),
            ("(", &[]),
            ("^b", &[]),
        ] {
            assert_eq!(samples(expression), expected, "{expression}");
        }
    }
}
