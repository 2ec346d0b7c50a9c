//! batch_norm's backward pass on the CPU: two sums a channel, then three coefficients, then dx.
//!
//! With g = dy where the ReLU was open, S₁ = Σ g, S₂ = Σ g (x − mean), r = 1/√(var + eps), M values a channel:
//! dβ = S₁, dγ = r S₂, dx = γ r (g − S₁/M − (x − mean) r² S₂/M); in evaluation without the two means.

// Indexed loops over fixed blocks are what the vectoriser turns into straight vector code.
#![allow(clippy::needless_range_loop)]

use super::BatchNorm;
use super::cpu::{LANES, ROWS, chunks, rows_per_chunk};
use crate::simd;
use rayon::prelude::*;

/// What the backward pass reads.
pub struct Saved<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mean: &'a [f32],
    pub var: &'a [f32],
    /// Only where a residual was added; else x tells where the ReLU was open.
    pub y: Option<&'a [f32]>,
}

/// A gradient to write, and whether to add to what is there.
pub struct Target<'a> {
    pub values: &'a mut [f32],
    pub accumulate: bool,
}

impl Target<'_> {
    fn put(&mut self, i: usize, own: f32) {
        self.values[i] = if self.accumulate { self.values[i] + own } else { own };
    }
}

/// Two sums a channel for each chunk; then five coefficients a channel.
pub fn scratch(c: usize, elements: usize) -> usize {
    2 * c * chunks(c, elements) + 5 * c
}

/// Where the gradient gets through. Constants, so that the loops have no branches.
const ALWAYS: u8 = 0;
/// Where x · scale + shift > 0: without a residual that is y, and x is at hand.
const BY_X: u8 = 1;
const BY_Y: u8 = 2;

pub fn backward(
    saved: &Saved,
    bn: BatchNorm,
    dx: Target,
    mut dgamma: Target,
    mut dbeta: Target,
    d_residual: Option<Target>,
    scratch: &mut [f32],
) {
    let c = saved.gamma.len();
    let (coefficients, sums) = scratch.split_at_mut(5 * c);
    let [scale, shift, slope, x_slope, constant] = split5(coefficients, c);
    for ch in 0..c {
        // Exactly as the forward pass computed them.
        scale[ch] = saved.gamma[ch] / (saved.var[ch] + bn.eps).sqrt();
        shift[ch] = saved.beta[ch] - saved.mean[ch] * scale[ch];
    }
    let gate = Gate { scale, shift };
    let step = rows_per_chunk(c) * c;
    let kind = match (bn.relu, saved.y) {
        (false, _) => ALWAYS,
        (true, None) => BY_X,
        (true, Some(_)) => BY_Y,
    };
    let y = |from: usize, len: usize| saved.y.map_or(&[][..], |y| &y[from..from + len]);

    sums.par_chunks_mut(2 * c).zip(saved.dy.par_chunks(step)).enumerate().for_each(|(i, (sums, dy))| {
        let (x, y) = (&saved.x[i * step..][..dy.len()], y(i * step, dy.len()));
        let (s1, s2) = sums.split_at_mut(c);
        simd::dispatch(|| match kind {
            ALWAYS => gate.sums::<ALWAYS>(dy, x, y, saved.mean, s1, s2),
            BY_X => gate.sums::<BY_X>(dy, x, y, saved.mean, s1, s2),
            _ => gate.sums::<BY_Y>(dy, x, y, saved.mean, s1, s2),
        });
    });

    let count = (saved.x.len() / c) as f64;
    let used = &sums[..2 * c * chunks(c, saved.x.len())];
    for ch in 0..c {
        let total = |offset: usize| used.chunks_exact(2 * c).map(|s| f64::from(s[offset + ch])).sum::<f64>();
        let (s1, s2) = (total(0), total(c));
        let r = 1.0 / (f64::from(saved.var[ch]) + f64::from(bn.eps)).sqrt();
        dgamma.put(ch, (r * s2) as f32);
        dbeta.put(ch, s1 as f32);
        let a = f64::from(saved.gamma[ch]) * r;
        let (b, shift) = if bn.training { (-a * r * r * s2 / count, -a * s1 / count) } else { (0.0, 0.0) };
        slope[ch] = a as f32;
        x_slope[ch] = b as f32;
        constant[ch] = shift as f32;
    }

    let k = Coefficients { slope, x_slope, constant, mean: saved.mean };
    let inputs = saved.dy.par_chunks(step).zip(saved.x.par_chunks(step));
    let one = |i: usize, dx: &mut [f32], dr: &mut [f32], dy: &[f32], x: &[f32], add: [bool; 2]| {
        let y = y(i * step, dy.len());
        simd::dispatch(|| match kind {
            ALWAYS => gate.gradients::<ALWAYS>(dy, x, y, &k, dx, dr, add),
            BY_X => gate.gradients::<BY_X>(dy, x, y, &k, dx, dr, add),
            _ => gate.gradients::<BY_Y>(dy, x, y, &k, dx, dr, add),
        });
    };
    let dx_chunks = dx.values.par_chunks_mut(step);
    match d_residual {
        Some(dr) => dx_chunks.zip(dr.values.par_chunks_mut(step)).zip(inputs).enumerate().for_each(
            |(i, ((dx_chunk, dr_chunk), (dy, x)))| {
                one(i, dx_chunk, dr_chunk, dy, x, [dx.accumulate, dr.accumulate])
            },
        ),
        None => dx_chunks
            .zip(inputs)
            .enumerate()
            .for_each(|(i, (dx_chunk, (dy, x)))| one(i, dx_chunk, &mut [], dy, x, [dx.accumulate, false])),
    }
}

fn split5(all: &mut [f32], c: usize) -> [&mut [f32]; 5] {
    let mut parts = all.chunks_exact_mut(c);
    std::array::from_fn(|_| parts.next().expect("five parts"))
}

struct Coefficients<'a> {
    slope: &'a [f32],
    x_slope: &'a [f32],
    constant: &'a [f32],
    mean: &'a [f32],
}

/// Where the ReLU let the gradient through.
struct Gate<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
}

#[inline(always)]
fn lanes<const L: usize>(values: &[f32], from: usize) -> [f32; L] {
    values[from..from + L].try_into().expect("L long")
}

impl Gate<'_> {
    /// The gradient in front of the ReLU, of L channels from `ch` of the row at `at`.
    #[inline(always)]
    fn open<const L: usize, const KIND: u8>(
        &self,
        dy: &[f32; L],
        x: &[f32; L],
        y: &[f32],
        at: usize,
        scale: &[f32; L],
        shift: &[f32; L],
    ) -> [f32; L] {
        let mut g = *dy;
        match KIND {
            ALWAYS => {}
            BY_X => {
                for i in 0..L {
                    g[i] = if x[i] * scale[i] + shift[i] > 0.0 { dy[i] } else { 0.0 };
                }
            }
            _ => {
                let y: [f32; L] = lanes(y, at);
                for i in 0..L {
                    g[i] = if y[i] > 0.0 { dy[i] } else { 0.0 };
                }
            }
        }
        g
    }

    #[inline(always)]
    fn sums<const KIND: u8>(
        &self,
        dy: &[f32],
        x: &[f32],
        y: &[f32],
        mean: &[f32],
        s1: &mut [f32],
        s2: &mut [f32],
    ) {
        let c = mean.len();
        s1.fill(0.0);
        s2.fill(0.0);
        for block in (0..dy.len()).step_by(ROWS * c) {
            let end = (block + ROWS * c).min(dy.len());
            let whole = c - c % LANES;
            for ch in (0..whole).step_by(LANES) {
                self.sums_of::<LANES, KIND>([dy, x, y], block..end, ch, mean, s1, s2);
            }
            for ch in whole..c {
                self.sums_of::<1, KIND>([dy, x, y], block..end, ch, mean, s1, s2);
            }
        }
    }

    #[inline(always)]
    fn sums_of<const L: usize, const KIND: u8>(
        &self,
        [dy, x, y]: [&[f32]; 3],
        rows: std::ops::Range<usize>,
        ch: usize,
        mean: &[f32],
        s1: &mut [f32],
        s2: &mut [f32],
    ) {
        let (mut a, mut b) = ([0.0; L], [0.0; L]);
        let (scale, shift, m): ([f32; L], [f32; L], [f32; L]) =
            (lanes(self.scale, ch), lanes(self.shift, ch), lanes(mean, ch));
        for row in rows.step_by(mean.len()) {
            let (d, v): ([f32; L], [f32; L]) = (lanes(dy, row + ch), lanes(x, row + ch));
            let g = self.open::<L, KIND>(&d, &v, y, row + ch, &scale, &shift);
            for i in 0..L {
                a[i] += g[i];
                b[i] += g[i] * (v[i] - m[i]);
            }
        }
        for i in 0..L {
            s1[ch + i] += a[i];
            s2[ch + i] += b[i];
        }
    }

    /// dx and, where there is one, the residual's gradient: dy where the gate was open.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn gradients<const KIND: u8>(
        &self,
        dy: &[f32],
        x: &[f32],
        y: &[f32],
        k: &Coefficients,
        dx: &mut [f32],
        dr: &mut [f32],
        add: [bool; 2],
    ) {
        let c = k.mean.len();
        let whole = c - c % LANES;
        for row in (0..dy.len()).step_by(c) {
            for ch in (0..whole).step_by(LANES) {
                self.gradients_of::<LANES, KIND>([dy, x, y], row, ch, k, dx, dr, add);
            }
            for ch in whole..c {
                self.gradients_of::<1, KIND>([dy, x, y], row, ch, k, dx, dr, add);
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn gradients_of<const L: usize, const KIND: u8>(
        &self,
        [dy, x, y]: [&[f32]; 3],
        row: usize,
        ch: usize,
        k: &Coefficients,
        dx: &mut [f32],
        dr: &mut [f32],
        add: [bool; 2],
    ) {
        let at = row + ch;
        let (d, v): ([f32; L], [f32; L]) = (lanes(dy, at), lanes(x, at));
        let g = self.open::<L, KIND>(&d, &v, y, at, &lanes(self.scale, ch), &lanes(self.shift, ch));
        let (slope, x_slope): ([f32; L], [f32; L]) = (lanes(k.slope, ch), lanes(k.x_slope, ch));
        let (constant, mean): ([f32; L], [f32; L]) = (lanes(k.constant, ch), lanes(k.mean, ch));
        let mut own = [0.0; L];
        for i in 0..L {
            own[i] = slope[i] * g[i] + x_slope[i] * (v[i] - mean[i]) + constant[i];
        }
        put(&mut dx[at..at + L], own, add[0]);
        if !dr.is_empty() {
            put(&mut dr[at..at + L], g, add[1]);
        }
    }
}

#[inline(always)]
fn put<const L: usize>(to: &mut [f32], own: [f32; L], add: bool) {
    if add {
        for i in 0..L {
            to[i] += own[i];
        }
    } else {
        to.copy_from_slice(&own);
    }
}
