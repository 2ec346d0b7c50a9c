//! Weighted k-nearest-neighbour classification of frozen features.

use super::accuracy::{Accuracy, classes_of, rank_of};
use super::features::Features;
use super::neighbours::{Neighbour, top_k};
use crate::{Error, Result};
use rayon::prelude::*;

/// How many neighbours vote, and how sharply their votes fall with distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnOptions {
    /// Neighbours that vote; at most all of the train set.
    pub k: usize,
    /// T in the vote exp(cosine / T).
    pub temperature: f64,
}

impl Default for KnnOptions {
    /// k = 200, T = 0.1: lightly's and this project's setting (Wu et al. and DINO take T = 0.07).
    fn default() -> Self {
        Self { k: 200, temperature: 0.1 }
    }
}

/// Classifies each test row by the votes exp(cosine / T) of its k nearest train rows (Wu et al. 2018, "Unsupervised
/// feature learning via non-parametric instance discrimination", section 3.4; the protocol of DINO).
///
/// A class that no neighbour voted for is never a hit, nor is one absent from the train set. Ties go to the lower row
/// and the lower class. Errors: no rows, different widths, values not finite, k or T not positive.
pub fn knn(train: &Features, test: &Features, options: &KnnOptions) -> Result<Accuracy> {
    Features::check_pair(train, test, "knn")?;
    if options.k == 0 {
        return Err(Error::config("eval.knn_k", "must be at least 1"));
    }
    if !(options.temperature > 0.0 && options.temperature.is_finite()) {
        return Err(Error::config(
            "eval.knn_temperature",
            format!("{} is not positive", options.temperature),
        ));
    }
    let classes = classes_of(&train.labels);
    let class_of_row: Vec<usize> =
        train.labels.iter().map(|label| classes.partition_point(|c| c < label)).collect();
    let found = top_k(&train.l2_normalized(), &test.l2_normalized(), train.d, options.k);
    let ranks: Vec<Option<usize>> = found
        .par_iter()
        .zip(&test.labels)
        .map(|(neighbours, label)| {
            let truth = classes.binary_search(label).ok()?;
            rank_of(&votes(neighbours, &class_of_row, classes.len(), options.temperature), truth)
        })
        .collect();
    Ok(Accuracy::of_ranks(&ranks))
}

/// Votes per class, −∞ where none. Relative to the nearest neighbour's, so a small T cannot overflow.
fn votes(neighbours: &[Neighbour], class_of_row: &[usize], classes: usize, temperature: f64) -> Vec<f64> {
    let mut votes = vec![f64::NEG_INFINITY; classes];
    let nearest = neighbours.first().map_or(0.0, |n| f64::from(n.similarity));
    for n in neighbours {
        let vote = &mut votes[class_of_row[n.row]];
        *vote = vote.max(0.0) + ((f64::from(n.similarity) - nearest) / temperature).exp();
    }
    votes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    /// Clusters around random class centres, with labels that are neither dense nor sorted.
    fn clusters(n: usize, d: usize, noise: f32, seed: u64) -> Features {
        let labels: Vec<i64> = (0..n).map(|i| [40, -3, 7, 0, 12, 5, 99][i * 5 % 7]).collect();
        let mut rng = Philox::new(seed, Purpose::Test, 0, 1);
        let mut data = Vec::new();
        for &label in &labels {
            let mut centre = Philox::new(99, Purpose::Test, 1, label as u64);
            data.extend((0..d).map(|_| centre.normal() + noise * rng.normal()));
        }
        Features::new(data, d, labels).unwrap()
    }

    /// The definition, in f64, sorting everything.
    fn naive(train: &Features, test: &Features, k: usize, t: f64) -> (f64, f64) {
        let unit = |row: &[f32]| {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|&x| f64::from(x) / norm).collect::<Vec<f64>>()
        };
        let classes = classes_of(&train.labels);
        let (mut top1, mut top5) = (0, 0);
        for i in 0..test.n {
            let query = unit(test.row(i));
            let mut all: Vec<(f64, usize)> = (0..train.n)
                .map(|j| (unit(train.row(j)).iter().zip(&query).map(|(a, b)| a * b).sum(), j))
                .collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut votes = vec![0.0; classes.len()];
            for &(s, j) in all.iter().take(k) {
                votes[classes.binary_search(&train.labels[j]).unwrap()] += (s / t).exp();
            }
            let mut order: Vec<usize> = (0..classes.len()).filter(|&c| votes[c] > 0.0).collect();
            order.sort_by(|&a, &b| votes[b].total_cmp(&votes[a]));
            let rank = order.iter().position(|&c| classes[c] == test.labels[i]);
            top1 += usize::from(rank.is_some_and(|r| r < 1));
            top5 += usize::from(rank.is_some_and(|r| r < 5));
        }
        (top1 as f64 / test.n as f64, top5 as f64 / test.n as f64)
    }

    #[test]
    fn equals_the_definition() {
        // More than one query block and more than one bank tile; odd widths; k above n.
        for (n, m, d, k, t) in [
            (1300, 600, 19, 200, 0.1),
            (300, 40, 1, 7, 0.1),
            (60, 130, 33, 500, 0.02),
            (1, 3, 5, 1, 1.0),
            (50, 20, 8, 1, 0.001),
        ] {
            let (train, test) = (clusters(n, d, 2.5, 1), clusters(m, d, 2.5, 2));
            let got = knn(&train, &test, &KnnOptions { k, temperature: t }).unwrap();
            assert_eq!((got.top1, got.top5), naive(&train, &test, k, t), "n {n} d {d} k {k}");
            assert_eq!(got.samples, m);
        }
    }

    #[test]
    fn a_class_never_seen_is_a_miss() {
        let train = Features::new(vec![1., 0., 0., 1.], 2, vec![0, 2]).unwrap();
        let test = Features::new(vec![1., 0., 1., 0., 0., 1.], 2, vec![0, 1, -9]).unwrap();
        let got = knn(&train, &test, &KnnOptions::default()).unwrap();
        assert!((got.top1 - 1.0 / 3.0).abs() < 1e-12 && (got.top5 - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn collapsed_features_vote_by_class_frequency() {
        let train = Features::new(vec![1.0; 10], 1, vec![4, 4, 4, 8, 8, 8, 8, 8, 8, 8]).unwrap();
        let test = Features::new(vec![1.0; 2], 1, vec![4, 8]).unwrap();
        assert_eq!(knn(&train, &test, &KnnOptions::default()).unwrap().top1, 0.5);
        // Of equals, the lower rows vote first.
        assert_eq!(knn(&train, &test, &KnnOptions { k: 3, temperature: 0.1 }).unwrap().top5, 0.5);
    }

    #[test]
    fn says_what_is_wrong() {
        let good = Features::new(vec![1., 2.], 1, vec![0, 1]).unwrap();
        let wide = Features::new(vec![1., 2.], 2, vec![0]).unwrap();
        let say = |test: &Features, k, temperature| {
            knn(&good, test, &KnnOptions { k, temperature }).unwrap_err().to_string()
        };
        assert!(say(&wide, 1, 0.1).contains("train rows have 1 features, test rows 2"));
        assert!(say(&good, 0, 0.1).contains("eval.knn_k"));
        assert!(say(&good, 1, f64::NAN).contains("NaN is not positive"));
        let nan = Features { data: vec![f32::NAN], n: 1, d: 1, labels: vec![0] };
        assert!(say(&nan, 1, 0.1).contains("row 0 is NaN"));
    }
}
