//! Linear probe: multinomial logistic regression on frozen, standardised features.
//!
//! Full-batch L-BFGS on a convex function, not SGD with a grid of learning rates: there is one optimum per L2 strength,
//! nothing to tune but that strength, no dependence on batch order, and it takes seconds. The strength is chosen on a
//! held-out part of the train set (by cross-validation where that part is small), walking from strong to weak until
//! accuracy has twice not risen, each fit starting from the last; then all train rows are fitted. The test set is looked
//! at once.

use super::accuracy::{Accuracy, classes_of, rank_of};
use super::features::{Features, Standardizer};
use super::lbfgs::{Stop, minimise};
use super::row_space::RowSpace;
use super::softmax::{Problem, ROW_BLOCK, covariance, logits};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use nalgebra::DMatrix;
use rayon::prelude::*;
use std::borrow::Cow;

/// Below this many rows held out in all a choice would be noise.
const MIN_HELD_OUT: usize = 20;
/// Below this many rows held out, each gets its turn.
const FEW_HELD_OUT: usize = 200;
const MAX_FOLDS: usize = 10;

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
/// miss. With fewer than 1,000 rows λ is chosen by cross-validation; with too few even for that, it is the middle one.
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
    let Features { data: mut scaled, labels, mut d, .. } = train.select(&order);
    standard.apply(&mut scaled);
    let y: Vec<Option<usize>> = labels.iter().map(|label| classes.binary_search(label).ok()).collect();
    let mut x = Cow::Borrowed(&scaled[..]);
    let rows = RowSpace::of(&scaled, d);
    if let Some(rows) = &rows {
        d = train.n;
        x = rows.coordinates().into();
    }

    let choice = choose(&x, &y, d, classes.len(), &strengths, options);
    let mut weights = choice.weights;
    let covariance = covariance(&x, d);
    // Accuracy settles long before the loss: on raw Fashion-MNIST pixels 1e-5 takes five times the iterations of 1e-3
    // and moves top-1 by 0.1 points.
    let stop = Stop { iterations: options.iterations, tolerance: 1e-4 };
    minimise(&Problem::new(&x, &y, classes.len(), choice.l2, &covariance), &mut weights, &stop);
    if let Some(rows) = rows {
        weights = rows.back(&weights, classes.len());
    }

    let mut x = test.data.clone();
    standard.apply(&mut x);
    let y: Vec<Option<usize>> = test.labels.iter().map(|label| classes.binary_search(label).ok()).collect();
    let accuracy = score(&weights, &x, &y, train.d, classes.len());
    Ok(LinearProbe { accuracy, l2: choice.l2, tried: choice.tried })
}

/// The chosen strength, what was tried, and weights to start the last fit from.
struct Choice {
    l2: f64,
    tried: Vec<(f64, f64)>,
    weights: Vec<f64>,
}

/// Walks the strengths from strong to weak, judging each on the rows held out; where these would be fewer than
/// [`FEW_HELD_OUT`], every row is held out once, by cross-validation.
fn choose(
    x: &[f32],
    y: &[Option<usize>],
    d: usize,
    classes: usize,
    strengths: &[f64],
    options: &LinearOptions,
) -> Choice {
    let n = y.len();
    let held_out = (n as f64 * options.holdout) as usize;
    let mut choice = Choice {
        l2: strengths[strengths.len() / 2],
        tried: Vec::new(),
        weights: vec![0.0; classes * (d + 1)],
    };
    let folds = if held_out < FEW_HELD_OUT { (n / held_out.max(1)).min(MAX_FOLDS) } else { 1 };
    if held_out == 0 || held_out * folds < MIN_HELD_OUT || strengths.len() < 2 {
        return choice;
    }
    // The first fold as the rows lie; of each further one, its rows go to the end.
    let mut folds: Vec<Fold> = (0..folds)
        .map(|fold| {
            let from = n - (fold + 1) * held_out;
            let turned = |v: &[f32]| {
                [&v[..from * d], &v[(from + held_out) * d..], &v[from * d..][..held_out * d]].concat()
            };
            let (x, y) = match fold {
                0 => (Cow::Borrowed(x), Cow::Borrowed(y)),
                _ => {
                    let y = [&y[..from], &y[from + held_out..], &y[from..][..held_out]].concat();
                    (Cow::Owned(turned(x)), Cow::Owned(y))
                }
            };
            let covariance = covariance(&x[..(n - held_out) * d], d);
            Fold { x, y, covariance, weights: choice.weights.clone() }
        })
        .collect();
    let (fitted, mut best, mut worse) = (n - held_out, -1.0, 0);
    for &strength in strengths {
        let mut top1 = 0.0;
        for fold in &mut folds {
            let (x, y) = (&fold.x[..fitted * d], &fold.y[..fitted]);
            let problem = Problem::new(x, y, classes, strength, &fold.covariance);
            minimise(&problem, &mut fold.weights, &Stop { iterations: options.iterations, tolerance: 1e-3 });
            top1 += score(&fold.weights, &fold.x[fitted * d..], &fold.y[fitted..], d, classes).top1;
        }
        top1 /= folds.len() as f64;
        choice.tried.push((strength, top1));
        if top1 > best {
            (best, choice.l2) = (top1, strength);
            choice.weights.clone_from(&folds[0].weights);
            worse = 0;
        } else {
            worse += 1;
        }
        // Weaker ones only overfit more, and take longest.
        if worse == 2 {
            break;
        }
    }
    choice
}

/// All rows, those held out last, and the weights of the last strength fitted to the others.
struct Fold<'a> {
    x: Cow<'a, [f32]>,
    y: Cow<'a, [Option<usize>]>,
    covariance: DMatrix<f64>,
    weights: Vec<f64>,
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

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
