//! info_nce's gradients: tiles of similarities are made again and give the weights of the other set's rows.

use super::super::l2_normalize::norm_backward;
use super::super::similarities::{self, COLS, EPS, ROWS, dot, normalize_rows, similarities};
use super::super::{Args, Cost, Op, moved};
use super::{InfoNce, launches};
use crate::Result;
use crate::device::launch::{Launch, Operands};
use crate::linalg::{Mat, gemm};
use crate::tensor::TensorType;
use rayon::prelude::*;

/// Whose gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Q,
    K,
}

/// d_loss, z, partner, lse, \[queue\] → dz, where z is q and partner k, or the other way round.
///
/// dẑ_i = (1 / N T) (Σ_j w_ij û_j + p_i partner̂_i), then through z → ẑ. With s_ij = ⟨ẑ_i, û_j⟩ / T:
/// q's w_ij = exp(s_ij − lse_i), over the queue or k; k's w_ij = exp(s_ij − lse_j), over q, or nothing where there is a queue.
/// p_i = exp(⟨q̂_i, k̂_i⟩ / T − lse_i) − 1 with a queue, −1 without: there w holds the rest.
#[derive(Debug)]
pub struct InfoNceBackward {
    pub loss: InfoNce,
    pub of: Of,
}

impl Op for InfoNceBackward {
    fn name(&self) -> &'static str {
        match self.of {
            Of::Q => "info_nce/bwd_q",
            Of::K => "info_nce/bwd_k",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let columns = match (self.of, inputs) {
            (Of::Q, [.., queue]) if inputs.len() == 5 => queue.shape[0],
            (Of::K, _) if inputs.len() == 5 => 0,
            _ => inputs[2].shape[0],
        };
        let (n, d) = (inputs[1].shape[0] as u64, inputs[1].shape[1] as u64);
        // k's gradient leaves a queue alone.
        let read = if columns == 0 { &inputs[..4] } else { inputs };
        Cost { flops: n * columns as u64 * (4 * d + 2) + 6 * n * d, bytes: moved(read, outputs) }
    }

    /// Unit rows of z, partner and queue, dẑ, then a tile for each block of rows.
    fn scratch(&self, inputs: &[TensorType]) -> usize {
        let queue = inputs.get(4).map_or(0, TensorType::elements);
        3 * inputs[1].elements() + queue + similarities::scratch(inputs[1].shape[0])
    }

    fn cpu(&self, args: &Args) {
        let ([n, d], accumulate, t) = (args.dims(1), args.accumulates(0), self.loss.temperature);
        let (z, lse) = (args.f32(1), args.f32(3));
        let scale = args.f32(0)[0] / (n as f32 * t);
        let (unit, rest) = args.scratch().split_at_mut(n * d);
        let (partner, rest) = rest.split_at_mut(n * d);
        let (d_unit, mut rest) = rest.split_at_mut(n * d);
        normalize_rows(z, unit, d);
        normalize_rows(args.f32(2), partner, d);
        let (unit, partner) = (&*unit, &*partner);
        let queue = args.inputs() == 5;
        let mut columns = partner;
        if queue && self.of == Of::Q {
            let (own, left) = rest.split_at_mut(args.f32(4).len());
            normalize_rows(args.f32(4), own, d);
            (columns, rest) = (own, left);
        } else if queue {
            columns = &[];
        }
        let blocks = args.out(0).par_chunks_mut(ROWS * d).zip(d_unit.par_chunks_mut(ROWS * d));
        blocks.zip(rest.par_chunks_mut(ROWS * COLS)).enumerate().for_each(|(block, ((dz, d_unit), tile))| {
            let i0 = block * ROWS;
            for (i, g) in d_unit.chunks_exact_mut(d).enumerate().map(|(i, g)| (i0 + i, g)) {
                let pull = if queue {
                    ((dot(unit, partner, d, i) / f64::from(t)) as f32 - lse[i]).exp() - 1.0
                } else {
                    -1.0
                };
                g.iter_mut().zip(&partner[i * d..]).for_each(|(g, p)| *g = scale * pull * p);
            }
            for j0 in (0..columns.len() / d).step_by(COLS) {
                let (tile, width) = similarities(unit, columns, d, i0, j0, 1.0 / t, tile);
                for (i, row) in tile.chunks_exact_mut(width).enumerate() {
                    match self.of {
                        Of::Q => similarities::weights(row, std::iter::repeat(&lse[i0 + i]), scale),
                        Of::K => similarities::weights(row, lse[j0..].iter(), scale),
                    }
                }
                let (m, b) = (tile.len() / width, Mat::new(&columns[j0 * d..], width, d));
                gemm(d_unit, d, Mat::new(tile, m, width), b, 1.0, true, false);
            }
            for (i, (dz, d_unit)) in dz.chunks_exact_mut(d).zip(d_unit.chunks_exact(d)).enumerate() {
                let z = &z[(i0 + i) * d..][..d];
                norm_backward(z, d_unit, EPS, |k, g| dz[k] = if accumulate { dz[k] + g } else { g });
            }
        });
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::backward_workspace(self.of, inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(launches::backward(on, self))
    }
}
