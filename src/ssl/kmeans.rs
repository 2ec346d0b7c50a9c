//! Spherical k-means: clusters of unit vectors by cosine similarity (Dhillon & Modha 2001).

use crate::linalg::{Mat, gemm};
use crate::rng::{Philox, Purpose};
use rayon::prelude::*;

/// Rows whose similarities to all centroids are computed at once.
const BLOCK: usize = 256;

/// A clustering of n rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// \[k,d\], of unit length.
    pub centroids: Vec<f32>,
    /// \[n\]
    pub assignments: Vec<u32>,
    /// Mean cosine between a row and its centroid.
    pub similarity: f64,
}

/// `rounds` rounds of assignment and averaging on unit rows \[n,d\], from `k` of them at random; `stream` tells apart
/// several beginnings under one seed. A cluster that loses all its rows takes the row farthest from its own centroid.
/// The same whatever the number of threads.
pub fn spherical_k_means(
    rows: &[f32],
    d: usize,
    k: usize,
    rounds: usize,
    seed: u64,
    stream: u32,
) -> Clustering {
    let n = rows.len() / d;
    let mut order: Vec<u32> = (0..n as u32).collect();
    Philox::new(seed, Purpose::Cluster, stream, 0).shuffle(&mut order);
    let mut centroids: Vec<f32> =
        order[..k].iter().flat_map(|&i| rows[i as usize * d..][..d].iter().copied()).collect();
    let mut nearest = assign(rows, &centroids, d);
    for _ in 0..rounds {
        average(rows, d, &mut nearest, &mut centroids);
        nearest = assign(rows, &centroids, d);
    }
    let similarity = nearest.iter().map(|&(_, s)| f64::from(s)).sum::<f64>() / n as f64;
    Clustering { centroids, assignments: nearest.into_iter().map(|(c, _)| c).collect(), similarity }
}

/// The centroid nearest to each row, and the cosine; the first among equals.
fn assign(rows: &[f32], centroids: &[f32], d: usize) -> Vec<(u32, f32)> {
    let k = centroids.len() / d;
    let mut nearest = vec![(0, f32::NEG_INFINITY); rows.len() / d];
    nearest.par_chunks_mut(BLOCK).zip(rows.par_chunks(BLOCK * d)).for_each_init(
        || vec![0.0; BLOCK * k],
        |tile, (nearest, rows)| {
            let m = nearest.len();
            gemm(tile, k, Mat::new(rows, m, d), Mat::new(centroids, k, d).t(), 1.0, false, false);
            for (nearest, row) in nearest.iter_mut().zip(tile.chunks_exact(k)) {
                for (c, &s) in row.iter().enumerate() {
                    if s > nearest.1 {
                        *nearest = (c as u32, s);
                    }
                }
            }
        },
    );
    nearest
}

fn average(rows: &[f32], d: usize, nearest: &mut [(u32, f32)], centroids: &mut [f32]) {
    let k = centroids.len() / d;
    let mut counts = vec![0u32; k];
    nearest.iter().for_each(|&(c, _)| counts[c as usize] += 1);
    let empty: Vec<u32> = (0..k as u32).filter(|&c| counts[c as usize] == 0).collect();
    if !empty.is_empty() {
        let mut far: Vec<usize> = (0..nearest.len()).collect();
        far.sort_by(|&a, &b| nearest[a].1.total_cmp(&nearest[b].1).then(a.cmp(&b)));
        // A cluster's only row stays: taking it would empty that one.
        let mut far = far.into_iter();
        for cluster in empty {
            let Some(row) = far.by_ref().find(|&i| counts[nearest[i].0 as usize] > 1) else { break };
            counts[nearest[row].0 as usize] -= 1;
            counts[cluster as usize] = 1;
            nearest[row] = (cluster, 1.0);
        }
    }
    let mut sums = vec![0f64; k * d];
    for (row, &(c, _)) in rows.chunks_exact(d).zip(&*nearest) {
        sums[c as usize * d..][..d].iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
    }
    for (centroid, sum) in centroids.chunks_exact_mut(d).zip(sums.chunks_exact(d)) {
        let length = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
        if length > 0.0 {
            centroid.iter_mut().zip(sum).for_each(|(c, s)| *c = (s / length) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_that_are_there_are_found() {
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        let (n, d, k) = (300, 8, 4);
        let rows: Vec<f32> = (0..n)
            .flat_map(|i| {
                let row: Vec<f32> = (0..d).map(|j| f32::from(j == i % k) + 0.05 * rng.normal()).collect();
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.into_iter().map(move |x| x / length).collect::<Vec<_>>()
            })
            .collect();
        // Some beginnings have two of one cluster; the best of a few has not.
        let best = (0..8)
            .map(|stream| spherical_k_means(&rows, d, k, 20, 5, stream))
            .max_by(|a, b| a.similarity.total_cmp(&b.similarity))
            .unwrap();
        assert!(best.similarity > 0.98, "{}", best.similarity);
        for i in k..n {
            assert_eq!(best.assignments[i], best.assignments[i % k]);
        }
        assert_eq!(spherical_k_means(&rows, d, k, 20, 5, 3), spherical_k_means(&rows, d, k, 20, 5, 3));
    }

    #[test]
    fn no_cluster_stays_empty_while_rows_can_be_spared() {
        // Forty copies of one point and ten of another: random beginnings coincide.
        let rows: Vec<f32> = (0..50).flat_map(|i| if i < 40 { [1.0, 0.0] } else { [0.6, 0.8] }).collect();
        let found = spherical_k_means(&rows, 2, 2, 5, 1, 0);
        assert_ne!(found.assignments[0], found.assignments[49]);
        assert!((found.similarity - 1.0).abs() < 1e-6);
    }
}
