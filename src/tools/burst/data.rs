//! Machine-readable report of a burst: JSON with everything, CSV with one line per request. Times
//! are milliseconds with three decimals.

use std::fmt::Write;

use serde::Serialize;

use super::{
    class::Counts,
    judge::{Breach, TraceJudgement, difference},
    limit::Limit,
    report::Report,
    trace::End,
};

/// First line of the CSV.
const COLUMNS: &str = "client,due_ms,sent_ms,end_ms,status,class,slot_ms,late_ms,error";

/// Renders the report as one indented JSON value.
#[must_use]
pub fn json(report: &Report) -> String {
    let judgement = &report.judgement;
    let whole = Whole {
        url: &report.url,
        schedule: &report.schedule,
        clients: report.clients,
        reject_status: report.view.reject_status,
        limit: report.limit().map(LimitOut::of),
        counts: CountsOut::of(&judgement.counts),
        by_limit: judgement.expected.as_ref().map(CountsOut::of),
        statuses: report.statuses(),
        failures: report.failures(),
        worst_send_ms: Ms::of(report.worst_send_us()),
        lateness_ms: LatenessOut::of(judgement),
        envelope: report.limit().map(|_| EnvelopeOut::of(report)),
        requests: rows(report).collect(),
    };
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

/// Renders the requests as CSV (RFC 4180), one per line.
#[must_use]
pub fn csv(report: &Report) -> String {
    let mut out = format!("{COLUMNS}\r\n");
    for row in rows(report) {
        let status = row.status.map(|status| status.to_string()).unwrap_or_default();
        let slot = row.slot_ms.map(Ms::text).unwrap_or_default();
        let late = row.late_ms.map(Ms::text).unwrap_or_default();
        let error = row
            .error
            // An error text may hold a comma or a quotation mark.
            .map(|error| format!("\"{}\"", error.replace('"', "\"\"")))
            .unwrap_or_default();
        let [due, sent, end] = [row.due_ms, row.sent_ms, row.end_ms].map(Ms::text);
        let _infallible = write!(
            out,
            "{},{due},{sent},{end},{status},{},{slot},{late},{error}\r\n",
            row.client, row.class
        );
    }
    out
}

/// Milliseconds, exact to the microsecond.
#[derive(Clone, Copy, Serialize)]
#[serde(into = "f64")]
struct Ms(i64);

impl Ms {
    fn of(micros: u64) -> Self {
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        format!("{sign}{}.{:03}", micros / 1_000, micros % 1_000)
    }
}

impl From<Ms> for f64 {
    fn from(ms: Ms) -> Self {
        // A double represents every microsecond of two centuries exactly.
        ms.0 as Self / 1_000.0
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    url: &'a str,
    schedule: &'a str,
    clients: u32,
    reject_status: u16,
    limit: Option<LimitOut>,
    counts: CountsOut,
    by_limit: Option<CountsOut>,
    statuses: std::collections::BTreeMap<u16, usize>,
    failures: std::collections::BTreeMap<String, usize>,
    worst_send_ms: Ms,
    lateness_ms: Option<LatenessOut>,
    envelope: Option<EnvelopeOut>,
    requests: Vec<Row>,
}

#[derive(Serialize)]
struct LimitOut {
    rate: String,
    burst: u32,
    delay: u32,
}

impl LimitOut {
    fn of(limit: &Limit) -> Self {
        Self { rate: limit.rate().to_string(), burst: limit.burst(), delay: limit.delay() }
    }
}

#[derive(Serialize)]
struct CountsOut {
    pass: usize,
    wait: usize,
    reject: usize,
    failed: usize,
}

impl CountsOut {
    fn of(counts: &Counts) -> Self {
        // Every field by name: a new class must not be left out of the output.
        let Counts { pass, wait, reject, failed } = *counts;
        Self { pass, wait, reject, failed }
    }
}

#[derive(Serialize)]
struct LatenessOut {
    p50: Ms,
    p90: Ms,
    p99: Ms,
    max: Ms,
    min: Ms,
}

impl LatenessOut {
    fn of(judgement: &TraceJudgement) -> Option<Self> {
        let late = judgement.lateness?;
        let [p50, p90, p99] = [late.p50_us, late.p90_us, late.p99_us].map(Ms);
        Some(Self { p50, p90, p99, max: Ms(late.max_us), min: Ms(late.min_us) })
    }
}

#[derive(Serialize)]
struct EnvelopeOut {
    kept: bool,
    too_many: usize,
    early: usize,
    needless_rejects: usize,
    sentences: Vec<String>,
}

impl EnvelopeOut {
    fn of(report: &Report) -> Self {
        let count = |kind: fn(&Breach) -> bool| {
            report.judgement.breaches.iter().filter(|breach| kind(breach)).count()
        };
        Self {
            kept: report.judgement.breaches.is_empty(),
            too_many: count(|breach| matches!(breach, Breach::TooMany { .. })),
            early: count(|breach| matches!(breach, Breach::Early { .. })),
            needless_rejects: count(|breach| matches!(breach, Breach::NeedlessReject { .. })),
            sentences: report.broken(),
        }
    }
}

#[derive(Serialize)]
struct Row {
    client: u32,
    due_ms: Ms,
    sent_ms: Ms,
    end_ms: Ms,
    status: Option<u16>,
    class: &'static str,
    slot_ms: Option<Ms>,
    late_ms: Option<Ms>,
    error: Option<String>,
}

fn rows(report: &Report) -> impl Iterator<Item = Row> {
    let judged = report.judgement.classes.iter().zip(&report.judgement.slots_us);
    report.trace.iter().zip(judged).map(|(shot, (class, slot_us))| Row {
        client: shot.client,
        due_ms: Ms::of(shot.due_us),
        sent_ms: Ms::of(shot.sent_us),
        end_ms: Ms::of(shot.end_us),
        status: shot.status(),
        class: class.as_str(),
        slot_ms: slot_us.map(Ms::of),
        late_ms: slot_us.map(|slot_us| Ms(difference(shot.end_us, slot_us))),
        error: match &shot.end {
            End::Answer(_) => None,
            End::Failed(cause) => Some(cause.to_string()),
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::{data::*, trace::sample};

    #[test]
    fn csv_has_a_line_for_each_request() {
        let report = sample::report(
            "4",
            &[(0, 0, 200), (0, 100_000, 200), (1, 300, 503)],
            Some(("10r/s", 1, 0)),
        );
        assert_eq!(
            csv(&report),
            "client,due_ms,sent_ms,end_ms,status,class,slot_ms,late_ms,error\r\n\
             0,0.000,0.000,0.000,200,pass,0.000,0.000,\r\n\
             0,0.000,0.000,100.000,200,wait,100.000,0.000,\r\n\
             0,0.001,0.001,0.300,503,reject,,,\r\n"
        );
    }

    #[test]
    fn json_has_the_rows_and_the_judgement() {
        let report = sample::report(
            "3",
            &[(0, 0, 200), (0, 98_000, 200), (1, 300, 503)],
            Some(("10r/s", 1, 0)),
        );
        let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("json");
        assert_eq!(value["limit"]["rate"], "10r/s");
        assert_eq!(value["counts"]["reject"], 1);
        assert_eq!(value["statuses"]["503"], 1);
        assert_eq!(value["envelope"]["kept"], false);
        assert_eq!(value["envelope"]["early"], 1);
        assert_eq!(value["lateness_ms"]["min"], -2.0);
        assert_eq!(value["requests"][1]["late_ms"], -2.0);
        assert_eq!(value["requests"][2]["class"], "reject");
    }
}
