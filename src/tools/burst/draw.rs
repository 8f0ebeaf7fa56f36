//! Text report of a burst: four rows on one time axis, then the numbers.
//!
//! Guarantee: with [`DrawStyle::Plain`] the output is ASCII and the same for the same report;
//! colours appear only with [`DrawStyle::Colour`].

use std::fmt::Write;

use super::{
    class::Class,
    judge::Lateness,
    report::{Report, millis, signed_millis},
};

/// Capability of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawStyle {
    /// ASCII only, for a pipe.
    Plain,
    /// Block elements, for a terminal without colours.
    Unicode,
    /// Block elements and colours.
    Colour,
}

/// Width of the narrowest timeline.
const MIN_COLUMNS: usize = 20;

/// Columns left of the timeline, and right of it for the counts.
const MARGIN: usize = 12 + 8;

/// Draws the report, at most `width` columns wide where that leaves room for a timeline.
#[must_use]
pub fn draw(report: &Report, width: usize, style: DrawStyle) -> String {
    let axis = Axis::new(report.end_us(), width.saturating_sub(MARGIN).max(MIN_COLUMNS));
    let mut out = String::new();
    let subject = report.limit().map_or_else(String::new, |limit| format!("  {limit}"));
    line(&mut out, &format!("{}{subject}", report.url));
    line(&mut out, &format!("{}{}", report.schedule, clients(report.clients)));
    line(&mut out, "");
    for row in Row::ALL {
        line(&mut out, &row.draw(report, &axis, style));
    }
    line(&mut out, &axis.rule(style));
    line(&mut out, &axis.labels());
    line(&mut out, "");
    numbers(&mut out, report);
    out
}

fn line(out: &mut String, text: &str) {
    // Ends of lines are trimmed, so that a drawing can be compared and pasted.
    out.push_str(text.trim_end());
    out.push('\n');
}

fn clients(clients: u32) -> String {
    if clients == 1 { String::new() } else { format!(", by each of {clients} clients") }
}

/// Time axis in columns.
struct Axis {
    columns: usize,
    /// Time that one column stands for.
    column_us: u64,
    tick_us: u64,
}

impl Axis {
    fn new(end_us: u64, columns: usize) -> Self {
        let span_us = end_us.max(1_000);
        // One microsecond more, so that the last instant is in the last column and not behind it.
        let column_us = (span_us + 1).div_ceil(columns as u64);
        Self { columns, column_us, tick_us: nice_step(span_us, columns as u64 / 12) }
    }

    fn column(&self, at_us: u64) -> usize {
        usize::try_from(at_us / self.column_us).unwrap_or(usize::MAX).min(self.columns - 1)
    }

    fn ticks(&self) -> impl Iterator<Item = (usize, u64)> {
        let reach_us = self.column_us * self.columns as u64;
        (0..)
            .map(|n| n * self.tick_us)
            .take_while(move |at_us| *at_us < reach_us)
            .map(|at_us| (self.column(at_us), at_us))
    }

    fn rule(&self, style: DrawStyle) -> String {
        let (corner, dash, tick) =
            if style == DrawStyle::Plain { ('|', '-', '+') } else { ('└', '─', '┬') };
        let mut cells = vec![dash; self.columns];
        self.ticks().for_each(|(column, _)| cells[column] = tick);
        format!("{:>10} {corner}{}", "", cells.into_iter().collect::<String>())
    }

    fn labels(&self) -> String {
        let mut text = " ".repeat(12);
        for (column, at_us) in self.ticks() {
            // A label that reaches the next tick is not overwritten: the next one moves to the
            // right.
            let pad = (12 + column).saturating_sub(text.len());
            let _infallible = write!(text, "{:pad$}{}", "", time_label(at_us));
        }
        text
    }
}

/// Returns the smallest of 1, 2, 5 times a power of ten milliseconds that makes at most `most`
/// steps.
pub(super) fn nice_step(span_us: u64, most: u64) -> u64 {
    let powers = (3..=12).map(|power| 10_u64.pow(power));
    let mut steps = powers.flat_map(|power| [power, 2 * power, 5 * power]);
    steps.find(|step| span_us / step < most.max(1)).unwrap_or(span_us.max(1))
}

/// Formats a time: `0`, `200 ms`, `1.5 s`.
pub(super) fn time_label(at_us: u64) -> String {
    match at_us {
        0 => "0".to_owned(),
        1..1_000_000 => format!("{} ms", millis(at_us)),
        _ => format!("{} s", millis(at_us / 1_000)),
    }
}

/// Row of the timeline.
#[derive(Clone, Copy)]
enum Row {
    Sent,
    Forwarded,
    Waited,
    Rejected,
}

impl Row {
    const ALL: [Self; 4] = [Self::Sent, Self::Forwarded, Self::Waited, Self::Rejected];

    fn draw(self, report: &Report, axis: &Axis, style: DrawStyle) -> String {
        let cells: String =
            self.columns(report, axis).into_iter().map(|count| glyph(count, style)).collect();
        let (cells, bar) = match style {
            DrawStyle::Plain => (cells, '|'),
            DrawStyle::Unicode => (cells, '│'),
            DrawStyle::Colour => (format!("\x1b[{}m{cells}\x1b[0m", self.colour()), '│'),
        };
        format!("{:>10} {bar}{cells} {:>6}", self.name(report), self.total(report))
    }

    fn name(self, report: &Report) -> String {
        match self {
            Self::Sent => "sent".to_owned(),
            Self::Forwarded => "forwarded".to_owned(),
            Self::Waited => "waiting".to_owned(),
            Self::Rejected => report.view.reject_status.to_string(),
        }
    }

    fn colour(self) -> u8 {
        match self {
            Self::Sent => 34,
            Self::Forwarded => 32,
            Self::Waited => 33,
            Self::Rejected => 31,
        }
    }

    fn total(self, report: &Report) -> usize {
        let counts = report.counts();
        match self {
            Self::Sent => report.trace.len(),
            Self::Forwarded => counts.forwarded(),
            Self::Waited => counts.wait,
            Self::Rejected => counts.reject,
        }
    }

    /// Number of requests in each column; of waiting ones, those that waited at some time of the
    /// column.
    fn columns(self, report: &Report, axis: &Axis) -> Vec<usize> {
        let mut columns = vec![0; axis.columns];
        for (shot, class) in report.trace.iter().zip(&report.judgement.classes) {
            let (sent, end) = (axis.column(shot.sent_us), axis.column(shot.end_us));
            let marked = match (self, class) {
                (Self::Sent, _) => sent..sent + 1,
                (Self::Forwarded, Class::Pass | Class::Wait) | (Self::Rejected, Class::Reject) => {
                    end..end + 1
                }
                (Self::Waited, Class::Wait) => sent..end + 1,
                _ => continue,
            };
            columns[marked].iter_mut().for_each(|count| *count += 1);
        }
        columns
    }
}

/// Shows a count as one character: digits in a pipe, blocks that each double the count on a
/// terminal.
fn glyph(count: usize, style: DrawStyle) -> char {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    match (count, style) {
        (0, _) => ' ',
        (1..=9, DrawStyle::Plain) => char::from(b'0' + u8::try_from(count).unwrap_or(9)),
        (_, DrawStyle::Plain) => '#',
        (1..=4, _) => BLOCKS[count - 1],
        // From 5 on each block doubles the count: a burst of 1000 still shows its shape.
        _ => BLOCKS[(count.ilog2() as usize + 2).min(7)],
    }
}

fn numbers(out: &mut String, report: &Report) {
    let counts = report.counts();
    let total = report.trace.len();
    let (pass, wait, reject) = (counts.pass, counts.wait, counts.reject);
    line(
        out,
        &format!(
            "sent       {total}, at most {} ms late{}",
            millis(report.worst_send_us()),
            tardy(report)
        ),
    );
    line(
        out,
        &format!("seen       pass {pass}  wait {wait}  reject {reject}{}", failed(counts.failed)),
    );
    if let Some(expected) = report.judgement.expected {
        let (pass, wait, reject) = (expected.pass, expected.wait, expected.reject);
        line(out, &format!("by limit   pass {pass}  wait {wait}  reject {reject}"));
    }
    let statuses: Vec<String> =
        report.statuses().iter().map(|(status, count)| format!("{status} {count}x")).collect();
    line(out, &format!("status     {}", statuses.join("  ")));
    for (cause, count) in report.failures() {
        line(out, &format!("failed     {count}x {cause}"));
    }
    if let Some(lateness) = &report.judgement.lateness {
        line(out, &format!("lateness   {}", late(lateness)));
    }
    envelope(out, report);
}

/// Note on sends so late that the sender, not the server, is measured.
fn tardy(report: &Report) -> &'static str {
    if report.worst_send_us() > report.view.tolerance_us.max(1_000) {
        ": a busy machine, or too few connections"
    } else {
        ""
    }
}

fn failed(failed: usize) -> String {
    if failed == 0 { String::new() } else { format!("  failed {failed}") }
}

fn late(lateness: &Lateness) -> String {
    let [p50, p90, p99, max] =
        [lateness.p50_us, lateness.p90_us, lateness.p99_us, lateness.max_us].map(signed_millis);
    format!("p50 {p50}  p90 {p90}  p99 {p99}  max {max} ms after the slot")
}

fn envelope(out: &mut String, report: &Report) {
    if report.limit().is_none() {
        return;
    }
    let broken = report.broken();
    if broken.is_empty() {
        line(out, "envelope   kept: none too many, none early, none rejected with room left");
    }
    for sentence in broken {
        line(out, &format!("envelope   BROKEN: {sentence}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::{draw::*, trace::sample};

    const TABLE_B: &str = "\
http://weir.test/  10r/s burst 20
30 at once

      sent |#                                              30
 forwarded |1 1 1 1 1 1 1 1 1 1 1  1 1 1 1 1 1 1 1 1 1     21
   waiting |########################998877665544332211     20
       503 |9                                               9
           |+-------------------+--------------------+
            0                   1 s                  2 s

sent       30, at most 0 ms late
seen       pass 1  wait 20  reject 9
by limit   pass 1  wait 20  reject 9
status     200 21x  503 9x
lateness   p50 0  p90 0  p99 0  max 0 ms after the slot
envelope   kept: none too many, none early, none rejected with room left
";

    #[test]
    fn steps_and_labels_are_round() {
        assert_eq!(nice_step(2_000_000, 6), 500_000);
        assert_eq!(nice_step(1_000, 5), 1_000);
        assert_eq!(nice_step(90_000_000, 8), 20_000_000);
        assert_eq!([0, 200_000, 1_500_000].map(time_label), ["0", "200 ms", "1.5 s"]);
    }

    #[test]
    fn drawing_count_is_one_character() {
        let of = |style| {
            [0, 1, 4, 9, 10, 64, 1_000]
                .map(|count| glyph(count, style))
                .into_iter()
                .collect::<String>()
        };
        assert_eq!(of(DrawStyle::Plain), " 149###");
        assert_eq!(of(DrawStyle::Unicode), " ▁▄▆▆██");
    }

    #[test]
    fn table_b_in_a_pipe() {
        assert_eq!(draw(&sample::table_b(), 62, DrawStyle::Plain), TABLE_B);
    }

    #[test]
    fn report_names_the_breach() {
        let report = sample::report(
            "3",
            &[(0, 0, 200), (0, 98_000, 200), (200_000, 200_000, 503)],
            Some(("10r/s", 1, 0)),
        );
        let text = draw(&report, 62, DrawStyle::Plain);
        assert!(
            text.contains(
                "BROKEN: 1 released before the slot, first request 2 sent at 0 ms: 2 ms early\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("BROKEN: 1 rejected with room left, first request 3 sent at 200 ms\n"),
            "{text}"
        );
    }

    #[test]
    fn colours_are_only_where_asked_for() {
        let report = sample::table_b();
        assert!(draw(&report, 62, DrawStyle::Plain).is_ascii());
        assert!(!draw(&report, 62, DrawStyle::Unicode).contains('\x1b'));
        assert_eq!(draw(&report, 62, DrawStyle::Colour).matches("\x1b[0m").count(), 4);
    }
}
