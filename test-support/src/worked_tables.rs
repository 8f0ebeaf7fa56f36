//! The worked tables A to E of docs/limits.md, once: each harness runs them.

use crate::limit::{Delay, Pass, Reject, Seen};

/// One rule of a table.
pub struct TableRule {
    pub rate: &'static str,
    pub burst: u32,
    /// As many as `burst` for `nodelay`.
    pub delay: u32,
    /// True if all clients are counted together, in place of each address.
    pub global: bool,
}

/// Requests at the same instant that have the same verdict, but for delays one interval apart.
#[derive(Clone, Copy)]
pub enum Run {
    Passes(usize),
    Delays { count: usize, step_ms: u64 },
    Rejects { count: usize, retry_ms: u64 },
}

/// A worked table: rules, and the verdicts of requests in order of arrival.
pub struct WorkedTable {
    pub name: &'static str,
    pub rules: &'static [TableRule],
    /// Instants in milliseconds, and the runs at each.
    pub steps: &'static [(u64, &'static [Run])],
}

use Run::{Delays, Passes, Rejects};

pub const A: WorkedTable = WorkedTable {
    name: "A",
    rules: &[client("1r/s", 0, 0)],
    steps: &[
        (0, &[Passes(1)]),
        (100, &[Rejects { count: 1, retry_ms: 900 }]),
        (999, &[Rejects { count: 1, retry_ms: 1 }]),
        (1_000, &[Passes(1)]),
        (1_100, &[Rejects { count: 1, retry_ms: 900 }]),
    ],
};

/// A with pauses that leave room for a late machine on either side of the second.
pub const A_ON_REAL_CLOCK: WorkedTable = WorkedTable {
    name: "A on a real clock",
    rules: A.rules,
    steps: &[
        (0, &[Passes(1)]),
        (100, &[Rejects { count: 1, retry_ms: 900 }]),
        (600, &[Rejects { count: 1, retry_ms: 400 }]),
        (1_400, &[Passes(1)]),
        (1_500, &[Rejects { count: 1, retry_ms: 900 }]),
    ],
};

pub const B: WorkedTable = WorkedTable {
    name: "B",
    rules: &[client("10r/s", 20, 0)],
    steps: &[(
        0,
        &[Passes(1), Delays { count: 20, step_ms: 100 }, Rejects { count: 9, retry_ms: 100 }],
    )],
};

pub const B_NODELAY: WorkedTable = WorkedTable {
    name: "B, `nodelay`",
    rules: &[client("10r/s", 20, 20)],
    steps: &[(0, &[Passes(21), Rejects { count: 9, retry_ms: 100 }])],
};

pub const B_DELAY_8: WorkedTable = WorkedTable {
    name: "B, `delay`",
    rules: &[client("10r/s", 20, 8)],
    steps: &[(
        0,
        &[Passes(9), Delays { count: 12, step_ms: 100 }, Rejects { count: 9, retry_ms: 100 }],
    )],
};

pub const C: WorkedTable = WorkedTable {
    name: "C",
    rules: &[client("5r/s", 12, 8)],
    steps: &[(
        0,
        &[Passes(9), Delays { count: 4, step_ms: 200 }, Rejects { count: 2, retry_ms: 200 }],
    )],
};

pub const D: WorkedTable = WorkedTable {
    name: "D",
    rules: &[client("30r/m", 2, 1)],
    steps: &[(
        0,
        &[Passes(2), Delays { count: 1, step_ms: 2_000 }, Rejects { count: 1, retry_ms: 2_000 }],
    )],
};

/// The waits are those of the second rule, the rejects those of the first.
pub const E: WorkedTable = WorkedTable {
    name: "E",
    rules: &[client("1r/s", 5, 5), TableRule { rate: "10r/s", burst: 10, delay: 0, global: true }],
    steps: &[(
        0,
        &[Passes(1), Delays { count: 5, step_ms: 100 }, Rejects { count: 3, retry_ms: 1_000 }],
    )],
};

/// The tables of the page.
pub const ALL: [&WorkedTable; 7] = [&A, &B, &B_NODELAY, &B_DELAY_8, &C, &D, &E];

const fn client(rate: &'static str, burst: u32, delay: u32) -> TableRule {
    TableRule { rate, burst, delay, global: false }
}

impl TableRule {
    /// As the tests of the engine and of the data path write it: `10r/s burst=20 delay=8`.
    pub fn text(&self) -> String {
        let key = if self.global { " key=global" } else { "" };
        let words = self.words();
        let between = if words.is_empty() { "" } else { " " };
        format!("{}{between}{words}{key}", self.rate)
    }

    /// As nginx writes it, which knows no `burst=0`: `burst=20 delay=8`.
    pub fn words(&self) -> String {
        if self.burst == 0 {
            return String::new();
        }
        self.written(["burst=", "nodelay", "delay="], " ")
    }

    /// As a configuration file has it: `burst: 20, nodelay: true`.
    pub fn keys(&self) -> String {
        self.written(["burst: ", "nodelay: true", "delay: "], ", ")
    }

    /// As the tests of the burst bench write it: `10r/s burst 20 delay 8`.
    pub fn bench(&self) -> String {
        format!("{} {}", self.rate, self.written(["burst ", "nodelay", "delay "], " "))
    }

    fn written(&self, [burst, nodelay, delay]: [&str; 3], between: &str) -> String {
        let burst = format!("{burst}{}", self.burst);
        match self.delay {
            0 => burst,
            all if all == self.burst => format!("{burst}{between}{nodelay}"),
            some => format!("{burst}{between}{delay}{some}"),
        }
    }
}

impl Run {
    fn count(self) -> usize {
        match self {
            Passes(count) | Delays { count, .. } | Rejects { count, .. } => count,
        }
    }

    fn seen(self) -> Vec<Seen> {
        match self {
            Passes(count) => vec![Pass; count],
            Delays { count, step_ms } => (1..=count as u64).map(|k| Delay(k * step_ms)).collect(),
            Rejects { count, retry_ms } => vec![Reject(retry_ms); count],
        }
    }

    fn described(self) -> String {
        match self {
            Passes(count) => format!("{count} now"),
            Delays { count: 1, step_ms } => format!("1 after {step_ms} ms"),
            Delays { count, step_ms } => {
                let (second, last) = (2 * step_ms, count as u64 * step_ms);
                format!("{count} after {step_ms}, {second} … {last} ms")
            }
            Rejects { count, retry_ms } => format!("{count} rejected, free in {retry_ms} ms"),
        }
    }
}

impl WorkedTable {
    /// Its rules, each as its text.
    pub fn texts(&self) -> Vec<String> {
        self.rules.iter().map(TableRule::text).collect()
    }

    /// Numbers of requests that pass, wait and are rejected.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Seen) -> bool| self.verdicts().iter().filter(|seen| is(seen)).count();
        (
            count(|seen| matches!(seen, Pass)),
            count(|seen| matches!(seen, Delay(_))),
            count(|seen| matches!(seen, Reject(_))),
        )
    }

    /// Every verdict, in order of arrival.
    pub fn verdicts(&self) -> Vec<Seen> {
        self.steps.iter().flat_map(|(_, runs)| *runs).flat_map(|run| run.seen()).collect()
    }

    /// Instants of arrival, in milliseconds, and how many requests come at each.
    pub fn arrivals(&self) -> impl Iterator<Item = (u64, usize)> {
        self.steps.iter().map(|(at, runs)| (*at, runs.iter().map(|run| run.count()).sum()))
    }

    /// Number of requests.
    pub fn requests(&self) -> usize {
        self.arrivals().map(|(_, count)| count).sum()
    }

    /// Schedule of the burst bench.
    pub fn schedule(&self) -> String {
        let (mut parts, mut last) = (Vec::new(), 0);
        for (at, count) in self.arrivals() {
            if at > last {
                parts.push(format!("pause {}ms", at - last));
            }
            parts.push(format!("{count} at once"));
            last = at;
        }
        parts.join(", ")
    }

    /// Row of the page: name, limits, arrivals, verdicts.
    pub fn row(&self) -> String {
        let limit = |rule: &TableRule| {
            let whose = if rule.global { " of all" } else { "" };
            format!("`{}`{whose}, `{}`", rule.rate, rule.keys())
        };
        let limits: Vec<_> = self.rules.iter().map(limit).collect();
        let step = |(at, runs): &(u64, &[Run])| {
            let runs: Vec<_> = runs.iter().map(|run| run.described()).collect();
            format!("at {at}: {}", runs.join(", "))
        };
        let steps: Vec<_> = self.steps.iter().map(step).collect();
        format!("| {} | {} | {} |", self.name, limits.join("; "), steps.join("; "))
    }
}
