//! softmax_cross_entropy: loss = (1/N) Σ_n (log Σ_c exp(logits\[n,c\]) − logits\[n, labels\[n\]\]).
//!
//! The row maximum is subtracted first, so no finite logits overflow. A label outside 0..C gives NaN, which training
//! stops at; `infer` cannot see values. `rusa op run` can, and refuses it.

use super::table::{Case, Fill, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// logits\[N,C\], labels\[N\] → loss\[1\].
#[derive(Debug)]
pub struct SoftmaxCrossEntropy;

/// log Σ exp of a row.
pub fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + row.iter().map(|v| (v - max).exp()).sum::<f32>().ln()
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [logits, labels] = inputs else {
            return Err(Error::op(self.name(), "takes logits and labels"));
        };
        let [n, _] = logits.dims(self.name(), "logits")?;
        labels.expect(self.name(), "labels", &TensorType::new([n], DType::I64))?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 4 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [n, c] = args.dims(0);
        let rows = args.f32(0).chunks_exact(c).zip(args.i64(1));
        let sum: f64 = rows
            .map(|(row, &label)| {
                let own = usize::try_from(label).ok().and_then(|l| row.get(l)).copied().unwrap_or(f32::NAN);
                f64::from(log_sum_exp(row) - own)
            })
            .sum();
        args.out(0)[0] = (sum / n as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        inputs[0].shape[0] * size_of::<f32>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, c], row_loss) = (on.dims(0), on.workspace);
        let entry = on.pick(0, "softmax_cross_entropy_fwd_f32", "softmax_cross_entropy_fwd_bf16");
        let forward = Forward { n, c, logits: on.input(0), labels: on.input(1), row_loss };
        Ok(vec![Launch::new(entry, n as usize, 128, forward), mean(n, row_loss, on.output(0))])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.grad(0)?, vjp.input(0), vjp.input(1)];
        vjp.emit(SoftmaxCrossEntropyBackward, &inputs, &[0])
    }
}

/// dlogits = (softmax(logits) − onehot(labels)) / N.
#[derive(Debug)]
struct SoftmaxCrossEntropyBackward;

impl Op for SoftmaxCrossEntropyBackward {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([n, c], accumulate) = (args.dims(1), args.accumulates(0));
        let scale = args.f32(0)[0] / n as f32;
        let rows = args.f32(1).par_chunks(c).zip(args.i64(2));
        args.out(0).par_chunks_mut(c).zip(rows).for_each(|(d, (row, &label))| {
            let lse = log_sum_exp(row);
            for (i, (d, v)) in d.iter_mut().zip(row).enumerate() {
                let g = scale * ((v - lse).exp() - f32::from(i as i64 == label));
                *d = if accumulate { *d + g } else { g };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, c], accumulate) = (on.dims(1), on.accumulate(0));
        let entry = on.pick(1, "softmax_cross_entropy_bwd_f32", "softmax_cross_entropy_bwd_bf16");
        let (d_loss, logits, labels, d_logits) = (on.input(0), on.input(1), on.input(2), on.output(0));
        let backward = Backward { n, c, accumulate, d_loss, logits, labels, d_logits };
        Ok(vec![Launch::new(entry, n as usize, 128, backward)])
    }
}

kernel!(Forward [
    "softmax_cross_entropy_fwd_f32", "softmax_cross_entropy_fwd_bf16", "softmax_cross_entropy_fwd_f32__direct",
    "softmax_cross_entropy_fwd_bf16__direct",
] { n: u32, c: u32, logits: Address, labels: Address, row_loss: Address });

kernel!(Finalize ["softmax_cross_entropy_fwd_f32__finalize"] { n: u32, row_loss: Address, loss: Address });

kernel!(Backward ["softmax_cross_entropy_bwd_f32", "softmax_cross_entropy_bwd_bf16"] {
    n: u32, c: u32, accumulate: u32, d_loss: Address, logits: Address, labels: Address, d_logits: Address,
});

/// Puts the mean of `n` rows' losses into `loss`.
pub(super) fn mean(n: u32, row_loss: Address, loss: Address) -> Launch {
    Launch::new("softmax_cross_entropy_fwd_f32__finalize", 1, 256, Finalize { n, row_loss, loss })
}

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Finalize::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "softmax_cross_entropy",
    summary: "mean of −log softmax(logits)[label]",
    inputs: &[
        Operand::new("logits", "[N,C]"),
        Operand::new("labels", "[N]").of(DType::I64).index_of("logits", 1),
    ],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(SoftmaxCrossEntropy, &[t.get("logits")?, t.get("labels")?]),
    reference: |_, t| {
        let (logits, labels) = (t.at("logits"), t.at("labels"));
        let n = logits.shape[0];
        let losses = (0..n).map(|i| {
            let row = logits.row(i);
            row.iter().map(|v| v.exp()).sum::<f64>().ln() - row[labels.data[i] as usize]
        });
        vec![Tensor64::scalar(losses.sum::<f64>() / n as f64)]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, c: usize| {
            Case::new(name, json!({})).input("logits", [n, c]).filled(
                "labels",
                TensorType::new([n], DType::I64),
                Fill::Labels(c as u32),
            )
        };
        vec![case("small", 5, 7), case("batch_1", 1, 3), case("imagenet", 256, 1000).bench_only()]
    },
};
