//! nt_xent: the contrastive loss of SimCLR (Chen et al., ICML 2020, eq. 1), mean over all 2N views.
//!
//! With ẑ = z / ‖z‖ and s_ij = ⟨ẑ_i, ẑ_j⟩ / T: loss = (1/2N) Σ_i (log Σ_{j≠i} exp s_ij − s_ip(i)); rows i and i + N are
//! the two views of one image, p swaps them. The 2N × 2N matrix is never stored: tiles of it are made, folded into an
//! online log-sum-exp, and made again in the backward pass.

mod launches;

pub use launches::KERNELS;

use super::l2_normalize::{norm_backward, normalized};
use super::similarities::{self, COLS, EPS, ROWS, normalize_rows, similarities};
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::linalg::{Mat, gemm};
use crate::simd;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// z\[2N,D\] → loss\[1\], and lse\[2N\] for the backward pass.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NtXent {
    pub temperature: f32,
}

impl Default for NtXent {
    fn default() -> Self {
        Self { temperature: 0.5 }
    }
}

impl NtXent {
    fn check(&self, z: &TensorType) -> Result<[usize; 2]> {
        let [rows, d] = z.dims("nt_xent", "z")?;
        if rows % 2 != 0 || rows < 4 {
            let what =
                format!("`z` must hold two views of at least two images, rows i and i + N, but is {z}");
            return Err(Error::op("nt_xent", what));
        }
        checks::divisor("nt_xent", "temperature", self.temperature)?;
        Ok([rows, d])
    }
}

/// Scratch: ẑ, then a tile for each block of rows.
fn scratch(rows: usize, d: usize) -> usize {
    rows * d + similarities::scratch(rows)
}

#[inline(always)]
fn sum_of_exponentials(row: &[f32], max: f32) -> f32 {
    row.iter().map(|&s| simd::exp(s - max)).sum()
}

impl Op for NtXent {
    fn name(&self) -> &'static str {
        "nt_xent"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [z] = inputs else {
            return Err(Error::op(self.name(), "takes z"));
        };
        let [rows, _] = self.check(z)?;
        Ok(vec![TensorType::f32([1]), TensorType::f32([rows])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (rows, d) = (inputs[0].shape[0] as u64, inputs[0].shape[1] as u64);
        Cost { flops: rows * rows * (2 * d + 2), bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        scratch(inputs[0].shape[0], inputs[0].shape[1])
    }

    fn cpu(&self, args: &Args) {
        let [rows, d] = args.dims(0);
        let (unit, tiles) = args.scratch().split_at_mut(rows * d);
        normalize_rows(args.f32(0), unit, d);
        let (unit, lse) = (&*unit, args.out(1));
        lse.par_chunks_mut(ROWS).zip(tiles.par_chunks_mut(ROWS * COLS)).enumerate().for_each(
            |(block, (lse, tile))| {
                let i0 = block * ROWS;
                let mut running = [(f32::NEG_INFINITY, 0.0f32); ROWS];
                for j0 in (0..rows).step_by(COLS) {
                    let (tile, n) = similarities(unit, unit, d, i0, j0, 1.0 / self.temperature, tile);
                    for (i, row) in tile.chunks_exact_mut(n).enumerate() {
                        if (j0..j0 + n).contains(&(i0 + i)) {
                            row[i0 + i - j0] = f32::NEG_INFINITY;
                        }
                        let (max, sum) = running[i];
                        let new_max = row.iter().copied().fold(max, f32::max);
                        // A tile of one column, the row's own, has nothing to add.
                        if new_max > f32::NEG_INFINITY {
                            let own = simd::dispatch(|| sum_of_exponentials(row, new_max));
                            running[i] = (new_max, sum * (max - new_max).exp() + own);
                        } else if row.iter().any(|s| s.is_nan()) {
                            running[i] = (f32::NAN, f32::NAN);
                        }
                    }
                }
                lse.iter_mut().zip(running).for_each(|(lse, (max, sum))| *lse = max + sum.ln());
            },
        );
        let half = rows / 2;
        let total: f64 = (0..rows)
            .map(|i| {
                let (a, b) = (&unit[i * d..][..d], &unit[(i + half) % rows * d..][..d]);
                let positive: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                f64::from(lse[i]) - positive / f64::from(self.temperature)
            })
            .sum();
        args.out(0)[0] = (total / rows as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::forward_workspace(&inputs[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(launches::forward(on, self.temperature))
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.grad(0)?, vjp.input(0), vjp.output(1)];
        vjp.emit(NtXentBackward(*self), &inputs, &[0])
    }
}

/// dẑ_i = (1 / 2N T) Σ_{j≠i} (exp(s_ij − lse_i) + exp(s_ij − lse_j) − 2·\[j = p(i)\]) ẑ_j, then through z → ẑ.
#[derive(Debug)]
struct NtXentBackward(NtXent);

impl Op for NtXentBackward {
    fn name(&self) -> &'static str {
        "nt_xent/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (rows, d) = (inputs[1].shape[0] as u64, inputs[1].shape[1] as u64);
        Cost { flops: rows * rows * (4 * d + 4), bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        let (rows, d) = (inputs[1].shape[0], inputs[1].shape[1]);
        scratch(rows, d) + rows * d
    }

    fn cpu(&self, args: &Args) {
        let ([rows, d], accumulate) = (args.dims(1), args.accumulates(0));
        let (z, lse) = (args.f32(1), args.f32(2));
        let t = self.0.temperature;
        let scale = args.f32(0)[0] / (rows as f32 * t);
        let (unit, rest) = args.scratch().split_at_mut(rows * d);
        let (d_unit, tiles) = rest.split_at_mut(rows * d);
        normalize_rows(z, unit, d);
        let unit = &*unit;
        let blocks = args.out(0).par_chunks_mut(ROWS * d).zip(d_unit.par_chunks_mut(ROWS * d));
        blocks.zip(tiles.par_chunks_mut(ROWS * COLS)).enumerate().for_each(
            |(block, ((dz, d_unit), tile))| {
                let i0 = block * ROWS;
                for j0 in (0..rows).step_by(COLS) {
                    let (tile, n) = similarities(unit, unit, d, i0, j0, 1.0 / t, tile);
                    for (i, row) in tile.chunks_exact_mut(n).enumerate() {
                        let own = i0 + i;
                        let other = (own + rows / 2) % rows;
                        simd::dispatch(|| weights(row, lse[own], &lse[j0..], scale));
                        if (j0..j0 + n).contains(&other) {
                            row[other - j0] -= 2.0 * scale;
                        }
                        if (j0..j0 + n).contains(&own) {
                            row[own - j0] = 0.0;
                        }
                    }
                    let m = tile.len() / n;
                    gemm(
                        d_unit,
                        d,
                        Mat::new(tile, m, n),
                        Mat::new(&unit[j0 * d..], n, d),
                        1.0,
                        j0 > 0,
                        false,
                    );
                }
                for (i, (dz, d_unit)) in dz.chunks_exact_mut(d).zip(d_unit.chunks_exact(d)).enumerate() {
                    let z = &z[(i0 + i) * d..][..d];
                    norm_backward(z, d_unit, EPS, |k, g| dz[k] = if accumulate { dz[k] + g } else { g });
                }
            },
        );
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::backward_workspace(&inputs[1])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(launches::backward(on, self.0.temperature))
    }
}

#[inline(always)]
fn weights(row: &mut [f32], lse_row: f32, lse_cols: &[f32], scale: f32) {
    for (s, &lse_col) in row.iter_mut().zip(lse_cols) {
        *s = scale * (simd::exp(*s - lse_row) + simd::exp(*s - lse_col));
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "nt_xent",
    summary: "SimCLR's contrastive loss over two views; normalises inside",
    inputs: &[Operand::new("z", "[2N,D]")],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(NtXent::default()),
    record: |graph, params, t| graph.apply(parse::<NtXent>("nt_xent", params)?, &[t.get("z")?]),
    reference: |params, t| {
        let temperature =
            f64::from(parse::<NtXent>("nt_xent", params).expect("a case's parameters").temperature);
        let z = t.at("z");
        let rows = z.shape[0];
        let unit: Vec<_> = (0..rows).map(|i| normalized(z.row(i), 1e-12)).collect();
        let s =
            |i: usize, j: usize| unit[i].iter().zip(&unit[j]).map(|(a, b)| a * b).sum::<f64>() / temperature;
        let losses = (0..rows).map(|i| {
            let sum: f64 = (0..rows).filter(|&j| j != i).map(|j| s(i, j).exp()).sum();
            sum.ln() - s(i, (i + rows / 2) % rows)
        });
        vec![Tensor64::scalar(losses.sum::<f64>() / rows as f64)]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, d: usize, t: f64| {
            Case::new(name, json!({"temperature": t})).input("z", [2 * n, d])
        };
        vec![
            case("two_images", 2, 3, 0.5),
            case("odd", 5, 7, 0.2),
            case("several_blocks", 37, 9, 0.5),
            case("several_tiles", 150, 4, 0.1),
            case("chunks", 35, 24, 0.2),
            case("two_chunks", 6, 200, 0.5),
            case("batch_256", 256, 128, 0.5).bench_only(),
            case("batch_4096", 4096, 128, 0.5).bench_only(),
        ]
    },
};
