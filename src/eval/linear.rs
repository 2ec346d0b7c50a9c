//! Linear probe: multinomial logistic regression on frozen, standardised features.
//!
//! Full-batch L-BFGS on a convex function, not SGD with a grid of learning rates: there is one optimum per L2 strength,
//! nothing to tune but that strength, no dependence on batch order, and it takes seconds. The strength is chosen on a
//! held-out part of the train set, walking from strong to weak until accuracy has twice not risen, each fit starting
//! from the last; then all train rows are fitted. The test set is looked at once.

use super::accuracy::{Accuracy, classes_of, rank_of};
use super::features::{Features, Standardizer};
use super::lbfgs::{Objective, Stop, minimise};
use crate::linalg::{Mat, gemm};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use nalgebra::{Cholesky, DMatrix, DMatrixViewMut, Dyn};
use rayon::prelude::*;

/// Rows a task handles; fixed, so that sums do not depend on the thread count.
const ROW_BLOCK: usize = 1024;
/// Below this many held-out rows a choice would be noise.
const MIN_HELD_OUT: usize = 20;

/// What the probe may choose from, and how it chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearOptions {
    /// Strengths λ of λ/2 ‖W‖², beside the mean cross-entropy; tried from the strongest down.
    pub l2: Vec<f64>,
    /// Share of the train rows held out to choose λ.
    pub holdout: f64,
    /// L-BFGS iterations of one fit at most.
    pub iterations: usize,
    /// Names the random split.
    pub seed: u64,
}

impl Default for LinearOptions {
    fn default() -> Self {
        Self { l2: vec![1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4], holdout: 0.2, iterations: 200, seed: 0 }
    }
}

/// What the probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearProbe {
    /// On the test set.
    pub accuracy: Accuracy,
    /// The chosen λ.
    pub l2: f64,
    /// Each λ tried with its top-1 on the held-out train rows; empty if there were too few to choose by.
    pub tried: Vec<(f64, f64)>,
}

/// Fits the probe on `train` and scores it on `test`, with train labels as classes; a test label absent from them is a
/// miss. With too few rows to hold some out, the middle λ is taken.
///
/// Errors: no rows, different widths, values not finite, options out of range.
pub fn linear_probe(train: &Features, test: &Features, options: &LinearOptions) -> Result<LinearProbe> {
    Features::check_pair(train, test, "linear probe")?;
    linear_probe_in(train, test, &Standardizer::fit(&train.data, train.d), options)
}

/// [`linear_probe`] on features checked already, brought to scale by `standard`, which may have seen more rows.
pub(super) fn linear_probe_in(
    train: &Features,
    test: &Features,
    standard: &Standardizer,
    options: &LinearOptions,
) -> Result<LinearProbe> {
    let strengths = checked(options)?;
    let classes = classes_of(&train.labels);

    // Shuffled once; the rows held out are the last.
    let mut order: Vec<usize> = (0..train.n).collect();
    Philox::new(options.seed, Purpose::Probe, 0, 0).shuffle(&mut order);
    let mut x = Vec::with_capacity(train.data.len());
    order.iter().for_each(|&row| x.extend_from_slice(train.row(row)));
    standard.apply(&mut x);
    let y: Vec<Option<usize>> =
        order.iter().map(|&row| classes.binary_search(&train.labels[row]).ok()).collect();
    let held_out = (train.n as f64 * options.holdout) as usize;
    let fitted = train.n - held_out;

    // Accuracy settles long before the loss: on raw Fashion-MNIST pixels 1e-5 takes five times the iterations of 1e-3
    // and moves top-1 by 0.1 points.
    let stop = |tolerance| Stop { iterations: options.iterations, tolerance };
    let mut tried = Vec::new();
    let mut l2 = strengths[strengths.len() / 2];
    let mut weights = vec![0.0; classes.len() * (train.d + 1)];
    if held_out >= MIN_HELD_OUT && strengths.len() > 1 {
        let mut w = weights.clone();
        let (mut best, mut worse) = (-1.0, 0);
        let covariance = covariance(&x[..fitted * train.d], train.d);
        for &strength in &strengths {
            let problem =
                Problem::new(&x[..fitted * train.d], &y[..fitted], classes.len(), strength, &covariance);
            minimise(&problem, &mut w, &stop(1e-3));
            let top1 = score(&w, &x[fitted * train.d..], &y[fitted..], train.d, classes.len()).top1;
            tried.push((strength, top1));
            if top1 > best {
                (best, l2) = (top1, strength);
                weights.clone_from(&w);
                worse = 0;
            } else {
                worse += 1;
            }
            // Weaker ones only overfit more, and take longest.
            if worse == 2 {
                break;
            }
        }
    }
    let covariance = covariance(&x, train.d);
    minimise(&Problem::new(&x, &y, classes.len(), l2, &covariance), &mut weights, &stop(1e-4));

    let mut x = test.data.clone();
    standard.apply(&mut x);
    let y: Vec<Option<usize>> = test.labels.iter().map(|label| classes.binary_search(label).ok()).collect();
    Ok(LinearProbe { accuracy: score(&weights, &x, &y, train.d, classes.len()), l2, tried })
}

/// The strengths from strong to weak.
fn checked(options: &LinearOptions) -> Result<Vec<f64>> {
    let mut strengths = options.l2.clone();
    strengths.sort_by(|a, b| b.total_cmp(a));
    if strengths.is_empty() || !strengths.iter().all(|&l| l > 0.0 && l.is_finite()) {
        return Err(Error::config("eval.linear_l2", format!("{:?} must be positive numbers", options.l2)));
    }
    if !(0.0..1.0).contains(&options.holdout) {
        return Err(Error::config("eval.linear_holdout", format!("{} is not in 0..1", options.holdout)));
    }
    Ok(strengths)
}

/// Mean cross-entropy of softmax(x Wᵀ + b) plus λ/2 ‖W‖². Parameters: W `[classes, d]`, then b `[classes]`.
struct Problem<'a> {
    x: &'a [f32],
    y: &'a [Option<usize>],
    d: usize,
    classes: usize,
    l2: f64,
    /// Of ½ Σ + λ: an upper bound of the Hessian of one class's weights (Böhning 1992).
    bound: Option<Cholesky<f64, Dyn>>,
}

impl<'a> Problem<'a> {
    fn new(x: &'a [f32], y: &'a [Option<usize>], classes: usize, l2: f64, covariance: &DMatrix<f64>) -> Self {
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
fn logits(parameters: &[f32], x: &[f32], d: usize, classes: usize) -> Vec<f32> {
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

fn score(parameters: &[f64], x: &[f32], y: &[Option<usize>], d: usize, classes: usize) -> Accuracy {
    let w: Vec<f32> = parameters.iter().map(|&w| w as f32).collect();
    let ranks: Vec<Option<usize>> = x
        .par_chunks(ROW_BLOCK * d)
        .zip(y.par_chunks(ROW_BLOCK))
        .flat_map_iter(|(x, y)| {
            let scores = logits(&w, x, d, classes);
            let rank = |(row, &y): (&[f32], &Option<usize>)| {
                let row: Vec<f64> = row.iter().map(|&z| f64::from(z)).collect();
                rank_of(&row, y?)
            };
            scores.chunks_exact(classes).zip(y).map(rank).collect::<Vec<_>>()
        })
        .collect();
    Accuracy::of_ranks(&ranks)
}

/// xᵀ x / n of standardised rows.
fn covariance(x: &[f32], d: usize) -> DMatrix<f64> {
    let x = Mat::new(x, x.len() / d, d);
    let mut out = vec![0.0; d * d];
    gemm(&mut out, d, x.t(), x, 1.0 / x.rows.max(1) as f32, false, true);
    DMatrix::from_iterator(d, d, out.into_iter().map(f64::from))
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
