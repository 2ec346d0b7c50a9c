//! Nearest neighbours by cosine similarity: blocked matrix products and a running top-k.

use super::features::Features;
use crate::linalg::{Mat, gemm};
use crate::{Error, Result};
use rayon::prelude::*;
use std::cmp::Ordering;

/// Queries a task handles, and bank rows it looks at in one product (1 MB of similarities, within L2).
const QUERY_BLOCK: usize = 512;
const BANK_TILE: usize = 512;

/// A row found near a query, and the cosine of the angle between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    pub row: usize,
    pub similarity: f32,
}

impl Neighbour {
    /// Most similar first; the lower row first among equals.
    fn order(&self, other: &Self) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.row.cmp(&other.row))
    }
}

/// The `m` nearest other rows of each of the given rows of `features`, most similar first.
pub fn neighbours(features: &Features, rows: &[usize], m: usize) -> Result<Vec<Vec<Neighbour>>> {
    features.check("neighbours")?;
    if let Some(row) = rows.iter().find(|&&row| row >= features.n) {
        return Err(Error::op("neighbours", format!("asked for row {row} of {}", features.n)));
    }
    let bank = features.l2_normalized();
    let queries: Vec<f32> =
        rows.iter().flat_map(|&row| &bank[row * features.d..][..features.d]).copied().collect();
    // One more than asked for: the row itself is usually among them.
    let mut found = top_k(&bank, &queries, features.d, m.saturating_add(1));
    for (list, &own) in found.iter_mut().zip(rows) {
        list.retain(|neighbour| neighbour.row != own);
        list.truncate(m);
    }
    Ok(found)
}

/// For each of the unit rows `queries` `[q, d]`, the min(k, n) rows of `bank` `[n, d]` (unit too) most similar to it,
/// in [order](Neighbour::order).
pub(super) fn top_k(bank: &[f32], queries: &[f32], d: usize, k: usize) -> Vec<Vec<Neighbour>> {
    let k = k.min(bank.len() / d);
    queries.par_chunks(QUERY_BLOCK * d).flat_map_iter(|block| top_k_of_block(bank, block, d, k)).collect()
}

fn top_k_of_block(bank: &[f32], queries: &[f32], d: usize, k: usize) -> Vec<Vec<Neighbour>> {
    let q = queries.len() / d;
    let mut similarities = vec![0.0; q * BANK_TILE];
    let mut best: Vec<TopK> = (0..q).map(|_| TopK::new(k)).collect();
    for (tile, rows) in bank.chunks(BANK_TILE * d).enumerate() {
        let n = rows.len() / d;
        gemm(&mut similarities, n, Mat::new(queries, q, d), Mat::new(rows, n, d).t(), 1.0, false, false);
        for (best, similarities) in best.iter_mut().zip(similarities.chunks_exact(n)) {
            best.extend(tile * BANK_TILE, similarities);
        }
    }
    best.into_iter().map(TopK::finish).collect()
}

/// The k best of a stream that comes in the order of its rows. Candidates gather until there are 2k, then the worse
/// half goes; so an element costs one comparison unless it is among the best so far.
struct TopK {
    k: usize,
    /// Only what is above can still be among the k best: an equal with a later row ranks behind all k held.
    floor: f32,
    held: Vec<Neighbour>,
}

impl TopK {
    fn new(k: usize) -> Self {
        Self { k, floor: f32::NEG_INFINITY, held: Vec::with_capacity(2 * k) }
    }

    fn extend(&mut self, first_row: usize, similarities: &[f32]) {
        if self.k == 0 {
            return;
        }
        for (i, &similarity) in similarities.iter().enumerate() {
            if similarity > self.floor {
                self.held.push(Neighbour { row: first_row + i, similarity });
                if self.held.len() == 2 * self.k {
                    self.held.select_nth_unstable_by(self.k - 1, Neighbour::order);
                    self.held.truncate(self.k);
                    self.floor = self.held[self.k - 1].similarity;
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Neighbour> {
        self.held.sort_unstable_by(Neighbour::order);
        self.held.truncate(self.k);
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn the_k_best_of_a_stream() {
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        for (n, k) in [(1, 1), (7, 3), (500, 20), (500, 500), (64, 0)] {
            // Coarse values, so that ties are many.
            let values: Vec<f32> = (0..n).map(|_| rng.below(12) as f32).collect();
            let mut best = TopK::new(k);
            best.extend(0, &values[..n / 2]);
            best.extend(n / 2, &values[n / 2..]);
            let rows: Vec<usize> = best.finish().iter().map(|x| x.row).collect();
            let mut expected: Vec<usize> = (0..n).collect();
            expected.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
            assert_eq!(rows, expected[..k], "n {n}, k {k}");
        }
    }

    #[test]
    fn neighbours_leave_out_the_row_itself() {
        // Rows 0 and 2 are the same point at different lengths.
        let data = vec![1., 0., 0., 1., 5., 0., 1., 1.];
        let features = Features::new(data, 2, vec![0; 4]).unwrap();
        let found = neighbours(&features, &[2, 1], 2).unwrap();
        let rows = |i: usize| found[i].iter().map(|x| x.row).collect::<Vec<_>>();
        assert_eq!((rows(0), rows(1)), (vec![0, 3], vec![3, 0]));
        assert_eq!(found[0][0].similarity, 1.0);
        assert!((found[0][1].similarity - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(neighbours(&features, &[0], 100).unwrap()[0].len(), 3);
        assert!(neighbours(&features, &[4], 1).unwrap_err().to_string().contains("row 4 of 4"));
    }
}
