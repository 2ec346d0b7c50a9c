//! A labelled feature matrix and the two ways rows are brought to scale.

use crate::{Error, Result};
use rayon::prelude::*;

/// Rows handled by one task; fixed, so that sums do not depend on the thread count.
const ROW_BLOCK: usize = 4096;

/// Features of `n` samples, row-major `[n, d]`, with one label a row. Labels are any integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    pub data: Vec<f32>,
    pub n: usize,
    pub d: usize,
    pub labels: Vec<i64>,
}

impl Features {
    /// Takes `labels.len()` rows of `d` values; an error if the shapes disagree or a value is NaN or infinite.
    pub fn new(data: Vec<f32>, d: usize, labels: Vec<i64>) -> Result<Self> {
        let features = Self { n: labels.len(), data, d, labels };
        features.check("features")?;
        Ok(features)
    }

    /// Row `i`, `d` values.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.d..][..self.d]
    }

    /// Some of the rows, in the order given.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut data = Vec::with_capacity(rows.len() * self.d);
        rows.iter().for_each(|&row| data.extend_from_slice(self.row(row)));
        Self { data, n: rows.len(), d: self.d, labels: rows.iter().map(|&row| self.labels[row]).collect() }
    }

    /// The rows scaled to unit length, `[n, d]`.
    pub fn l2_normalized(&self) -> Vec<f32> {
        let mut rows = self.data.clone();
        l2_normalize_rows(&mut rows, self.d);
        rows
    }

    /// What every protocol demands: at least one row and column, one label a row, finite values. `op` names the asker.
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        if self.labels.len() != self.n {
            return Err(Error::op(op, format!("{} labels for {} rows", self.labels.len(), self.n)));
        }
        if check_rows(op, &self.data, self.d)? != self.n {
            let what = format!("{} values are not {} rows of {}", self.data.len(), self.n, self.d);
            return Err(Error::op(op, what));
        }
        Ok(())
    }

    /// [`check`](Self::check) on both halves of a protocol, and that their widths agree.
    pub(super) fn check_pair(train: &Self, test: &Self, op: &'static str) -> Result<()> {
        train.check(op)?;
        test.check(op)?;
        if train.d != test.d {
            let what = format!("train rows have {} features, test rows {}", train.d, test.d);
            return Err(Error::op(op, what));
        }
        Ok(())
    }
}

/// The number of rows of a non-empty, finite `[n, d]` matrix, or an error saying which value is at fault.
pub(super) fn check_rows(op: &'static str, data: &[f32], d: usize) -> Result<usize> {
    if d == 0 || data.is_empty() {
        return Err(Error::op(
            op,
            format!("needs at least one row and one column, got {} values", data.len()),
        ));
    }
    if !data.len().is_multiple_of(d) {
        return Err(Error::op(op, format!("{} values are not whole rows of {d}", data.len())));
    }
    if let Some(at) = data.iter().position(|x| !x.is_finite()) {
        let what = format!(
            "feature {} of row {} is {}; the encoder has diverged or its input was not finite",
            at % d,
            at / d,
            data[at]
        );
        return Err(Error::op(op, what));
    }
    Ok(data.len() / d)
}

/// Scales each row of `d` values to unit Euclidean length; a row of zeros stays as it is.
pub fn l2_normalize_rows(data: &mut [f32], d: usize) {
    data.par_chunks_mut(d.max(1)).for_each(|row| {
        // In f64: squares of large f32 features overflow.
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    });
}

/// Per-feature shift and scale to mean 0, variance 1, as measured on a train set.
#[derive(Clone, Debug)]
pub struct Standardizer {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standardizer {
    /// Measures mean and (population) variance of each of the `d` columns of `data`, `[n, d]`.
    ///
    /// A column that is constant up to f32 rounding gets scale 0: dividing by its spread would only amplify noise.
    pub fn fit(data: &[f32], d: usize) -> Self {
        let n = (data.len() / d.max(1)).max(1) as f64;
        let mut mean = column_sums(data, d, |_, x| x);
        mean.iter_mut().for_each(|m| *m /= n);
        let squares = column_sums(data, d, |j, x| (x - mean[j]).powi(2));
        let scale = squares
            .iter()
            .zip(&mean)
            .map(|(s, m)| {
                let std = (s / n).sqrt();
                if std > 1e-6 * m.abs() { 1.0 / std } else { 0.0 }
            })
            .collect();
        Self { mean, scale }
    }

    /// Standardises every row of `data` in place.
    pub fn apply(&self, data: &mut [f32]) {
        data.par_chunks_mut(self.mean.len().max(1)).for_each(|row| {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = ((f64::from(*x) - mean) * scale) as f32;
            }
        });
    }
}

fn column_sums(data: &[f32], d: usize, f: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let partial: Vec<Vec<f64>> = data
        .par_chunks(ROW_BLOCK * d.max(1))
        .map(|block| {
            let mut sums = vec![0.0; d];
            for row in block.chunks_exact(d) {
                for (j, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += f(j, f64::from(x));
                }
            }
            sums
        })
        .collect();
    partial.into_iter().fold(vec![0.0; d], |mut total, sums| {
        total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        total
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_unit_vectors() {
        let mut rows = vec![3.0, 4.0, 0.0, 0.0, 3e38, 3e38];
        l2_normalize_rows(&mut rows, 2);
        let half = 0.5f32.sqrt();
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0, half, half]);
    }

    #[test]
    fn columns_become_standard() {
        // The third column is constant and far from zero: it must become 0, not noise.
        let train: Vec<f32> = (0..9000).flat_map(|i| [i as f32, (i % 2) as f32, 1e6]).collect();
        let mut data = train.clone();
        Standardizer::fit(&train, 3).apply(&mut data);
        for j in 0..3 {
            let column = || data[j..].iter().step_by(3).map(|&x| f64::from(x));
            let mean = column().sum::<f64>() / 9000.0;
            let var = column().map(|x| x * x).sum::<f64>() / 9000.0;
            assert!(mean.abs() < 1e-6, "column {j}: mean {mean}");
            let expected = if j == 2 { 0.0 } else { 1.0 };
            assert!((var - expected).abs() < 1e-5, "column {j}: variance {var}");
        }
    }

    #[test]
    fn bad_matrices_are_refused_by_name() {
        let say =
            |data: &[f32], d, n: usize| Features::new(data.to_vec(), d, vec![0; n]).unwrap_err().to_string();
        assert!(say(&[1., 2., 3., f32::NAN], 2, 2).contains("feature 1 of row 1 is NaN"));
        assert!(say(&[1., f32::INFINITY], 1, 2).contains("feature 0 of row 1 is inf"));
        assert!(say(&[1., 2., 3.], 2, 2).contains("whole rows"));
        assert!(say(&[1., 2.], 1, 3).contains("not 3 rows of 1"));
        assert!(say(&[], 4, 0).contains("at least one row"));
    }
}
