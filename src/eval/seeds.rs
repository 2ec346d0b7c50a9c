//! A figure measured under several seeds: its mean, and how far to trust that.

use serde::{Deserialize, Serialize};

/// Runs under several seeds and the 95 % interval of their mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub mean: f64,
    /// Ends of the 95 % interval of the mean by Student's t with one degree of freedom fewer than there are runs.
    pub low: f64,
    pub high: f64,
    /// The figure under each seed.
    pub runs: Vec<f64>,
}

impl Spread {
    /// Of at least two runs of a figure that can lie in `[least, most]`: the interval is cut to that. One run says
    /// nothing about spread, so its interval is all of it.
    pub fn of(runs: Vec<f64>, [least, most]: [f64; 2]) -> Self {
        let n = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / n;
        if runs.len() < 2 {
            return Self { mean, low: least, high: most, runs };
        }
        let variance = runs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = student_t_95(runs.len() - 1) * (variance / n).sqrt();
        Self { mean, low: (mean - half).max(least), high: (mean + half).min(most), runs }
    }

    /// How much larger this share is than `other`, run by run: the paired difference of two shares whose runs met the
    /// same draws. What a lucky draw does to both falls out, so it tells apart what two overlapping intervals cannot.
    ///
    /// Panics if they are of different numbers of runs.
    pub fn minus(&self, other: &Self) -> Self {
        assert_eq!(self.runs.len(), other.runs.len(), "paired runs");
        Self::of(self.runs.iter().zip(&other.runs).map(|(a, b)| a - b).collect(), [-1.0, 1.0])
    }
}

/// The 97.5 % quantile of Student's t.
fn student_t_95(degrees: usize) -> f64 {
    const TABLE: [f64; 10] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004, 2.262_157,
        2.228_139,
    ];
    if let Some(&t) = TABLE.get(degrees - 1) {
        return t;
    }
    // Abramowitz & Stegun 26.7.5; within 1e-5 from eleven degrees on.
    let (z, v) = (1.959_963_984_540_054_f64, degrees as f64);
    let terms = [
        z,
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z)
            / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / v + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        for (degrees, t) in [(1, 12.706205), (4, 2.776445), (11, 2.200985), (30, 2.042272), (1000, 1.962339)]
        {
            assert!((student_t_95(degrees) - t).abs() < 1e-5, "{degrees}: {}", student_t_95(degrees));
        }
    }

    #[test]
    fn an_interval_by_hand() {
        // Mean 0.5, standard deviation 0.1, standard error 0.1/√3; t with two degrees of freedom.
        let spread = Spread::of(vec![0.4, 0.5, 0.6], [0.0, 1.0]);
        let half = 4.302_653 * 0.1 / 3f64.sqrt();
        assert!((spread.mean - 0.5).abs() < 1e-12);
        assert!((spread.low - (0.5 - half)).abs() < 1e-9 && (spread.high - (0.5 + half)).abs() < 1e-9);
        let same = Spread::of(vec![1.0; 4], [0.0, 1.0]);
        assert_eq!((same.low, same.high), (1.0, 1.0));
        let cut = Spread::of(vec![0.0, 1.0], [0.0, 1.0]);
        assert_eq!((cut.low, cut.high), (0.0, 1.0));
        let one = Spread::of(vec![0.3], [-1.0, 1.0]);
        assert_eq!((one.mean, one.low, one.high), (0.3, -1.0, 1.0));
    }
    /// Ten labels a class in bench-runs/2026-11-25-methods/simclr-0-few.json: intervals overlap, draws do not disagree.
    #[test]
    fn paired_runs_tell_apart_what_their_intervals_do_not() {
        let of = |runs: [f64; 5]| Spread::of(runs.to_vec(), [0.0, 1.0]);
        let (features, pixels) =
            (of([0.685, 0.7515, 0.7225, 0.66, 0.68]), of([0.67, 0.733, 0.693, 0.656, 0.6715]));
        assert!(features.low < pixels.high);
        let lead = features.minus(&pixels);
        // Mean 0.0151, standard error 0.004392 by hand; t with four degrees of freedom.
        assert!((lead.mean - 0.0151).abs() < 1e-12 && (lead.runs[2] - 0.0295).abs() < 1e-12, "{lead:?}");
        assert!((lead.low - 0.0029).abs() < 5e-5 && (lead.high - 0.0273).abs() < 5e-5, "{lead:?}");
        let behind = pixels.minus(&features);
        assert_eq!((behind.mean, behind.low, behind.high), (-lead.mean, -lead.high, -lead.low));
    }
}
