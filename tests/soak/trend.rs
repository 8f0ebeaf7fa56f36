//! Where memory is heading.

use std::time::Duration;

const MIB: f64 = 1_048_576.0;
/// What is promised: bytes in ten minutes.
const PROMISED: f64 = MIB;
/// Rounds after which everything has happened that needs memory once: buffers, tables and threads of every kind.
const WARM: usize = 2;
/// What a run of a few rounds may grow by from the one half of them to the other. What is resident goes up and down by 5 MiB with
/// nothing kept; two halves are three rounds apart, which are 1,700 requests on 300 connections, so 5 KiB kept of a request show, or
/// 30 KiB of a connection.
const FEW_ROUNDS: f64 = 8.0 * MIB;

/// What a process had when all was quiet.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Duration,
    pub resident: u64,
}

#[derive(Debug, Default)]
pub struct Trend(Vec<Sample>);

impl Trend {
    /// Whether another minute has begun with it.
    pub fn add(&mut self, sample: Sample) -> bool {
        let minute = self.0.last().map_or(0, |before| before.at.as_secs() / 60);
        self.0.push(sample);
        sample.at.as_secs() / 60 > minute
    }

    /// Holds a long run, of which the first tenth is for getting warm, to its slope, and a short one to what it grew by; says
    /// what that was.
    pub fn judge(&self, time: Option<Duration>) -> String {
        let warm = &self.0[WARM..];
        let (grew, most, what) = match time {
            None => (growth(warm), FEW_ROUNDS, "from half to half"),
            Some(time) => {
                let late: Vec<Sample> = warm.iter().filter(|sample| sample.at > time / 10).copied().collect();
                (slope(&late) * 600.0, PROMISED, "in ten minutes")
            }
        };
        assert!(grew < most, "{:.3} MiB {what}: {:?}", grew / MIB, self.0);
        format!("{} rounds, {:.3} MiB {what}", self.0.len(), grew / MIB)
    }
}

/// From the least of the first half to the least of the second.
fn growth(samples: &[Sample]) -> f64 {
    let (before, after) = samples.split_at(samples.len() / 2);
    let least = |half: &[Sample]| half.iter().map(|sample| sample.resident).min().expect("samples") as f64;
    least(after) - least(before)
}

/// Bytes a second, by least squares.
fn slope(samples: &[Sample]) -> f64 {
    let points = || samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.resident as f64));
    let count = samples.len() as f64;
    let middle = points().fold((0.0, 0.0), |sum, (at, bytes)| (sum.0 + at / count, sum.1 + bytes / count));
    let rise: f64 = points().map(|(at, bytes)| (at - middle.0) * (bytes - middle.1)).sum();
    let run: f64 = points().map(|(at, _)| (at - middle.0).powi(2)).sum();
    rise / run
}

#[test]
fn a_line_has_its_slope() {
    let samples: Vec<Sample> =
        (0..9).map(|at| Sample { at: Duration::from_secs(at * at), resident: 50 + 7 * at * at }).collect();
    assert!((slope(&samples) - 7.0).abs() < 1e-9);
}
