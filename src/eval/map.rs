//! A map of the feature space in two dimensions: exact t-SNE from a PCA start.
//!
//! t-SNE (van der Maaten & Hinton 2008) with early exaggeration and adaptive gains, started from the principal
//! components (Kobak & Berens 2019), which needs no random numbers and keeps the large-scale layout. Exact and our own:
//! the crates at hand sum over rayon splits or draw from the operating system, so a map would differ from run to run.

use super::features::{check_rows, l2_normalize_rows};
use crate::linalg::{Mat, gemm};
use crate::simd::dispatch;
use crate::{Error, Result};
use rayon::prelude::*;

/// Time and memory grow with the square of the points; at this many a map takes about ten seconds on two cores.
pub const MAP_MAX_POINTS: usize = 4000;

const PERPLEXITY: f32 = 30.0;
const ITERATIONS: usize = 600;
const EXAGGERATED: usize = 200;
const EXAGGERATION: f32 = 12.0;
/// Partial sums of an inner loop: one AVX-512 register, and the same order of additions on every CPU.
const LANES: usize = 16;

/// Places the rows of `data` `[n, d]` in the plane so that near neighbours by cosine stay neighbours. Distances between
/// far points, sizes of groups and the axes mean nothing. The same input gives the same map, on any thread count.
///
/// Errors: no rows, values not finite, more than [`MAP_MAX_POINTS`] rows. Fewer than four rows give their PCA.
pub fn map2d(data: &[f32], d: usize) -> Result<Vec<[f32; 2]>> {
    let n = check_rows("map", data, d)?;
    if n > MAP_MAX_POINTS {
        return Err(Error::op("map", format!("{n} points; at most {MAP_MAX_POINTS}: pass a subset")));
    }
    let mut x = data.to_vec();
    l2_normalize_rows(&mut x, d);
    let mut y = principal_plane(&x, d);
    if n >= 4 {
        let mut p = vec![0.0; n * n];
        gemm(&mut p, n, Mat::new(&x, n, d), Mat::new(&x, n, d).t(), 1.0, false, true);
        affinities(&mut p, n);
        descend(&p, &mut y);
    }
    Ok((0..n).map(|i| [y[0][i], y[1][i]]).collect())
}

/// The first two principal components, each `[n]`, the first scaled to a standard deviation of 1e-4.
///
/// Subspace iteration with a few spare vectors; a start needs no more digits than this gives.
fn principal_plane(x: &[f32], d: usize) -> [Vec<f32>; 2] {
    const SPARE: usize = 6;
    let n = x.len() / d;
    let mut mean = vec![0.0f64; d];
    for row in x.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / n as f64);
    }
    let centred: Vec<f32> = x
        .chunks_exact(d)
        .flat_map(|row| row.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m) as f32))
        .collect();
    let x = Mat::new(&centred, n, d);
    // Fixed, unequal start vectors [SPARE, d]; orthonormalised before use.
    let mut v: Vec<f32> = (0..SPARE * d).map(|i| ((i * i % 97 + 3 * i) % 89) as f32 / 89.0 - 0.5).collect();
    let mut scores = vec![0.0; n * SPARE];
    for _ in 0..40 {
        orthonormalize(&mut v, d);
        gemm(&mut scores, SPARE, x, Mat::new(&v, SPARE, d).t(), 1.0, false, true);
        gemm(&mut v, d, Mat::new(&scores, n, SPARE).t(), x, 1.0, false, true);
    }
    let component = |c: usize| scores.iter().skip(c).step_by(SPARE);
    let std = (component(0).map(|&s| f64::from(s).powi(2)).sum::<f64>() / n as f64).sqrt();
    let scale = if std > 1e-6 { 1e-4 / std } else { 0.0 };
    [0, 1].map(|c| component(c).map(|&s| (f64::from(s) * scale) as f32).collect())
}

/// Gram–Schmidt on rows of `d`; a row without a direction of its own becomes 0.
fn orthonormalize(rows: &mut [f32], d: usize) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    for i in 0..rows.len() / d {
        let (before, rest) = rows.split_at_mut(i * d);
        let row = &mut rest[..d];
        let length = dot(row, row).sqrt();
        for other in before.chunks_exact(d) {
            let along = dot(row, other);
            row.iter_mut().zip(other).for_each(|(r, &o)| *r -= (along * f64::from(o)) as f32);
        }
        let left = dot(row, row).sqrt();
        let scale = if left > 1e-6 * length { 1.0 / left } else { 0.0 };
        row.iter_mut().for_each(|r| *r = (f64::from(*r) * scale) as f32);
    }
}

/// Turns cosines `[n, n]` into symmetric joint probabilities that sum to 1: each row a Gaussian in squared distance,
/// as wide as gives it the wanted perplexity.
fn affinities(p: &mut [f32], n: usize) {
    let target = f64::from(PERPLEXITY.min((n - 1) as f32 / 3.0)).ln();
    p.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        row.iter_mut().for_each(|cos| *cos = (2.0 - 2.0 * *cos).max(0.0));
        row[i] = f32::INFINITY;
        let nearest = row.iter().copied().fold(f32::INFINITY, f32::min);
        let (mut low, mut high, mut beta) = (0.0f64, f64::INFINITY, 1.0f64);
        for _ in 0..60 {
            let entropy = row_entropy(row, nearest, beta);
            if (entropy - target).abs() < 1e-4 {
                break;
            }
            if entropy > target {
                low = beta;
                beta = if high.is_finite() { (beta + high) / 2.0 } else { beta * 2.0 };
            } else {
                high = beta;
                beta = (beta + low) / 2.0;
            }
            // Equal distances have one entropy at every width; stop before the width degenerates.
            if !(1e-6..1e12).contains(&beta) {
                break;
            }
        }
        let mut sum = 0.0;
        for p in row.iter_mut() {
            *p = ((f64::from(nearest) - f64::from(*p)) * beta).exp() as f32;
            sum += f64::from(*p);
        }
        row.iter_mut().for_each(|p| *p = (f64::from(*p) / sum) as f32);
    });
    let share = 0.5 / n as f32;
    for i in 0..n {
        for j in 0..i {
            let joint = (p[i * n + j] + p[j * n + i]) * share;
            (p[i * n + j], p[j * n + i]) = (joint, joint);
        }
    }
}

/// Entropy of p ∝ exp(−β (distance − nearest)).
fn row_entropy(distances: &[f32], nearest: f32, beta: f64) -> f64 {
    let (mut sum, mut weighted) = (0.0, 0.0);
    for excess in distances.iter().filter(|d| d.is_finite()).map(|&d| f64::from(d - nearest)) {
        let p = (-beta * excess).exp();
        sum += p;
        weighted += p * excess;
    }
    sum.ln() + beta * weighted / sum
}

fn descend(p: &[f32], y: &mut [Vec<f32>; 2]) {
    let n = y[0].len();
    let rate = (n as f32 / EXAGGERATION / 4.0).max(50.0);
    let mut velocity = [vec![0.0f32; n], vec![0.0; n]];
    let mut gain = [vec![1.0f32; n], vec![1.0; n]];
    for iteration in 0..ITERATIONS {
        let early = iteration < EXAGGERATED;
        let (momentum, exaggeration) = if early { (0.5, EXAGGERATION) } else { (0.8, 1.0) };
        let forces: Vec<Forces> =
            p.par_chunks(n).enumerate().map(|(i, p)| dispatch(|| forces(p, &y[0], &y[1], i))).collect();
        // Every point's own term, 1, is not part of the sum.
        let z = forces.iter().map(|f| f64::from(f.weight)).sum::<f64>() - n as f64;
        let repulsion = (1.0 / z.max(f64::MIN_POSITIVE)) as f32;
        for axis in 0..2 {
            for (i, force) in forces.iter().enumerate() {
                let gradient = 4.0 * (exaggeration * force.attract[axis] - repulsion * force.repel[axis]);
                let (v, gain) = (&mut velocity[axis][i], &mut gain[axis][i]);
                *gain = if (gradient > 0.0) == (*v > 0.0) { (*gain * 0.8).max(0.01) } else { *gain + 0.2 };
                *v = momentum * *v - rate * *gain * gradient;
                y[axis][i] += *v;
            }
            let mean = y[axis].iter().map(|&y| f64::from(y)).sum::<f64>() / n as f64;
            y[axis].iter_mut().for_each(|y| *y -= mean as f32);
        }
    }
}

/// Sums over all other points j of one point, with w = 1 / (1 + ‖yᵢ − yⱼ‖²).
struct Forces {
    /// Σ p w (yᵢ − yⱼ)
    attract: [f32; 2],
    /// Σ w² (yᵢ − yⱼ)
    repel: [f32; 2],
    /// Σ w
    weight: f32,
}

#[inline(always)]
fn forces(p: &[f32], y0: &[f32], y1: &[f32], i: usize) -> Forces {
    let at = (y0[i], y1[i]);
    let mut sums = [[0.0f32; LANES]; 5];
    let whole = p.len() / LANES * LANES;
    for j in (0..whole).step_by(LANES) {
        let (p, y0, y1) = (&p[j..j + LANES], &y0[j..j + LANES], &y1[j..j + LANES]);
        for lane in 0..LANES {
            let terms = terms(p[lane], at, y0[lane], y1[lane]);
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    for j in whole..p.len() {
        for (sum, term) in sums.iter_mut().zip(terms(p[j], at, y0[j], y1[j])) {
            sum[j - whole] += term;
        }
    }
    let [a0, a1, r0, r1, weight] = sums.map(|lanes| lanes.iter().sum::<f32>());
    Forces { attract: [a0, a1], repel: [r0, r1], weight }
}

#[inline(always)]
fn terms(p: f32, at: (f32, f32), y0: f32, y1: f32) -> [f32; 5] {
    let (d0, d1) = (at.0 - y0, at.1 - y1);
    let w = 1.0 / (1.0 + d0 * d0 + d1 * d1);
    let (pw, ww) = (p * w, w * w);
    [pw * d0, pw * d1, ww * d0, ww * d1, w]
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
