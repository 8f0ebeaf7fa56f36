//! A SQL file split into its statements, each with its line, at the same places where psql splits
//! it.
//!
//! A semicolon ends a statement unless it stands in a quoted text or name, a dollar-quoted body, a
//! comment, parentheses, or the `BEGIN ATOMIC` body of a SQL function. An unfinished quote or
//! comment runs to the end of the file: the database says what is wrong with it.

mod scanner;

use scanner::{Scanner, Token};

/// One statement of a file: from its first word to its last, without its semicolon and the comments
/// around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'s> {
    /// The statement as written.
    pub text: &'s str,
    /// The line of its first word, from 1.
    pub line: usize,
    /// It must not run inside a transaction.
    pub concurrent: bool,
    /// It begins or ends a transaction.
    pub steers_transaction: bool,
}

impl Statement<'_> {
    /// The line of the file on which the `position`th character (from 1) of this statement stands.
    #[must_use]
    pub fn line_at(&self, position: usize) -> usize {
        let before = self.text.chars().take(position.saturating_sub(1));
        self.line + before.filter(|c| *c == '\n').count()
    }
}

/// Every statement of a file, in order. Comments alone make no statement.
#[must_use]
pub fn split(sql: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut open = None::<Open>;
    let mut line = 1;
    let mut counted = 0;
    for (token, span) in Scanner::new(sql) {
        if token == Token::Blank {
            continue;
        }
        // A semicolon inside parentheses or an atomic body belongs to the statement.
        if token == Token::Semicolon && open.as_ref().is_none_or(Open::may_end) {
            found.extend(open.take().map(|open| open.close(sql)));
            continue;
        }
        // Newlines are counted from the last statement on: counting from the start would be
        // quadratic.
        let statement = open.get_or_insert_with(|| {
            line += sql[counted..span.start].matches('\n').count();
            counted = span.start;
            Open::at(span.start, line)
        });
        statement.end = span.end;
        statement.take(token, &sql[span]);
    }
    found.extend(open.map(|open| open.close(sql)));
    found
}

/// A statement that has not met its semicolon yet.
struct Open {
    start: usize,
    end: usize,
    line: usize,
    parentheses: usize,
    atomic: usize,
    words: Vec<String>,
    concurrent: bool,
}

/// Number of leading words that matter: `create or replace function` is four.
const LEADING_WORDS: usize = 4;

impl Open {
    fn at(start: usize, line: usize) -> Self {
        Self {
            start,
            end: start,
            line,
            parentheses: 0,
            atomic: 0,
            words: Vec::new(),
            concurrent: false,
        }
    }

    fn may_end(&self) -> bool {
        self.parentheses == 0 && self.atomic == 0
    }

    fn take(&mut self, token: Token, text: &str) {
        match token {
            Token::Opening => self.parentheses += 1,
            // A stray parenthesis is an error that the database reports; it must not underflow
            // here.
            Token::Closing => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Word => self.word(text.to_ascii_lowercase()),
            _ => {}
        }
    }

    fn word(&mut self, word: String) {
        // Anywhere behind these words: `CREATE UNIQUE INDEX` has it fourth, `DETACH PARTITION` has
        // it last.
        self.concurrent |= word == "concurrently" && self.may_be_concurrent();
        // In a body, `CASE` ends with `END` too. Without counting it, its `END` would close the
        // body.
        if self.defines_function() && self.parentheses == 0 {
            match word.as_str() {
                "begin" => self.atomic += 1,
                "case" if self.atomic > 0 => self.atomic += 1,
                "end" => self.atomic = self.atomic.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < LEADING_WORDS {
            self.words.push(word);
        }
    }

    /// Returns true for the statements that PostgreSQL refuses inside a transaction if they are
    /// `CONCURRENTLY`. `REFRESH MATERIALIZED VIEW CONCURRENTLY` is none of them.
    fn may_be_concurrent(&self) -> bool {
        let mut words = self.words.iter().map(String::as_str);
        match (words.next(), words.next()) {
            (Some("create"), Some("index" | "unique")) | (Some("drop"), Some("index")) => true,
            (Some("alter"), Some("table")) => true,
            // Its options stand in parentheses: `REINDEX (CONCURRENTLY) TABLE t`.
            (Some("reindex"), _) => true,
            _ => false,
        }
    }

    fn defines_function(&self) -> bool {
        let mut words = self.words.iter().map(String::as_str);
        let routine = |word| matches!(word, Some("function" | "procedure"));
        match (words.next(), words.next()) {
            (Some("create"), Some("or")) => {
                words.next() == Some("replace") && routine(words.next())
            }
            (Some("create"), second) => routine(second),
            _ => false,
        }
    }

    fn steers_transaction(&self) -> bool {
        let word = |at: usize| self.words.get(at).map_or("", String::as_str);
        match word(0) {
            "begin" | "commit" | "end" | "abort" => true,
            "start" | "prepare" => word(1) == "transaction",
            // `ROLLBACK TO` a savepoint stays inside the transaction.
            "rollback" => !self.words.iter().any(|word| word == "to"),
            _ => false,
        }
    }

    fn close<'s>(&self, sql: &'s str) -> Statement<'s> {
        Statement {
            text: &sql[self.start..self.end],
            line: self.line,
            concurrent: self.concurrent,
            steers_transaction: self.steers_transaction(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql).iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn comments_alone_are_no_statement() {
        assert!(split("-- one; two\n/* three; /* four; */ five; */\n;;").is_empty());
    }

    #[test]
    fn statements_do_not_include_a_last_comment() {
        assert_eq!(
            texts("SELECT /* a */ 1 -- b\n ; SELECT 2 -- c"),
            ["SELECT /* a */ 1", "SELECT 2"]
        );
    }

    #[test]
    fn statements_take_no_byte_order_mark_for_a_word() {
        assert_eq!(texts("\u{feff}SELECT 1;\r\nSELECT 2"), ["SELECT 1", "SELECT 2"]);
    }

    #[test]
    fn statements_know_their_lines() {
        let lines: Vec<usize> =
            split("\n-- a\nSELECT 1;\n\nSELECT\n2; SELECT 3").iter().map(|s| s.line).collect();
        assert_eq!(lines, [3, 5, 6]);
    }

    #[test]
    fn position_in_a_statement_is_counted_in_characters() {
        let statement = split("\nSELECT 'é',\n  wrong")[0];
        assert_eq!((statement.line_at(1), statement.line_at(15)), (2, 3));
    }

    #[test]
    fn quotes_hide_semicolons() {
        for quoted in [
            "'a;''b;'",
            "E'a\\';b'",
            "\"a;\"\"b\"",
            "$$a;b$$",
            "$é$a;$$b;$é$",
            "U&'a;\\'",
            "(a; b)",
            "a$b;c$b",
        ] {
            let sql = format!("SELECT {quoted} ;x");
            let expected = if quoted == "a$b;c$b" { 3 } else { 2 };
            assert_eq!(texts(&sql).len(), expected, "{sql}");
        }
    }

    #[test]
    fn backslash_is_nothing_in_a_plain_text() {
        assert_eq!(texts(r"SELECT '\'; SELECT 2"), [r"SELECT '\'", "SELECT 2"]);
    }

    #[test]
    fn atomic_body_is_part_of_its_function() {
        let function = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; \
                        SELECT CASE WHEN true THEN 1 END; END";
        assert_eq!(texts(&format!("{function}; SELECT 2")), [function, "SELECT 2"]);
    }

    #[test]
    fn unfinished_quote_is_left_to_the_database() {
        assert_eq!(texts("SELECT 1; SELECT 'a; b"), ["SELECT 1", "SELECT 'a; b"]);
        assert_eq!(texts("SELECT $a$ ; b"), ["SELECT $a$ ; b"]);
    }

    #[test]
    fn transaction_inside_a_revision_is_noticed() {
        let steers = |sql| split(sql)[0].steers_transaction;
        for sql in ["begin", "COMMIT;", "/* x */ rollback", "START TRANSACTION", "END", "ABORT"] {
            assert!(steers(sql), "{sql}");
        }
        for sql in [
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "ROLLBACK TO SAVEPOINT a",
            "SELECT 'commit'",
            "PREPARE p AS SELECT 1",
        ] {
            assert!(!steers(sql), "{sql}");
        }
    }

    #[test]
    fn concurrently_is_noticed_outside_comments_only() {
        let concurrent = |sql| split(sql)[0].concurrent;
        assert!(concurrent("create index Concurrently i on t (a)"));
        assert!(!concurrent("create index /* concurrently */ i on t (a) -- concurrently"));
    }

    #[test]
    fn concurrently_counts_where_postgres_refuses_it_in_a_transaction() {
        let concurrent = |sql| split(sql)[0].concurrent;
        for sql in [
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "REINDEX INDEX CONCURRENTLY i",
            "REINDEX (VERBOSE) TABLE CONCURRENTLY t",
            "REINDEX (CONCURRENTLY) TABLE t",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        ] {
            assert!(concurrent(sql), "{sql}");
        }
        for sql in ["REFRESH MATERIALIZED VIEW CONCURRENTLY v", "SELECT concurrently(1)"] {
            assert!(!concurrent(sql), "{sql}");
        }
    }
}
