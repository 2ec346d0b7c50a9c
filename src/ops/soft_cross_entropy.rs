//! soft_cross_entropy: loss = −(1/N) Σ_n Σ_k targets\[n,k\] · log softmax(logits\[n\] / T)\[k\].
//!
//! The cross entropy of SwAV (Caron et al., NeurIPS 2020, eq. 2), of DINO (Caron et al., ICCV 2021, eq. 2), and of images
//! with several labels, each of weight 1/labels (Mahajan et al., ECCV 2018). Targets are constants and need
//! not sum to 1: rows weigh what their targets sum to.

use super::table::{Case, Fill, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// logits\[N,K\], targets\[N,K\] f32 → loss\[1\]. The gradient flows to the logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftCrossEntropy {
    /// What logits are divided by, T.
    pub temperature: f32,
}

impl Default for SoftCrossEntropy {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

/// Maximum of a row of logits, and Σ exp(logit − maximum). The maximum skips NaN, the sum does not.
pub(super) fn max_sum_exp(logits: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let max = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    (max, logits.map(|z| (z - max).exp()).sum())
}

impl Op for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        checks::divisor(self.name(), "temperature", self.temperature)?;
        let [logits, targets] = inputs else {
            return Err(Error::op(self.name(), "takes logits and targets"));
        };
        let [n, k] = logits.dims(self.name(), "logits")?;
        targets.expect(self.name(), "targets", &TensorType::f32([n, k]))?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 6 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let ([n, k], scale) = (args.dims(0), 1.0 / self.temperature);
        let rows = args.f32(0).par_chunks(k).zip(args.f32(1).par_chunks(k));
        let losses: Vec<f64> = rows
            .map(|(row, targets)| {
                let (max, sum) = max_sum_exp(row.iter().map(|x| scale * x));
                let log_sum = sum.ln();
                // As two terms that are not negative: a log-sum-exp minus a logit would cancel.
                let minus_log = |x: &f32| f64::from((max - scale * x) + log_sum);
                row.iter().zip(targets).map(|(x, &t)| f64::from(t) * minus_log(x)).sum()
            })
            .collect();
        args.out(0)[0] = (losses.iter().sum::<f64>() / n as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        inputs[0].shape[0] * size_of::<f32>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], row_loss) = (on.dims(0), on.workspace);
        let entry = on.pick(0, "soft_cross_entropy_fwd_f32", "soft_cross_entropy_fwd_bf16");
        let scale = 1.0 / self.temperature;
        let forward = Forward { n, k, scale, logits: on.input(0), targets: on.input(1), row_loss };
        let finalize = Finalize { n, row_loss, loss: on.output(0) };
        Ok(vec![
            Launch::new(entry, n as usize, 256, forward),
            Launch::new("soft_cross_entropy_fwd_f32__finalize", 1, 256, finalize),
        ])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        // Targets are constants, wherever they come from.
        if !vjp.wants(0) {
            return Ok(());
        }
        let inputs = [vjp.grad(0)?, vjp.input(0), vjp.input(1)];
        vjp.emit(SoftCrossEntropyBackward(*self), &inputs, &[0])
    }
}

/// dlogits\[n,k\] = (p\[n,k\] Σ_j targets\[n,j\] − targets\[n,k\]) / (N T), p = softmax(logits / T).
#[derive(Debug)]
struct SoftCrossEntropyBackward(SoftCrossEntropy);

impl Op for SoftCrossEntropyBackward {
    fn name(&self) -> &'static str {
        "soft_cross_entropy/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 7 * inputs[1].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let ([n, k], accumulate, scale) = (args.dims(1), args.accumulates(0), 1.0 / self.0.temperature);
        let upstream = args.f32(0)[0] * scale / n as f32;
        let rows = args.f32(1).par_chunks(k).zip(args.f32(2).par_chunks(k));
        args.out(0).par_chunks_mut(k).zip(rows).for_each(|(d, (row, targets))| {
            let (max, sum) = max_sum_exp(row.iter().map(|x| scale * x));
            let weight = targets.iter().sum::<f32>() / sum;
            for ((d, x), t) in d.iter_mut().zip(row).zip(targets) {
                let g = upstream * ((scale * x - max).exp() * weight - t);
                *d = if accumulate { *d + g } else { g };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], accumulate, scale) = (on.dims(1), on.accumulate(0), 1.0 / self.0.temperature);
        let entry = on.pick(1, "soft_cross_entropy_bwd_f32", "soft_cross_entropy_bwd_bf16");
        let (d_loss, logits, targets, d_logits) = (on.input(0), on.input(1), on.input(2), on.output(0));
        let backward = Backward { n, k, scale, accumulate, d_loss, logits, targets, d_logits };
        Ok(vec![Launch::new(entry, n as usize, 256, backward)])
    }
}

kernel!(Forward ["soft_cross_entropy_fwd_f32", "soft_cross_entropy_fwd_bf16"]
    { n: u32, k: u32, scale: f32, logits: Address, targets: Address, row_loss: Address });

kernel!(Finalize ["soft_cross_entropy_fwd_f32__finalize"] { n: u32, row_loss: Address, loss: Address });

kernel!(Backward ["soft_cross_entropy_bwd_f32", "soft_cross_entropy_bwd_bf16"] {
    n: u32, k: u32, scale: f32, accumulate: u32, d_loss: Address, logits: Address, targets: Address,
    d_logits: Address,
});

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Finalize::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "soft_cross_entropy",
    summary: "mean over the rows of −Σ targets · log softmax(logits / temperature)",
    inputs: &[
        Operand::new("logits", "[N,K]"),
        // Codes and probabilities are f32 in every precision.
        Operand::new("targets", "[N,K]").full().constant(),
    ],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(SoftCrossEntropy::default()),
    record: |graph, params, t| {
        let op: SoftCrossEntropy = parse("soft_cross_entropy", params)?;
        graph.apply(op, &[t.get("logits")?, t.get("targets")?])
    },
    reference: |params, t| {
        let op: SoftCrossEntropy = parse("soft_cross_entropy", params).expect("a case's parameters");
        let (logits, targets) = (t.at("logits"), t.at("targets"));
        let n = logits.shape[0];
        let losses = (0..n).map(|i| {
            let z: Vec<f64> = logits.row(i).iter().map(|x| x / f64::from(op.temperature)).collect();
            let lse = z.iter().map(|z| z.exp()).sum::<f64>().ln();
            z.iter().zip(targets.row(i)).map(|(z, t)| t * (lse - z)).sum::<f64>()
        });
        vec![Tensor64::scalar(losses.sum::<f64>() / n as f64)]
    },
    kernels: KERNELS,
    cases: || {
        // Positive numbers that do not sum to 1.
        let case = |name, n: usize, k: usize, t: f32| {
            Case::new(name, json!({"temperature": t})).input("logits", [n, k]).filled(
                "targets",
                TensorType::f32([n, k]),
                Fill::Positive,
            )
        };
        vec![
            case("small", 5, 7, 0.1),
            case("batch_1", 1, 3, 1.0),
            case("packs", 3, 40, 0.5),
            case("beyond_registers", 2, 8 * 1031, 0.7),
            case("beyond_registers_odd", 2, 4099, 0.7),
            case("swav", 256, 3000, 0.1).bench_only(),
        ]
    },
};
