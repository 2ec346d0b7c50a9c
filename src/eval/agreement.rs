//! How well do clusters agree with classes?

use crate::{Error, Result};

/// Agreement of two ways to divide the same samples. All three ignore which cluster has which number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Mutual information over the mean of the two entropies (the arithmetic normalisation of scikit-learn), 0 to 1.
    pub nmi: f64,
    /// Rand index corrected for chance: 0 on average for clusters by chance, 1 for the classes themselves (Hubert &
    /// Arabie 1985).
    pub ari: f64,
    /// Share of samples whose cluster stands for their class, under the one-to-one assignment that makes it largest.
    pub accuracy: f64,
}

/// Compares classes and clusters, both numbered from 0, sample by sample.
///
/// Errors: no samples, or two counts of them.
pub fn agreement(classes: &[usize], clusters: &[usize]) -> Result<Agreement> {
    if classes.is_empty() || classes.len() != clusters.len() {
        let what =
            format!("{} classes and {} clusters; needs one of each a sample", classes.len(), clusters.len());
        return Err(Error::op("agreement", what));
    }
    let (k, m) = (classes.iter().max().map_or(0, |c| c + 1), clusters.iter().max().map_or(0, |c| c + 1));
    let mut table = vec![vec![0.0; m]; k];
    classes.iter().zip(clusters).for_each(|(&c, &u)| table[c][u] += 1.0);
    let n = classes.len() as f64;
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> = (0..m).map(|u| table.iter().map(|row| row[u]).sum()).collect();
    let size = k.max(m);
    let cost: Vec<Vec<f64>> = (0..size)
        .map(|c| {
            (0..size).map(|u| table.get(c).and_then(|row| row.get(u)).map_or(0.0, |count| -count)).collect()
        })
        .collect();
    let matched: f64 = assignment(&cost).iter().enumerate().map(|(c, &u)| -cost[c][u]).sum();
    Ok(Agreement {
        nmi: mutual_information(&table, &rows, &columns, n),
        ari: adjusted_rand(&table, &rows, &columns, n),
        accuracy: matched / n,
    })
}

fn mutual_information(table: &[Vec<f64>], rows: &[f64], columns: &[f64], n: f64) -> f64 {
    let entropy =
        |sums: &[f64]| -sums.iter().filter(|&&s| s > 0.0).map(|s| s / n * (s / n).ln()).sum::<f64>();
    let mean = (entropy(rows) + entropy(columns)) / 2.0;
    // One class and one cluster agree, though there is nothing to know.
    if mean == 0.0 {
        return 1.0;
    }
    let mut information = 0.0;
    for (row, r) in table.iter().zip(rows) {
        for (count, c) in row.iter().zip(columns).filter(|(count, _)| **count > 0.0) {
            information += count / n * (count * n / (r * c)).ln();
        }
    }
    (information / mean).clamp(0.0, 1.0)
}

fn adjusted_rand(table: &[Vec<f64>], rows: &[f64], columns: &[f64], n: f64) -> f64 {
    let pairs = |x: f64| x * (x - 1.0) / 2.0;
    let together: f64 = table.iter().flatten().map(|&x| pairs(x)).sum();
    let (in_rows, in_columns): (f64, f64) =
        (rows.iter().map(|&x| pairs(x)).sum(), columns.iter().map(|&x| pairs(x)).sum());
    let (expected, most) = (in_rows * in_columns / pairs(n).max(1.0), (in_rows + in_columns) / 2.0);
    // Both all in one, or both all apart: the same division.
    if most == expected { 1.0 } else { (together - expected) / (most - expected) }
}

/// The column of each row of a square matrix such that the sum is least: the Hungarian method by shortest augmenting
/// paths with potentials (Jonker & Volgenant 1987), O(n³).
pub(super) fn assignment(cost: &[Vec<f64>]) -> Vec<usize> {
    let n = cost.len();
    // Row and column 0 are a root that stands for "unmatched", so rows and columns count from 1.
    let (mut of_row, mut of_column) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let (mut least, mut from, mut seen) =
            (vec![f64::INFINITY; n + 1], vec![0; n + 1], vec![false; n + 1]);
        while row_of[column] != 0 {
            seen[column] = true;
            let at = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in (1..=n).filter(|&j| !seen[j]) {
                let reduced = cost[at - 1][j - 1] - of_row[at] - of_column[j];
                if reduced < least[j] {
                    (least[j], from[j]) = (reduced, column);
                }
                if least[j] < step {
                    (step, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if seen[j] {
                    of_row[row_of[j]] += step;
                    of_column[j] -= step;
                } else {
                    least[j] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[from[column]];
            column = from[column];
        }
    }
    let mut column_of = vec![0; n];
    (1..=n).for_each(|column| column_of[row_of[column] - 1] = column - 1);
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    /// scikit-learn's normalized_mutual_info_score and adjusted_rand_score, scipy's linear_sum_assignment.
    #[test]
    fn equals_scikit_learn() {
        let classes: Vec<usize> = (0..97).map(|i| i * i % 7).collect();
        let cases: [(&[usize], Vec<usize>, [f64; 3]); 3] = [
            (
                &classes,
                (0..97).map(|i| i * 5 % 11 % 4).collect(),
                [0.008_919_547_647_658, -0.023_805_731_005_697, 28.0 / 97.0],
            ),
            (
                &classes,
                classes.iter().enumerate().map(|(i, c)| if i % 5 == 0 { i % 9 } else { c + 2 }).collect(),
                [0.596_491_306_774_280, 0.626_207_366_899_371, 77.0 / 97.0],
            ),
            (&[0, 0, 1, 1, 2, 2], vec![1, 1, 0, 0, 0, 2], [0.739_667_376_800_759, 4.0 / 9.0, 5.0 / 6.0]),
        ];
        for (classes, clusters, [nmi, ari, accuracy]) in cases {
            let got = agreement(classes, &clusters).unwrap();
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(close(got.nmi, nmi) && close(got.ari, ari) && close(got.accuracy, accuracy), "{got:?}");
        }
    }

    #[test]
    fn names_of_clusters_do_not_matter() {
        let classes: Vec<usize> = (0..50).map(|i| i % 5).collect();
        let renamed: Vec<usize> = classes.iter().map(|c| (c * 2 + 1) % 5).collect();
        let same = agreement(&classes, &renamed).unwrap();
        assert!((same.nmi - 1.0).abs() < 1e-12 && same.ari == 1.0 && same.accuracy == 1.0);
        let one = agreement(&classes, &[0; 50]).unwrap();
        assert_eq!((one.nmi, one.ari, one.accuracy), (0.0, 0.0, 0.2));
        let all_one = agreement(&[0; 4], &[0; 4]).unwrap();
        assert_eq!((all_one.nmi, all_one.ari, all_one.accuracy), (1.0, 1.0, 1.0));
        assert!(agreement(&[0, 1], &[0]).unwrap_err().to_string().contains("2 classes and 1 clusters"));
        assert!(agreement(&[], &[]).is_err());
    }

    /// The least sum over all orders of the columns.
    fn by_trying(cost: &[Vec<f64>], row: usize, used: &mut Vec<bool>) -> f64 {
        if row == cost.len() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for column in 0..cost.len() {
            if !std::mem::replace(&mut used[column], true) {
                best = best.min(cost[row][column] + by_trying(cost, row + 1, used));
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn the_assignment_is_the_best() {
        let mut rng = Philox::new(3, Purpose::Test, 0, 0);
        for n in [1, 2, 3, 5, 7] {
            for _ in 0..20 {
                // Small whole numbers, so that ties are many.
                let cost: Vec<Vec<f64>> =
                    (0..n).map(|_| (0..n).map(|_| f64::from(rng.below(9)) - 4.0).collect()).collect();
                let columns = assignment(&cost);
                let mut sorted = columns.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>());
                let sum: f64 = columns.iter().enumerate().map(|(row, &column)| cost[row][column]).sum();
                assert_eq!(sum, by_trying(&cost, 0, &mut vec![false; n]), "{cost:?}");
            }
        }
    }
}
