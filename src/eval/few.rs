//! Few labels: how well does a linear probe do that sees n labelled images a class?

use super::linear::linear_probe_in;
use super::{Features, Labels, LinearOptions, Spread, Standardizer};
use crate::Result;
use rayon::prelude::*;

/// Numbers of labels a class that are tried if none are asked for, as far as the data go.
pub const FEW_LABELS: [usize; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// Top-1 accuracy of linear probes that see few `labels`, one [`Spread`] for each of these, over `seeds` draws each.
///
/// Features are standardised by all train rows, since that takes no labels; the probe chooses its weight decay within
/// the few, and takes a fixed one where they are too few to choose by. Draws are seeded from `options.seed` on, as
/// those of [`finetune`](super::finetune()) are from its seed.
///
/// Errors: those of [`linear_probe`](super::linear_probe) and [`Labels::draw`].
pub fn few_labels(
    train: &Features,
    test: &Features,
    labels: &[Labels],
    seeds: usize,
    options: &LinearOptions,
) -> Result<Vec<Spread>> {
    Features::check_pair(train, test, "few labels")?;
    let standard = Standardizer::fit(&train.data, train.d);
    let jobs: Vec<(Labels, u64)> =
        labels.iter().flat_map(|&labels| (0..seeds as u64).map(move |i| (labels, i))).collect();
    let accuracy = |&(labels, i): &(Labels, u64)| -> Result<f64> {
        let seed = options.seed.wrapping_add(i);
        let few = train.select(&labels.draw(&train.labels, seed)?);
        let options = LinearOptions { seed, ..options.clone() };
        Ok(linear_probe_in(&few, test, &standard, &options)?.accuracy.top1)
    };
    let runs: Vec<f64> = jobs.par_iter().map(accuracy).collect::<Result<_>>()?;
    Ok(runs.chunks(seeds.max(1)).map(|runs| Spread::of(runs.to_vec(), [0.0, 1.0])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};
    use Labels::PerClass;

    /// Three classes with labels 5, −2 and 9, apart on the first two of four axes.
    fn sample(n: usize, seed: u64) -> Features {
        let mut rng = Philox::new(seed, Purpose::Test, 0, 4);
        let labels: Vec<i64> = (0..n).map(|i| [5, -2, 9][i % 3]).collect();
        let centres = [[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]];
        let data = (0..n * 4).map(|i| centres[i / 4 % 3].get(i % 4).unwrap_or(&0.0) + rng.normal()).collect();
        Features::new(data, 4, labels).unwrap()
    }

    #[test]
    fn more_labels_help_and_intervals_shrink() {
        let (train, test) = (sample(900, 1), sample(900, 2));
        let curve =
            few_labels(&train, &test, &[1, 10, 200].map(PerClass), 8, &LinearOptions::default()).unwrap();
        let [one, ten, many] = &curve[..] else { panic!("{curve:?}") };
        assert!(curve.iter().all(|s| s.runs.len() == 8 && s.low <= s.mean && s.mean <= s.high));
        assert!(one.mean > 0.6 && one.mean < ten.mean && many.mean > 0.95, "{curve:?}");
        assert!(many.high - many.low < ten.high - ten.low && ten.high - ten.low < one.high - one.low);
        // Seeds of one call are those of another, shifted.
        let shifted = LinearOptions { seed: 1, ..Default::default() };
        assert_eq!(few_labels(&train, &test, &[PerClass(10)], 7, &shifted).unwrap()[0].runs, ten.runs[1..]);
    }

    #[test]
    fn the_thread_count_changes_nothing() {
        let (train, test) = (sample(300, 1), sample(90, 2));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                few_labels(&train, &test, &[2, 20].map(PerClass), 3, &LinearOptions::default()).unwrap()
            })
        };
        assert_eq!(with(1), with(3));
    }
}
