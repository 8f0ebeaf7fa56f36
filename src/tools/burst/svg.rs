//! SVG picture of a burst, self-contained, readable on light and dark pages.
//!
//! Every request is a row: a dot where it was sent, a line to its release if it waited, a mark
//! where it was rejected. The rows are in the order of sending and, for requests sent together, of
//! their responses: a draining queue looks like a staircase.

use std::fmt::Write;

use super::{
    class::Class,
    draw::{nice_step, time_label},
    report::Report,
};

/// Limit on drawn requests; of more, every n-th is drawn.
const MAX_ROWS: usize = 1_500;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 104.0;
const BOTTOM: f64 = 52.0;

/// Requests sent within this time are drawn as sent together.
const TOGETHER_US: u64 = 5_000;

const STYLE: &str = "\
.card{fill:#ffffff;stroke:#d0d7de}.grid{stroke:#eaeef2}.axis{stroke:#8c959f}\
text{font:13px ui-sans-serif,system-ui,'Segoe UI',sans-serif;fill:#57606a}\
.title{font-size:18px;font-weight:600;fill:#1f2328}\
.pass{fill:#1a7f37}.wait{fill:#9a6700}.line{stroke:#d4a72c}.reject{stroke:#cf222e}.failed{stroke:#8250df}\
@media (prefers-color-scheme:dark){\
.card{fill:#0d1117;stroke:#30363d}.grid{stroke:#21262d}.axis{stroke:#6e7681}\
text{fill:#9198a1}.title{fill:#f0f6fc}\
.pass{fill:#3fb950}.wait{fill:#e3b341}.line{stroke:#9e6a03}.reject{stroke:#f85149}.failed{stroke:#ab7df8}}";

/// Draws the report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let canvas = Canvas::new(report);
    let mut out = String::new();
    canvas.open(&mut out, report);
    canvas.axis(&mut out);
    canvas.requests(&mut out, report);
    canvas.legend(&mut out, report);
    out.push_str("</svg>\n");
    out
}

struct Canvas {
    /// Indexes in the trace, top to bottom.
    rows: Vec<usize>,
    row_height: f64,
    height: f64,
    span_us: u64,
    /// One of this many requests is drawn.
    every: usize,
}

impl Canvas {
    fn new(report: &Report) -> Self {
        // A row for each of 100,000 requests would be megabytes of markup.
        let every = report.trace.len().div_ceil(MAX_ROWS).max(1);
        let rows: Vec<usize> = order(report).into_iter().step_by(every).collect();
        let row_height = (400.0 / rows.len().max(1) as f64).clamp(0.4, 13.0);
        let height = TOP + row_height * rows.len() as f64 + BOTTOM;
        // At least a millisecond, because `x` divides by the span.
        Self { rows, row_height, height, span_us: report.end_us().max(1_000), every }
    }

    fn x(&self, at_us: u64) -> f64 {
        LEFT + at_us as f64 / self.span_us as f64 * (WIDTH - LEFT - RIGHT)
    }

    fn floor(&self) -> f64 {
        self.height - BOTTOM + 8.0
    }

    fn open(&self, out: &mut String, report: &Report) {
        let height = self.height;
        let url = escape(&report.url);
        let limit = report.limit().map_or_else(String::new, |limit| format!(" · {limit}"));
        let by = if report.clients == 1 {
            String::new()
        } else {
            format!(", by each of {} clients", report.clients)
        };
        put(
            out,
            &format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.1}\" role=\"img\">"
            ),
        );
        put(out, &format!("<title>{url}{limit}</title><style>{STYLE}</style>"));
        let (inner_width, inner_height) = (WIDTH - 1.0, height - 1.0);
        put(
            out,
            &format!(
                "<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{inner_width}\" height=\"{inner_height:.1}\" rx=\"10\"/>"
            ),
        );
        put(out, &format!("<text class=\"title\" x=\"{LEFT}\" y=\"36\">{url}{limit}</text>"));
        put(
            out,
            &format!("<text x=\"{LEFT}\" y=\"58\">sent: {}{by}</text>", escape(&report.schedule)),
        );
    }

    fn axis(&self, out: &mut String) {
        let (floor, ceiling, right) = (self.floor(), TOP - 12.0, WIDTH - RIGHT);
        let step = nice_step(self.span_us, 11);
        for at_us in (0..).map(|n| n * step).take_while(|at_us| *at_us <= self.span_us) {
            let (x, below) = (self.x(at_us), floor + 20.0);
            put(out, &format!("<path class=\"grid\" d=\"M{x:.1} {ceiling:.1}V{floor:.1}\"/>"));
            put(
                out,
                &format!(
                    "<text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>",
                    time_label(at_us)
                ),
            );
        }
        put(out, &format!("<path class=\"axis\" d=\"M{LEFT} {floor:.1}H{right:.1}\"/>"));
    }

    fn requests(&self, out: &mut String, report: &Report) {
        let radius = (self.row_height * 0.36).clamp(1.0, 4.0);
        for (row, place) in self.rows.iter().enumerate() {
            let shot = &report.trace[*place];
            let y = TOP + self.row_height * (row as f64 + 0.5);
            let (from, to) = (self.x(shot.sent_us), self.x(shot.end_us));
            put(
                out,
                &match report.judgement.classes[*place] {
                    Class::Pass => format!(
                        "<circle class=\"pass\" cx=\"{from:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"
                    ),
                    Class::Wait => waiting(from, to, y, radius),
                    Class::Reject => cross("reject", from, y, radius),
                    Class::Failed => cross("failed", from, y, radius),
                },
            );
        }
    }

    fn legend(&self, out: &mut String, report: &Report) {
        let counts = report.counts();
        let mut x = LEFT;
        let rejected = format!("rejected with {}", report.view.reject_status);
        let (y, text_y) = (78.0, 82.5);
        for (class, word) in Class::ALL.into_iter().zip(["passed", "waited", &rejected, "failed"]) {
            if counts.of(class) == 0 {
                continue;
            }
            put(
                out,
                &match class {
                    Class::Pass => format!(
                        "<circle class=\"pass\" cx=\"{:.1}\" cy=\"{y}\" r=\"4\"/>",
                        x + 10.0
                    ),
                    Class::Wait => waiting(x, x + 18.0, y, 4.0),
                    Class::Reject => cross("reject", x + 10.0, y, 4.0),
                    Class::Failed => cross("failed", x + 10.0, y, 4.0),
                },
            );
            let text = format!("{} {word}", counts.of(class));
            put(out, &format!("<text x=\"{:.1}\" y=\"{text_y}\">{text}</text>", x + 28.0));
            x += 28.0 + 7.5 * text.len() as f64 + 22.0;
        }
        if self.every > 1 {
            put(
                out,
                &format!("<text x=\"{x:.1}\" y=\"{text_y}\">one of {} drawn</text>", self.every),
            );
        }
        let envelope = report
            .limit()
            .map(|_| if report.judgement.breaches.is_empty() { "kept" } else { "BROKEN" });
        if let Some(envelope) = envelope {
            let right = WIDTH - RIGHT;
            put(
                out,
                &format!(
                    "<text x=\"{right:.1}\" y=\"{text_y}\" text-anchor=\"end\">envelope {envelope}</text>"
                ),
            );
        }
    }
}

fn put(out: &mut String, element: &str) {
    let _infallible = writeln!(out, "{element}");
}

fn waiting(from: f64, to: f64, y: f64, radius: f64) -> String {
    let width = (radius * 0.75).max(0.6);
    let small = (radius * 0.5).max(0.6);
    format!(
        "<path class=\"line\" stroke-width=\"{width:.1}\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>\
         <circle class=\"wait\" cx=\"{from:.1}\" cy=\"{y:.1}\" r=\"{small:.1}\"/>\
         <circle class=\"pass\" cx=\"{to:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"
    )
}

fn cross(class: &str, x: f64, y: f64, radius: f64) -> String {
    let (left, right, above, below) = (x - radius, x + radius, y - radius, y + radius);
    format!(
        "<path class=\"{class}\" stroke-width=\"2\" d=\"M{left:.1} {above:.1}L{right:.1} {below:.1}M{left:.1} {below:.1}L{right:.1} {above:.1}\"/>"
    )
}

/// Order of the rows: groups sent together, one after the other; within each the forwarded ones by
/// their responses, then the rejected.
fn order(report: &Report) -> Vec<usize> {
    let trace = &report.trace;
    let mut places: Vec<usize> = (0..trace.len()).collect();
    places.sort_by_key(|place| trace[*place].sent_us);
    let mut group = vec![0_usize; trace.len()];
    for pair in places.windows(2) {
        let apart = trace[pair[1]].sent_us - trace[pair[0]].sent_us >= TOGETHER_US;
        group[pair[1]] = group[pair[0]] + usize::from(apart);
    }
    // Rejects have no release, so they stand below the staircase of the others.
    let refused =
        |place: usize| matches!(report.judgement.classes[place], Class::Reject | Class::Failed);
    places.sort_by_key(|place| (group[*place], refused(*place), trace[*place].end_us));
    places
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::{svg::*, trace::sample};

    #[test]
    fn every_request_is_in_the_picture_once() {
        let picture = svg(&sample::table_b());
        let marks = |class: &str| picture.matches(&format!("class=\"{class}\"")).count();
        // One more of each in the legend, and a release dot for each request that waited.
        assert_eq!(
            [marks("line"), marks("wait"), marks("pass"), marks("reject")],
            [21, 21, 23, 10]
        );
        assert!(picture.contains(">http://weir.test/ · 10r/s burst 20</text>"));
        assert!(
            picture.contains(">20 waited</text>")
                && picture.contains(">9 rejected with 503</text>")
        );
        assert!(picture.contains(">envelope kept</text>"));
    }

    #[test]
    fn access_line_escapes_outside_text() {
        let mut report = sample::table_b();
        report.url = "http://a/?x=<b>&\"".to_owned();
        assert!(svg(&report).contains("<title>http://a/?x=&lt;b&gt;&amp;&quot; ·"));
    }

    #[test]
    fn svg_large_burst_is_thinned() {
        let rows: Vec<(u64, u64, u16)> = (0..4_000).map(|n| (n, n, 200)).collect();
        let picture = svg(&sample::report("4000", &rows, None));
        assert_eq!(picture.matches("<circle").count(), 1_334 + 1);
        assert!(picture.contains(">one of 3 drawn</text>"));
    }
}
