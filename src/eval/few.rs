//! Few labels: how well does a linear probe do that sees n labelled images a class?

use super::accuracy::classes_of;
use super::linear::linear_probe_in;
use super::{Features, LinearOptions, Spread, Standardizer};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;

/// Names the random streams of class-balanced draws among those of the probe.
const DRAWS: u32 = 1;

/// Numbers of labels a class that are tried if none are asked for, as far as the data go.
pub const FEW_LABELS: [usize; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// The rows of a class-balanced draw: `count` of each class, in order of class. Of the same seed, a larger draw holds
/// the smaller ones, so that a curve over counts is not rougher than it must be.
///
/// Errors: a class has fewer rows than `count`, or `count` is 0.
pub fn balanced_draw(labels: &[i64], count: usize, seed: u64) -> Result<Vec<usize>> {
    if count == 0 {
        return Err(Error::config("few", "needs at least 1 label a class"));
    }
    let mut rows = Vec::new();
    for class in classes_of(labels) {
        let mut own: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == class).collect();
        if own.len() < count {
            let what = format!("class {class} has {} training images, not {count}; ask for fewer", own.len());
            return Err(Error::config("few", what));
        }
        Philox::new(seed, Purpose::Probe, DRAWS, class as u64).shuffle(&mut own);
        rows.extend_from_slice(&own[..count]);
    }
    Ok(rows)
}

/// Top-1 accuracy of linear probes that see `count` labels a class, one [`Spread`] a count, over `seeds` draws each.
///
/// Features are standardised by all train rows, since that takes no labels; the probe chooses its weight decay within
/// the few, and takes a fixed one where they are too few to choose by. Draws are seeded from `options.seed` on.
///
/// Errors: those of [`linear_probe`](super::linear_probe) and [`balanced_draw`].
pub fn few_labels(
    train: &Features,
    test: &Features,
    counts: &[usize],
    seeds: usize,
    options: &LinearOptions,
) -> Result<Vec<Spread>> {
    Features::check_pair(train, test, "few labels")?;
    let standard = Standardizer::fit(&train.data, train.d);
    let jobs: Vec<(usize, u64)> =
        counts.iter().flat_map(|&count| (0..seeds as u64).map(move |i| (count, i))).collect();
    let accuracy = |&(count, i): &(usize, u64)| -> Result<f64> {
        let seed = options.seed.wrapping_add(i);
        let few = train.select(&balanced_draw(&train.labels, count, seed)?);
        let options = LinearOptions { seed, ..options.clone() };
        Ok(linear_probe_in(&few, test, &standard, &options)?.accuracy.top1)
    };
    let runs: Vec<f64> = jobs.par_iter().map(accuracy).collect::<Result<_>>()?;
    Ok(runs.chunks(seeds.max(1)).map(|runs| Spread::of(runs.to_vec(), [0.0, 1.0])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes with labels 5, −2 and 9, apart on the first two of four axes.
    fn sample(n: usize, seed: u64) -> Features {
        let mut rng = Philox::new(seed, Purpose::Test, 0, 4);
        let labels: Vec<i64> = (0..n).map(|i| [5, -2, 9][i % 3]).collect();
        let centres = [[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]];
        let data = (0..n * 4).map(|i| centres[i / 4 % 3].get(i % 4).unwrap_or(&0.0) + rng.normal()).collect();
        Features::new(data, 4, labels).unwrap()
    }

    #[test]
    fn draws_are_balanced_nested_and_seeded() {
        let labels: Vec<i64> = (0..60).map(|i| [5, -2, 9, 5][i % 4]).collect();
        let draw = |count, seed| balanced_draw(&labels, count, seed).unwrap();
        let (small, large) = (draw(3, 1), draw(8, 1));
        for (class, label) in [-2, 5, 9].into_iter().enumerate() {
            let of_class = &large[class * 8..][..8];
            assert!(of_class.iter().all(|&row| labels[row] == label), "{large:?}");
            assert_eq!(of_class[..3], small[class * 3..][..3]);
        }
        let mut distinct = large.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 24);
        assert_ne!(draw(3, 1), draw(3, 2));
    }

    #[test]
    fn a_class_too_small_is_named() {
        let error = balanced_draw(&[0, 0, 0, 7], 2, 0).unwrap_err().to_string();
        assert!(error.contains("class 7 has 1 training images, not 2"), "{error}");
        assert!(balanced_draw(&[0], 0, 0).unwrap_err().to_string().contains("at least 1"));
    }

    #[test]
    fn more_labels_help_and_intervals_shrink() {
        let (train, test) = (sample(900, 1), sample(900, 2));
        let curve = few_labels(&train, &test, &[1, 10, 200], 8, &LinearOptions::default()).unwrap();
        let [one, ten, many] = &curve[..] else { panic!("{curve:?}") };
        assert!(curve.iter().all(|s| s.runs.len() == 8 && s.low <= s.mean && s.mean <= s.high));
        assert!(one.mean > 0.6 && one.mean < ten.mean && many.mean > 0.95, "{curve:?}");
        assert!(many.high - many.low < ten.high - ten.low && ten.high - ten.low < one.high - one.low);
        // Seeds of one call are those of another, shifted.
        let shifted = LinearOptions { seed: 1, ..Default::default() };
        assert_eq!(few_labels(&train, &test, &[10], 7, &shifted).unwrap()[0].runs, ten.runs[1..]);
    }

    #[test]
    fn the_thread_count_changes_nothing() {
        let (train, test) = (sample(300, 1), sample(90, 2));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| few_labels(&train, &test, &[2, 20], 3, &LinearOptions::default()).unwrap())
        };
        assert_eq!(with(1), with(3));
    }
}
