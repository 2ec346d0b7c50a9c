//! Multinomial logistic regression as a function to minimise: penalised cross-entropy, its gradient, and a bound of its
//! Hessian as the preconditioner.

use super::lbfgs::Objective;
use crate::linalg::{Mat, gemm};
use nalgebra::{Cholesky, DMatrix, DMatrixViewMut, Dyn};
use rayon::prelude::*;

/// Rows a task handles; fixed, so that sums do not depend on the thread count.
pub(super) const ROW_BLOCK: usize = 1024;

/// Mean cross-entropy of softmax(x Wᵀ + b) plus λ/2 ‖W‖². Parameters: W `[classes, d]`, then b `[classes]`.
pub(super) struct Problem<'a> {
    x: &'a [f32],
    y: &'a [Option<usize>],
    d: usize,
    classes: usize,
    l2: f64,
    /// Of ½ Σ + λ: an upper bound of the Hessian of one class's weights (Böhning 1992).
    bound: Option<Cholesky<f64, Dyn>>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        x: &'a [f32],
        y: &'a [Option<usize>],
        classes: usize,
        l2: f64,
        covariance: &DMatrix<f64>,
    ) -> Self {
        let d = covariance.nrows();
        // The covariance is a sum of f32 products: 1e-5 keeps its rounding from making it indefinite.
        let bound = covariance * 0.5 + DMatrix::identity(d, d) * (l2 + 1e-5);
        Self { x, y, d, classes, l2, bound: bound.cholesky() }
    }
}

impl Objective for Problem<'_> {
    fn evaluate(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let (d, c) = (self.d, self.classes);
        let w: Vec<f32> = parameters.iter().map(|&w| w as f32).collect();
        let blocks: Vec<(f64, Vec<f32>)> = self
            .x
            .par_chunks(ROW_BLOCK * d)
            .zip(self.y.par_chunks(ROW_BLOCK))
            .map(|(x, y)| {
                let mut residual = logits(&w, x, d, c);
                let loss = residual.chunks_exact_mut(c).zip(y).map(|(row, &y)| softmax_loss(row, y)).sum();
                let mut g = vec![0.0; c * (d + 1)];
                let residual_t = Mat::new(&residual, y.len(), c).t();
                gemm(&mut g, d, residual_t, Mat::new(x, y.len(), d), 1.0, false, false);
                for row in residual.chunks_exact(c) {
                    g[c * d..].iter_mut().zip(row).for_each(|(g, r)| *g += r);
                }
                (loss, g)
            })
            .collect();
        gradient.fill(0.0);
        let mut loss = 0.0;
        for (block_loss, g) in &blocks {
            loss += block_loss;
            gradient.iter_mut().zip(g).for_each(|(total, &g)| *total += f64::from(g));
        }
        let n = self.y.len() as f64;
        gradient.iter_mut().for_each(|g| *g /= n);
        let mut penalty = 0.0;
        for (g, w) in gradient.iter_mut().zip(&parameters[..c * d]) {
            *g += self.l2 * w;
            penalty += w * w;
        }
        loss / n + 0.5 * self.l2 * penalty
    }

    fn precondition(&self, v: &mut [f64]) {
        let (weights, biases) = v.split_at_mut(self.classes * self.d);
        if let Some(bound) = &self.bound {
            bound.solve_mut(&mut DMatrixViewMut::from_slice(weights, self.d, self.classes));
        }
        // Standardised features have mean 0, so biases are nearly apart from weights; their bound is ½.
        biases.iter_mut().for_each(|b| *b *= 2.0);
    }
}

/// x Wᵀ + b, `[rows, classes]`.
pub(super) fn logits(parameters: &[f32], x: &[f32], d: usize, classes: usize) -> Vec<f32> {
    let (w, b) = parameters.split_at(classes * d);
    let rows = x.len() / d;
    let mut out = b.repeat(rows);
    gemm(&mut out, classes, Mat::new(x, rows, d), Mat::new(w, classes, d).t(), 1.0, true, false);
    out
}

/// Replaces logits by softmax − one-hot and returns the cross-entropy. A train row always has its class.
fn softmax_loss(row: &mut [f32], y: Option<usize>) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = y.map_or(max, |y| row[y]);
    row.iter_mut().for_each(|z| *z = (*z - max).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|z| *z /= sum);
    if let Some(y) = y {
        row[y] -= 1.0;
    }
    f64::from(sum).ln() - f64::from(own - max)
}

/// xᵀ x / n of standardised rows.
pub(super) fn covariance(x: &[f32], d: usize) -> DMatrix<f64> {
    let x = Mat::new(x, x.len() / d, d);
    let mut out = vec![0.0; d * d];
    gemm(&mut out, d, x.t(), x, 1.0 / x.rows.max(1) as f32, false, true);
    DMatrix::from_iterator(d, d, out.into_iter().map(f64::from))
}
