//! info_nce: the contrastive loss of one set of rows against another, mean over N queries.
//!
//! With q̂ = q / ‖q‖, k̂ and ĉ alike: loss = (1/N) Σ_n (lse_n − ⟨q̂_n, k̂_n⟩ / T). With a queue c, lse_n = log(exp(⟨q̂_n, k̂_n⟩
//! / T) + Σ_j exp(⟨q̂_n, ĉ_j⟩ / T)): MoCo (He et al., CVPR 2020, eq. 1). Without, the other rows of k are the negatives,
//! lse_n = log Σ_j exp(⟨q̂_n, k̂_j⟩ / T): MoCo v3 (Chen et al., ICCV 2021, section 3), NNCLR (Dwibedi et al., ICCV 2021,
//! eq. 3). The N × K matrix is never stored: tiles of it are made, folded into an online log-sum-exp, and made again in the
//! backward pass.

mod backward;
mod launches;

pub use launches::KERNELS;
pub(super) use launches::{Unit, tiles as gpu_tiles};

use super::l2_normalize::normalized;
use super::similarities::{self, COLS, LogSum, ROWS, dot, normalize_rows, similarities};
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use backward::{InfoNceBackward, Of};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// q\[N,D\], k\[N,D\], optional queue\[K,D\] f32 → loss\[1\], and lse\[N\] for the backward pass. Gradients flow to q and k;
/// the queue is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfoNce {
    /// What cosines are divided by, T.
    pub temperature: f32,
}

impl Default for InfoNce {
    fn default() -> Self {
        Self { temperature: 0.2 }
    }
}

impl Op for InfoNce {
    fn name(&self) -> &'static str {
        "info_nce"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        checks::divisor(self.name(), "temperature", self.temperature)?;
        let [q, k, rest @ ..] = inputs else {
            return Err(Error::op(self.name(), "takes q, k and optionally queue"));
        };
        let [n, d] = q.dims(self.name(), "q")?;
        k.expect(self.name(), "k", q)?;
        match rest {
            [] if n < 2 => {
                let what = format!(
                    "`q` is {q}: a batch of one has no negatives, so give a queue or at least two rows"
                );
                return Err(Error::op(self.name(), what));
            }
            [] => {}
            [queue] => {
                let [columns, _] = queue.dims(self.name(), "queue")?;
                queue.expect(self.name(), "queue", &TensorType::f32([columns, d]))?;
            }
            _ => return Err(Error::op(self.name(), "takes q, k and optionally queue")),
        }
        Ok(vec![TensorType::f32([1]), TensorType::f32([n])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let (n, columns) = (inputs[0].shape[0] as u64, inputs[inputs.len() - 1].shape[0] as u64);
        Cost { flops: n * columns * (2 * inputs[0].shape[1] as u64 + 2), bytes: moved(inputs, outputs) }
    }

    /// Unit rows of each input, then a tile for each block of rows.
    fn scratch(&self, inputs: &[TensorType]) -> usize {
        inputs.iter().map(TensorType::elements).sum::<usize>() + similarities::scratch(inputs[0].shape[0])
    }

    fn cpu(&self, args: &Args) {
        let ([n, d], t) = (args.dims(0), self.temperature);
        let (q, rest) = args.scratch().split_at_mut(n * d);
        let (k, mut rest) = rest.split_at_mut(n * d);
        normalize_rows(args.f32(0), q, d);
        normalize_rows(args.f32(1), k, d);
        let (q, k) = (&*q, &*k);
        let mut columns = k;
        let queue = args.inputs() == 3;
        if queue {
            let (unit, left) = rest.split_at_mut(args.f32(2).len());
            normalize_rows(args.f32(2), unit, d);
            (columns, rest) = (unit, left);
        }
        let lse = args.out(1);
        lse.par_chunks_mut(ROWS).zip(rest.par_chunks_mut(ROWS * COLS)).enumerate().for_each(
            |(block, (lse, tile))| {
                let i0 = block * ROWS;
                let mut running = [LogSum::default(); ROWS];
                for j0 in (0..columns.len() / d).step_by(COLS) {
                    let (tile, width) = similarities(q, columns, d, i0, j0, 1.0 / t, tile);
                    tile.chunks_exact(width).zip(&mut running).for_each(|(row, sum)| sum.add(row));
                }
                for (i, (lse, mut sum)) in lse.iter_mut().zip(running).enumerate() {
                    if queue {
                        sum.add(&[(dot(q, k, d, i0 + i) / f64::from(t)) as f32]);
                    }
                    *lse = sum.log();
                }
            },
        );
        let losses = lse.iter().enumerate().map(|(i, &lse)| f64::from(lse) - dot(q, k, d, i) / f64::from(t));
        args.out(0)[0] = (losses.sum::<f64>() / n as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::forward_workspace(inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(launches::forward(on, self.temperature))
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (d_loss, lse) = (vjp.grad(0)?, vjp.output(1));
        let queue = (vjp.inputs() == 3).then(|| vjp.input(2));
        for (of, own, other) in [(Of::Q, 0, 1), (Of::K, 1, 0)] {
            if vjp.wants(own) {
                let inputs = [d_loss, vjp.input(own), vjp.input(other), lse];
                let inputs: Vec<_> = inputs.into_iter().chain(queue).collect();
                vjp.emit(InfoNceBackward { loss: *self, of }, &inputs, &[own])?;
            }
        }
        Ok(())
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "info_nce",
    summary: "contrastive loss of queries against keys, with or without a queue; normalises inside",
    inputs: &[
        Operand::new("q", "[N,D]"),
        Operand::new("k", "[N,D]"),
        Operand::new("queue", "[K,D]").full().optional().constant(),
    ],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(InfoNce::default()),
    record: |graph, params, t| {
        let op: InfoNce = parse("info_nce", params)?;
        let inputs: Vec<_> = [t.get("q")?, t.get("k")?].into_iter().chain(t.optional("queue")).collect();
        graph.apply(op, &inputs)
    },
    reference: |params, t| {
        let op: InfoNce = parse("info_nce", params).expect("a case's parameters");
        let unit =
            |t: &Tensor64| -> Vec<_> { (0..t.shape[0]).map(|i| normalized(t.row(i), 1e-12)).collect() };
        let (q, k) = (unit(t.at("q")), unit(t.at("k")));
        let queue = t.optional("queue").map(|queue| unit(&queue));
        let s = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / f64::from(op.temperature)
        };
        let losses = q.iter().zip(&k).map(|(q, own)| {
            let others = queue.as_ref().unwrap_or(&k).iter().map(|c| s(q, c).exp()).sum::<f64>();
            let positive = if queue.is_some() { s(q, own).exp() } else { 0.0 };
            (others + positive).ln() - s(q, own)
        });
        vec![Tensor64::scalar(losses.sum::<f64>() / q.len() as f64)]
    },
    kernels: KERNELS,
    cases: || {
        let pair = |name, n: usize, d: usize, t: f32| {
            Case::new(name, json!({"temperature": t})).input("q", [n, d]).input("k", [n, d])
        };
        let queue = |name, n, d, columns: usize, t| pair(name, n, d, t).input("queue", [columns, d]);
        vec![
            pair("two_rows", 2, 3, 0.5),
            queue("queue", 5, 7, 11, 0.2),
            queue("batch_1", 1, 8, 3, 0.2),
            pair("odd", 37, 9, 0.2),
            pair("several_tiles", 131, 12, 0.1),
            queue("several_tiles_of_queue", 70, 20, 300, 0.1),
            queue("two_chunks", 3, 200, 6, 0.5),
            pair("mocov3", 1024, 256, 0.2).bench_only(),
            queue("moco", 256, 128, 65536, 0.07).bench_only(),
        ]
    },
};
