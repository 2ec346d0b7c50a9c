//! Clustering: does k-means, which sees no labels, find the classes?

use super::accuracy::classes_of;
use super::agreement::agreement;
use super::{Features, Spread};
use crate::linalg::{Mat, gemm};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Names the random streams of k-means among those of the probe.
const CENTRES: u32 = 2;
/// Rows a task handles; fixed, so that sums do not depend on the thread count.
const ROW_BLOCK: usize = 1024;
/// Rounds of Lloyd's algorithm at most; it ends before, once no row changes its cluster.
const ROUNDS: usize = 300;

/// Agreement of k-means clusters with classes, each figure over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clustering {
    /// As many as there are classes.
    pub clusters: usize,
    /// Normalised mutual information ([`agreement`]).
    pub nmi: Spread,
    /// Adjusted Rand index.
    pub ari: Spread,
    /// Accuracy under the best one-to-one assignment of clusters to classes.
    pub accuracy: Spread,
}

/// Runs k-means on the l2-normalised rows, with as many clusters as there are labels, once a seed from `seed` on, each
/// time the best by its own objective of `restarts` starts (k-means++; Arthur & Vassilvitskii 2007).
///
/// Errors: no rows, values not finite, no seeds or restarts.
pub fn clustering(features: &Features, seed: u64, seeds: usize, restarts: usize) -> Result<Clustering> {
    features.check("clustering")?;
    if seeds == 0 || restarts == 0 {
        return Err(Error::config("clustering", "seeds and restarts must be at least 1"));
    }
    let labels = classes_of(&features.labels);
    let classes: Vec<usize> = features.labels.iter().map(|l| labels.partition_point(|x| x < l)).collect();
    let unit = features.l2_normalized();
    let found = (0..seeds as u64).map(|i| {
        let best = (0..restarts as u64)
            .map(|restart| kmeans(&unit, features.d, labels.len(), seed.wrapping_add(i), restart))
            .min_by(|a, b| a.inertia.total_cmp(&b.inertia));
        agreement(&classes, &best.map_or_else(Vec::new, |b| b.clusters))
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    let spread = |f: fn(&super::Agreement) -> f64, range| Spread::of(found.iter().map(f).collect(), range);
    Ok(Clustering {
        clusters: labels.len(),
        nmi: spread(|a| a.nmi, [0.0, 1.0]),
        ari: spread(|a| a.ari, [-1.0, 1.0]),
        accuracy: spread(|a| a.accuracy, [0.0, 1.0]),
    })
}

struct Clusters {
    /// Of each row.
    clusters: Vec<usize>,
    /// Sum of squared distances to the centres: what k-means lowers.
    inertia: f64,
}

/// Lloyd's algorithm from k-means++ centres, on rows of `d` values. A cluster that loses all its rows takes the row that
/// is farthest from its own centre.
fn kmeans(rows: &[f32], d: usize, k: usize, seed: u64, restart: u64) -> Clusters {
    let mut centres = spread_centres(rows, d, k, &mut Philox::new(seed, Purpose::Probe, CENTRES, restart));
    let mut found = nearest(rows, d, &centres);
    for _ in 0..ROUNDS {
        centres = means(rows, d, k, &mut found);
        let next = nearest(rows, d, &centres);
        let settled = next.iter().zip(&found).all(|(a, b)| a.0 == b.0);
        found = next;
        if settled {
            break;
        }
    }
    Clusters { inertia: found.iter().map(|f| f.1).sum(), clusters: found.into_iter().map(|f| f.0).collect() }
}

/// k rows, each drawn with a probability in proportion to its squared distance from those drawn before.
fn spread_centres(rows: &[f32], d: usize, k: usize, rng: &mut Philox) -> Vec<f32> {
    let n = rows.len() / d;
    let mut centres = Vec::with_capacity(k * d);
    let mut distances = vec![1.0; n];
    for _ in 0..k {
        let total: f64 = distances.iter().sum();
        let mut left = f64::from(rng.uniform()) * total;
        // Rounding may leave a remainder behind the last; a row that coincides with a centre is never drawn.
        let drawn = distances.iter().position(|&x| {
            left -= x;
            left < 0.0 && x > 0.0
        });
        let row = drawn.or_else(|| distances.iter().rposition(|&x| x > 0.0)).unwrap_or(0);
        let centre = &rows[row * d..][..d];
        distances.par_iter_mut().zip(rows.par_chunks(d)).for_each(|(distance, row)| {
            *distance =
                distance_squared(row, centre).min(if centres.is_empty() { f64::INFINITY } else { *distance });
        });
        centres.extend_from_slice(centre);
    }
    centres
}

fn distance_squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// The nearest centre of each row, the lower of equals, and the squared distance to it.
fn nearest(rows: &[f32], d: usize, centres: &[f32]) -> Vec<(usize, f64)> {
    let k = centres.len() / d;
    let lengths: Vec<f32> = centres.chunks_exact(d).map(|c| c.iter().map(|x| x * x).sum()).collect();
    rows.par_chunks(ROW_BLOCK * d)
        .flat_map_iter(|block| {
            let n = block.len() / d;
            // ‖c‖² − 2 x·c, which differs from the squared distance by ‖x‖² only.
            let mut scores = lengths.repeat(n);
            gemm(&mut scores, k, Mat::new(block, n, d), Mat::new(centres, k, d).t(), -2.0, true, false);
            let of_row = |(row, scores): (&[f32], &[f32])| {
                let best = (1..k).fold(0, |best, c| if scores[c] < scores[best] { c } else { best });
                (best, distance_squared(row, &centres[best * d..][..d]))
            };
            block.chunks_exact(d).zip(scores.chunks_exact(k)).map(of_row).collect::<Vec<_>>()
        })
        .collect()
}

/// The mean of each cluster; empty ones are given a row first.
fn means(rows: &[f32], d: usize, k: usize, found: &mut [(usize, f64)]) -> Vec<f32> {
    let mut counts = vec![0; k];
    found.iter().for_each(|f| counts[f.0] += 1);
    for empty in 0..k {
        if counts[empty] == 0 {
            let farthest =
                (0..found.len()).fold(0, |far, row| if found[row].1 > found[far].1 { row } else { far });
            counts[found[farthest].0] -= 1;
            counts[empty] = 1;
            found[farthest] = (empty, 0.0);
        }
    }
    let partial: Vec<Vec<f64>> = rows
        .par_chunks(ROW_BLOCK * d)
        .zip(found.par_chunks(ROW_BLOCK))
        .map(|(rows, found)| {
            let mut sums = vec![0.0; k * d];
            for (row, f) in rows.chunks_exact(d).zip(found) {
                sums[f.0 * d..][..d].iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
            }
            sums
        })
        .collect();
    let sums = partial.into_iter().fold(vec![0.0; k * d], |mut total, sums| {
        total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        total
    });
    sums.iter().enumerate().map(|(i, s)| (s / f64::from(counts[i / d].max(1))) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes around directions `angle` degrees apart in the plane, of unequal lengths.
    fn directions(n: usize, classes: usize, noise: f32, seed: u64) -> Features {
        let mut rng = Philox::new(seed, Purpose::Test, 0, 6);
        let labels: Vec<i64> = (0..n).map(|i| (i % classes) as i64 * 3 - 4).collect();
        let data = (0..n).flat_map(|i| {
            let angle = std::f32::consts::TAU * (i % classes) as f32 / classes as f32 + noise * rng.normal();
            let length = 0.1 + 5.0 * rng.uniform();
            [length * angle.cos(), length * angle.sin()]
        });
        Features::new(data.collect(), 2, labels).unwrap()
    }

    #[test]
    fn directions_apart_are_found_whatever_the_length() {
        let got = clustering(&directions(1500, 7, 0.05, 1), 3, 4, 5).unwrap();
        assert_eq!(got.clusters, 7);
        for spread in [&got.nmi, &got.ari, &got.accuracy] {
            assert_eq!((spread.runs.len(), spread.mean.min(spread.low) > 1.0 - 1e-9), (4, true), "{got:?}");
        }
    }

    #[test]
    fn without_structure_nothing_agrees() {
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        let data = (0..3000 * 8).map(|_| rng.normal()).collect();
        let got = clustering(&Features::new(data, 8, (0..3000).map(|i| i % 5).collect()).unwrap(), 0, 3, 2)
            .unwrap();
        assert!(got.nmi.mean < 0.02 && got.ari.mean.abs() < 0.01, "{got:?}");
        assert!(got.accuracy.mean > 0.2 && got.accuracy.mean < 0.28, "{got:?}");
    }

    /// Lloyd's optimum: every row is nearest to its own centre, and every centre is the mean of its rows.
    #[test]
    fn ends_at_a_fixed_point_no_worse_than_its_start() {
        let rows = directions(700, 3, 0.8, 2).l2_normalized();
        let start = spread_centres(&rows, 2, 6, &mut Philox::new(5, Purpose::Probe, CENTRES, 0));
        let before: f64 = nearest(&rows, 2, &start).iter().map(|f| f.1).sum();
        let end = kmeans(&rows, 2, 6, 5, 0);
        assert!(end.inertia < before, "{} after {before}", end.inertia);
        let mut found: Vec<_> = end.clusters.iter().map(|&c| (c, 0.0)).collect();
        let centres = means(&rows, 2, 6, &mut found);
        let again: Vec<usize> = nearest(&rows, 2, &centres).iter().map(|f| f.0).collect();
        assert_eq!(again, end.clusters);
    }

    #[test]
    fn the_thread_count_changes_nothing_and_seeds_do() {
        let features = directions(2500, 5, 0.9, 4);
        let with = |threads: usize, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| clustering(&features, seed, 3, 1).unwrap())
        };
        assert_eq!(with(1, 0), with(3, 0));
        assert_eq!(with(2, 0).nmi.runs[1..], with(2, 1).nmi.runs[..2]);
    }

    #[test]
    fn points_that_coincide_and_single_ones() {
        // More clusters than points that differ: some stay empty but for a row given to them.
        let same = Features::new(vec![1.0; 12], 2, vec![0, 0, 1, 1, 2, 2]).unwrap();
        assert_eq!(clustering(&same, 0, 2, 2).unwrap().clusters, 3);
        let one = Features::new(vec![1.0, 2.0], 2, vec![9]).unwrap();
        assert_eq!(clustering(&one, 0, 2, 1).unwrap().accuracy.mean, 1.0);
        assert!(clustering(&one, 0, 0, 1).unwrap_err().to_string().contains("at least 1"));
    }
}
