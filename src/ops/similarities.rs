//! Tiles of the similarities of two sets of unit rows, on the CPU.

use super::l2_normalize::norm;
use crate::linalg::{Mat, gemm};
use crate::simd;
use rayon::prelude::*;

/// Shorter rows count as this long.
pub const EPS: f32 = 1e-12;
/// Rows of a tile, each the work of one task.
pub const ROWS: usize = 32;
/// Columns of a tile.
pub const COLS: usize = 256;

/// A tile for each block of rows.
pub fn scratch(rows: usize) -> usize {
    rows.div_ceil(ROWS) * ROWS * COLS
}

/// Rows of z, `d` long, divided by their lengths.
pub fn normalize_rows(z: &[f32], unit: &mut [f32], d: usize) {
    unit.par_chunks_mut(d).zip(z.par_chunks(d)).for_each(|(unit, z)| {
        let scale = 1.0 / norm(z, EPS);
        unit.iter_mut().zip(z).for_each(|(u, z)| *u = z * scale);
    });
}

/// ⟨a_i, b_i⟩
pub fn dot(a: &[f32], b: &[f32], d: usize, i: usize) -> f64 {
    a[i * d..][..d].iter().zip(&b[i * d..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The tile of scale · ⟨a_i, b_j⟩ for rows from `i0` and columns from `j0`, and how wide it is.
pub fn similarities<'t>(
    a: &[f32],
    b: &[f32],
    d: usize,
    i0: usize,
    j0: usize,
    scale: f32,
    tile: &'t mut [f32],
) -> (&'t mut [f32], usize) {
    let (m, n) = (ROWS.min(a.len() / d - i0), COLS.min(b.len() / d - j0));
    let (a, b) = (Mat::new(&a[i0 * d..], m, d), Mat::new(&b[j0 * d..], n, d));
    gemm(tile, n, a, b.t(), scale, false, false);
    (&mut tile[..m * n], n)
}

/// log Σ exp of what was added so far.
#[derive(Clone, Copy)]
pub struct LogSum {
    max: f32,
    sum: f32,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    /// The maximum skips NaN, the sum does not.
    pub fn add(&mut self, row: &[f32]) {
        let max = row.iter().copied().fold(self.max, f32::max);
        if max > f32::NEG_INFINITY {
            let own = simd::dispatch(|| sum_of_exponentials(row, max));
            *self = Self { max, sum: self.sum * (self.max - max).exp() + own };
        } else {
            // Cosines are numbers or NaN.
            self.sum = f32::NAN;
        }
    }

    pub fn log(self) -> f32 {
        self.max + self.sum.ln()
    }
}

#[inline(always)]
fn sum_of_exponentials(row: &[f32], max: f32) -> f32 {
    row.iter().map(|&s| simd::exp(s - max)).sum()
}

/// scale · exp(s − lse) in place of each s.
pub fn weights<'a>(row: &mut [f32], lse: impl Iterator<Item = &'a f32>, scale: f32) {
    simd::dispatch(
        #[inline(always)]
        || row.iter_mut().zip(lse).for_each(|(s, lse)| *s = scale * simd::exp(*s - lse)),
    );
}
