//! Where memory is heading.

use std::time::Duration;

const MIB: f64 = 1_048_576.0;
/// What is promised: bytes in ten minutes.
const PROMISED: f64 = MIB;
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

    /// Holds a run of so long, of which the first tenth is for getting warm, to what is promised;
    /// says what it was.
    pub fn judge(&self, time: Duration) -> String {
        let warm: Vec<Sample> =
            self.0.iter().filter(|sample| sample.at > time / 10).copied().collect();
        let grew = slope(&warm) * 600.0;
        assert!(grew < PROMISED, "{:.3} MiB in ten minutes: {:?}", grew / MIB, self.0);
        format!("{:.3} MiB in ten minutes", grew / MIB)
    }
}

/// Bytes a second, by least squares.
fn slope(samples: &[Sample]) -> f64 {
    let points = || samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.resident as f64));
    let count = samples.len() as f64;
    let middle =
        points().fold((0.0, 0.0), |sum, (at, bytes)| (sum.0 + at / count, sum.1 + bytes / count));
    let rise: f64 = points().map(|(at, bytes)| (at - middle.0) * (bytes - middle.1)).sum();
    let run: f64 = points().map(|(at, _)| (at - middle.0).powi(2)).sum();
    rise / run
}

#[test]
fn trend_line_has_its_slope() {
    let samples: Vec<Sample> = (0..9)
        .map(|at| Sample { at: Duration::from_secs(at * at), resident: 50 + 7 * at * at })
        .collect();
    assert!((slope(&samples) - 7.0).abs() < 1e-9);
}
