//! batch_norm's forward pass on the CPU: one pass over x for the statistics, one to apply them, each as fast as memory.
//!
//! Channels are worked on sixteen at a time, a cache line, so that sums stay in registers while rows go by. Rows are cut
//! into chunks by shape alone, and chunk sums are added in order in f64: the same bits at any thread count.

// Indexed loops over fixed blocks are what the vectoriser turns into straight vector code.
#![allow(clippy::needless_range_loop)]

use super::BatchNorm;
use crate::simd;
use rayon::prelude::*;

/// Channels that are summed side by side.
pub const LANES: usize = 16;
/// Elements a task works on, about the L2 cache.
const CHUNK: usize = 1 << 16;
/// Rows whose f32 sums are kept apart before they join the chunk's: bounds the rounding error.
pub const ROWS: usize = 128;

pub fn rows_per_chunk(c: usize) -> usize {
    (CHUNK / c).max(1)
}

pub fn chunks(c: usize, elements: usize) -> usize {
    (elements / c).div_ceil(rows_per_chunk(c))
}

/// Two sums a channel for each chunk; then two coefficients a channel.
pub fn forward_scratch(c: usize, elements: usize) -> usize {
    2 * c * chunks(c, elements).max(1)
}

/// Mean and biased variance of each channel, over sums of x − x\[0\]: without the shift, fp32 sums of squares cancel.
pub fn statistics(x: &[f32], c: usize, mean: &mut [f32], var: &mut [f32], scratch: &mut [f32]) {
    let pivot = &x[..c];
    let step = rows_per_chunk(c) * c;
    scratch.par_chunks_mut(2 * c).zip(x.par_chunks(step)).for_each(|(sums, x)| {
        let (sum, square) = sums.split_at_mut(c);
        simd::dispatch(|| shifted_sums(x, pivot, sum, square));
    });
    let count = (x.len() / c) as f64;
    let used = &scratch[..2 * c * chunks(c, x.len())];
    for ch in 0..c {
        let total = |offset: usize| used.chunks_exact(2 * c).map(|s| f64::from(s[offset + ch])).sum::<f64>();
        let shift = total(0) / count;
        mean[ch] = (f64::from(pivot[ch]) + shift) as f32;
        let v = total(c) / count - shift * shift;
        // Rounding may leave a tiny negative; NaN must stay NaN.
        var[ch] = if v < 0.0 { 0.0 } else { v as f32 };
    }
}

#[inline(always)]
fn shifted_sums(x: &[f32], pivot: &[f32], sum: &mut [f32], square: &mut [f32]) {
    let c = pivot.len();
    sum.fill(0.0);
    square.fill(0.0);
    for block in x.chunks(ROWS * c) {
        let mut from = 0;
        while from + LANES <= c {
            let k: [f32; LANES] = pivot[from..][..LANES].try_into().expect("LANES long");
            let (mut s, mut q) = ([0.0; LANES], [0.0; LANES]);
            for row in block.chunks_exact(c) {
                let row: &[f32; LANES] = row[from..][..LANES].try_into().expect("LANES long");
                for i in 0..LANES {
                    let d = row[i] - k[i];
                    s[i] += d;
                    q[i] += d * d;
                }
            }
            for i in 0..LANES {
                sum[from + i] += s[i];
                square[from + i] += q[i];
            }
            from += LANES;
        }
        for ch in from..c {
            let (mut s, mut q) = (0.0, 0.0);
            for row in block.chunks_exact(c) {
                let d = row[ch] - pivot[ch];
                s += d;
                q += d * d;
            }
            sum[ch] += s;
            square[ch] += q;
        }
    }
}

/// y = x · scale + shift \[+ residual\] \[then ReLU\]; `statistics` are gamma, beta, mean, var.
pub fn apply(
    x: &[f32],
    [gamma, beta, mean, var]: [&[f32]; 4],
    residual: Option<&[f32]>,
    bn: BatchNorm,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let c = gamma.len();
    let (scale, shift) = scratch[..2 * c].split_at_mut(c);
    for ch in 0..c {
        scale[ch] = gamma[ch] / (var[ch] + bn.eps).sqrt();
        shift[ch] = beta[ch] - mean[ch] * scale[ch];
    }
    let (scale, shift) = (&*scale, &*shift);
    let step = rows_per_chunk(c) * c;
    // The floor of the output: 0 behind a ReLU, nothing without.
    let floor = if bn.relu { 0.0 } else { f32::NEG_INFINITY };
    match residual {
        Some(residual) => {
            y.par_chunks_mut(step).zip(x.par_chunks(step).zip(residual.par_chunks(step))).for_each(
                |(y, (x, r))| {
                    simd::dispatch(|| {
                        for ((y, x), r) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(r.chunks_exact(c))
                        {
                            affine_row(y, x, scale, shift, floor, |i| r[i]);
                        }
                    });
                },
            );
        }
        None => y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| {
            simd::dispatch(|| {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    affine_row(y, x, scale, shift, floor, |_| 0.0);
                }
            });
        }),
    }
}

#[inline(always)]
fn affine_row(
    y: &mut [f32],
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    floor: f32,
    plus: impl Fn(usize) -> f32,
) {
    let c = y.len();
    let (x, scale, shift) = (&x[..c], &scale[..c], &shift[..c]);
    let at = |i: usize| {
        let v = x[i] * scale[i] + shift[i] + plus(i);
        if v < floor { floor } else { v }
    };
    let whole = c - c % LANES;
    for from in (0..whole).step_by(LANES) {
        for i in 0..LANES {
            y[from + i] = at(from + i);
        }
    }
    for i in whole..c {
        y[i] = at(i);
    }
}
