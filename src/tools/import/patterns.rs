//! Patterns of locations: the path of each, as nginx chooses among them.
//!
//! nginx takes an exact path first, then the longest prefix unless an expression matches: those
//! within the location of that prefix, then those of the server, in order. `^~` keeps a prefix from
//! the expressions around it, and never from those within it.

use super::{
    expressions::{EVERY_PATH, escaped, path_expression},
    plan::PathKind,
    translation::{NginxServer, Translation},
    tree::Directive,
};

/// Place of a route among the expressions of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Before those of the server.
    First,
    /// In the order of the file.
    #[default]
    InOrder,
    /// Behind them all: a prefix that only an expression can say.
    Last,
}

/// Pattern of a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationPattern {
    /// Path or expression.
    pub path: String,
    /// Kind of the path.
    pub kind: PathKind,
    /// Place among the expressions.
    pub turn: Turn,
    /// Reason why the route has to be closed.
    pub closed: Option<String>,
}

/// Location around another.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The location.
    pub location: &'a Directive,
    /// The expressions of the server are not for it.
    pub is_over: bool,
    /// Expressions stand beside it, within a third location.
    pub has_middle: bool,
}

impl<'a> Around<'a> {
    /// The location as one around those within it.
    #[must_use]
    pub fn of(location: &'a Directive, around: Option<Self>) -> Self {
        let is_over = location.modifier_and_path().0 == "^~";
        let is_middle =
            |around: Self| around.has_middle || has_expressions(around.location.children());
        Self {
            location,
            is_over: is_over || around.is_some_and(|around| around.is_over),
            has_middle: around.is_some_and(is_middle),
        }
    }
}

/// Returns true for a location with an expression.
#[must_use]
pub fn is_expression(location: &Directive) -> bool {
    location.modifier_and_path().0.starts_with('~')
}

/// Pattern of a location; none for a named one, and for a path that no request has.
pub fn pattern(
    state: &mut Translation<'_>,
    server: &NginxServer<'_>,
    location: &Directive,
    around: Option<Around<'_>>,
) -> Option<LocationPattern> {
    let (kind, text) = location.modifier_and_path();
    if kind == "@" || (!kind.starts_with('~') && !text.starts_with('/')) {
        return None;
    }
    let pattern = match (kind, around) {
        ("~" | "~*", None) => of_expression(location),
        ("~" | "~*", Some(around)) => of_inner_expression(server, location, around),
        ("=", _) => of_path(PathKind::Exact, text),
        // Its own expressions come before it, those of the server never: an expression behind the
        // first and before the second says both.
        ("^~", None) if has_expressions(location.children()) => LocationPattern {
            path: format!("^{}", escaped(text)),
            kind: PathKind::Regex,
            turn: Turn::First,
            closed: None,
        },
        ("^~", None) => of_path(PathKind::OverRegex, text),
        (_, None) => of_path(PathKind::Prefix, text),
        (kind, Some(around)) => of_inner_prefix(server, kind == "^~", text, around),
    };
    Some(loadable(state, pattern))
}

/// The pattern, or one that weir loads in its place.
fn loadable(state: &mut Translation<'_>, pattern: LocationPattern) -> LocationPattern {
    if state.loads.path(pattern.kind.key(), &pattern.path).is_none() {
        return pattern;
    }
    // A path with a sign of pattern languages is an expression that has it escaped.
    let path = match pattern.kind {
        PathKind::Regex => EVERY_PATH.to_owned(),
        PathKind::Exact => format!("^{}$", escaped(&pattern.path)),
        PathKind::Prefix | PathKind::OverRegex => format!("^{}", escaped(&pattern.path)),
    };
    let reason = state.loads.path(PathKind::Regex.key(), &path);
    let reason = reason.or_else(|| {
        (pattern.kind == PathKind::Regex).then(|| "weir refuses the expression".to_owned())
    });
    LocationPattern {
        path: if reason.is_some() { EVERY_PATH.to_owned() } else { path },
        kind: PathKind::Regex,
        // As near to its own place as an expression comes.
        turn: match pattern.kind {
            PathKind::Regex => pattern.turn,
            PathKind::Exact | PathKind::OverRegex => Turn::First,
            PathKind::Prefix => Turn::Last,
        },
        closed: pattern.closed.or(reason),
    }
}

fn of_path(kind: PathKind, text: &str) -> LocationPattern {
    LocationPattern { path: text.to_owned(), kind, ..LocationPattern::default() }
}

fn of_expression(location: &Directive) -> LocationPattern {
    let (kind, text) = location.modifier_and_path();
    let expression = path_expression(text, kind == "~*");
    LocationPattern {
        path: expression.text,
        kind: PathKind::Regex,
        turn: Turn::InOrder,
        closed: expression.fault,
    }
}

/// Prefix within another. weir has one mark where nginx has two: kept from the expressions beside
/// it, and from those of the server.
fn of_inner_prefix(
    server: &NginxServer<'_>,
    is_over: bool,
    text: &str,
    around: Around<'_>,
) -> LocationPattern {
    let beside = has_expressions(around.location.children());
    let of_server = has_expressions(server.locations.iter().copied());
    // Kept from either, where there are expressions.
    let (from_beside, from_server) = (is_over && beside, around.is_over && of_server);
    let kind = match from_beside || from_server {
        true => PathKind::OverRegex,
        false => PathKind::Prefix,
    };
    let is_half = (from_beside && of_server && !from_server)
        || (from_server && beside && !from_beside)
        || around.has_middle;
    let half = is_half.then(|| "only some of the expressions come before it".to_owned());
    // nginx looks within the longest prefix of the server only.
    // The outer location is not the longest prefix for its requests then.
    let outer = around.location.modifier_and_path().1;
    let is_nearer = |other: &&Directive| {
        let (kind, other) = other.modifier_and_path();
        matches!(kind, "" | "^~") && other.len() > outer.len() && text.starts_with(other)
    };
    let other = server.locations.iter().copied().find(is_nearer);
    let lost = other.map(|other| format!("`{}` takes its requests", other.text()));
    LocationPattern { path: text.to_owned(), kind, turn: Turn::InOrder, closed: half.or(lost) }
}

/// Expression within a prefix: both have to match.
fn of_inner_expression(
    server: &NginxServer<'_>,
    location: &Directive,
    around: Around<'_>,
) -> LocationPattern {
    let (kind, text) = location.modifier_and_path();
    let (_, prefix) = around.location.modifier_and_path();
    let expression = path_expression(text, false);
    let begin = format!("^{}", escaped(prefix));
    // A branch could begin without the prefix.
    let has_branches = expression.text.contains('|');
    let (path, apart) = if prefix == "/" {
        let flags = if kind == "~*" { "(?i)" } else { "" };
        (format!("{flags}{}", expression.text), None)
    } else if expression.text.starts_with(&begin) && !has_branches && kind == "~" {
        (expression.text, None)
    } else if begins_behind(&expression.text, prefix) {
        let flags = if kind == "~*" { "i" } else { "" };
        (format!("{begin}.*(?{flags}:{})", expression.text), None)
    } else {
        (begin, Some("weir cannot join it with the path around it".to_owned()))
    };
    // A longer prefix beside the outer one keeps its requests from this expression.
    // `^~` stays `over_regex` here, and keeps its requests by that.
    let takes_away = |other: &&Directive| {
        let (kind, text) = other.modifier_and_path();
        kind.is_empty() && text.len() > prefix.len() && text.starts_with(prefix)
    };
    let other = server.locations.iter().copied().find(takes_away);
    let other = other.map(|other| format!("`{}` comes before it", other.text()));
    // Three levels: which of the outer expressions come first is not decided here.
    let middle = around.has_middle.then(|| "other expressions come before it".to_owned());
    let closed = expression.fault.or(apart).or(other).or(middle);
    LocationPattern { path, kind: PathKind::Regex, turn: Turn::First, closed }
}

/// Returns true if a match can only begin behind the prefix: with a sign that the prefix has not.
fn begins_behind(expression: &str, prefix: &str) -> bool {
    let bare = expression.strip_prefix('\\').unwrap_or(expression);
    let mut letters = bare.chars();
    let first = letters.next().filter(|first| {
        *first == '.' && expression.starts_with('\\') || first.is_ascii_alphanumeric()
    });
    let is_optional = letters.next().is_some_and(|next| "*?{".contains(next));
    // Without case, since the expression may ignore it.
    let lower = prefix.to_ascii_lowercase();
    let is_apart = first.is_some_and(|first| !lower.contains(first.to_ascii_lowercase()));
    is_apart && !is_optional && !has_outer_branches(expression)
}

/// Returns true if branches are not within a group.
fn has_outer_branches(expression: &str) -> bool {
    let (mut depth, mut is_escaped) = (0_i32, false);
    for letter in expression.chars() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

fn has_expressions<'a>(directives: impl IntoIterator<Item = &'a Directive>) -> bool {
    directives.into_iter().any(|one| one.name == "location" && is_expression(one))
}

/// Paths that only begin with the letters of a prefix, as `/admin.php` with those of `/admin`: nginx
/// counts them in. None where another location begins with the same letters.
#[must_use]
pub fn letters_behind(server: &NginxServer<'_>, location: &Directive) -> Option<String> {
    fn begins(others: &[&Directive], location: &Directive, text: &str) -> bool {
        others.iter().any(|other| {
            let inner: Vec<&Directive> = other.named("location").collect();
            let rest = other.modifier_and_path().1.strip_prefix(text);
            // What begins with a slash behind the letters is below both.
            let is_other = other.id != location.id && !is_expression(other);
            is_other && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                || begins(&inner, location, text)
        })
    }
    let (kind, text) = location.modifier_and_path();
    let is_prefix = matches!(kind, "" | "^~") && !text.ends_with('/');
    (is_prefix && !begins(&server.locations, location, text))
        .then(|| format!("^{}[^/]", escaped(text)))
}

#[cfg(test)]
mod tests {
    use crate::tools::import::patterns::*;

    #[test]
    fn expression_that_begins_behind_a_prefix_is_found() {
        for (expression, prefix, expected) in [
            (r"\.php$", "/admin/", true),
            (r"\.php$", "/a.b/", false),
            ("x[0-9]", "/admin/", true),
            ("x?a", "/admin/", false),
            ("A", "/admin/", false),
            (r"\.a|b", "/x/", false),
            (r"\.(a|b)$", "/x/", true),
            ("(b)", "/x/", false),
            (".b", "/x/", false),
        ] {
            assert_eq!(begins_behind(expression, prefix), expected, "{expression} {prefix}");
        }
    }
}
