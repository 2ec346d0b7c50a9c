//! Accuracy, and how far to trust it.

use serde::{Deserialize, Serialize};

/// Share of test samples whose class is the first, or among the first five, of a classifier's ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    pub top1: f64,
    pub top5: f64,
    pub samples: usize,
}

impl Accuracy {
    /// Counts the ranks (0 is best) at which the true classes came; `None` where the class was not ranked at all.
    pub(super) fn of_ranks(ranks: &[Option<usize>]) -> Self {
        let share = |within: usize| {
            ranks.iter().filter(|rank| rank.is_some_and(|r| r < within)).count() as f64
                / ranks.len().max(1) as f64
        };
        Self { top1: share(1), top5: share(5), samples: ranks.len() }
    }

    /// The 95 % Wilson interval of `top1`.
    pub fn interval(&self) -> (f64, f64) {
        wilson_interval(self.top1, self.samples)
    }
}

/// The 95 % confidence interval of a proportion seen in `samples` independent trials (Wilson, 1927).
///
/// Unlike p ± 1.96 σ it stays within [0, 1] and is not empty at 0 % and 100 %. No samples give (0, 1).
pub fn wilson_interval(proportion: f64, samples: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if samples == 0 {
        return (0.0, 1.0);
    }
    let (p, n) = (proportion, samples as f64);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The place of class `truth` when classes are ordered by falling score, ties to the lower class; `None` if its score
/// is −∞, which stands for "not considered".
pub(super) fn rank_of(scores: &[f64], truth: usize) -> Option<usize> {
    let own = scores[truth];
    let ahead = |(class, &score): (usize, &f64)| score > own || (score == own && class < truth);
    (own > f64::NEG_INFINITY).then(|| scores.iter().enumerate().filter(|&s| ahead(s)).count())
}

/// The distinct labels, sorted: a class is its position here.
pub(super) fn classes_of(labels: &[i64]) -> Vec<i64> {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_known_values() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        for (r, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson_interval(r as f64 / n as f64, n);
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{r}/{n}: {l} {h}");
        }
        assert_eq!(wilson_interval(1.0, 0), (0.0, 1.0));
        assert_eq!(wilson_interval(1.0, 20).1, 1.0);
    }

    #[test]
    fn ranks() {
        let scores = [0.5, 2.0, 0.5, f64::NEG_INFINITY];
        assert_eq!([0, 1, 2, 3].map(|c| rank_of(&scores, c)), [Some(1), Some(0), Some(2), None]);
        let accuracy = Accuracy::of_ranks(&[Some(0), Some(4), Some(5), None]);
        assert_eq!((accuracy.top1, accuracy.top5, accuracy.samples), (0.25, 0.5, 4));
    }
}
