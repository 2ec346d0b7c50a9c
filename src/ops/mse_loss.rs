//! mse_loss: loss = (1/(N D)) Σ_{n,d} (a\[n,d\] − b\[n,d\])², as `torch.nn.functional.mse_loss`.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// Elements a task works on.
const CHUNK: usize = 1 << 15;

/// a\[N,D\], b\[N,D\] → loss\[1\].
#[derive(Debug)]
pub struct MseLoss;

impl Op for MseLoss {
    fn name(&self) -> &'static str {
        "mse_loss"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = inputs else {
            return Err(Error::op(self.name(), "takes a and b"));
        };
        a.dims::<2>(self.name(), "a")?;
        b.expect(self.name(), "b", a)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 3 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let (a, b) = (args.f32(0), args.f32(1));
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        let sum: f64 = a.iter().zip(b).map(square).sum();
        args.out(0)[0] = (sum / a.len() as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        4 * parts(&inputs[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (n, parts) = (on.ty(0).elements() as u64, parts(on.ty(0)));
        let entry = on.pick(0, "mse_loss_fwd_f32", "mse_loss_fwd_bf16");
        let forward = Forward { n, a: on.input(0), b: on.input(1), part: on.workspace };
        Ok(vec![Launch::new(entry, parts, 256, forward), finalize(n, parts, on.workspace, on.output(0))])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (d_loss, inputs) = (vjp.grad(0)?, [vjp.input(0), vjp.input(1)]);
        for (own, other) in [(0, 1), (1, 0)] {
            if vjp.wants(own) {
                vjp.emit(MseLossBackward, &[d_loss, inputs[own], inputs[other]], &[own])?;
            }
        }
        Ok(())
    }
}

/// loss = Σ part / n.
pub(super) fn finalize(n: u64, parts: usize, part: Address, loss: Address) -> Launch {
    Launch::new("mse_loss_fwd_f32__finalize", 1, 256, Finalize { n, parts: parts as u32, part, loss })
}

/// Blocks of the forward pass, which leave a sum each.
fn parts(a: &TensorType) -> usize {
    a.elements().div_ceil(256 * 64).clamp(1, 1024)
}

/// da = d_loss · 2 (a − b) / (N D). Symmetric, so it serves a and b.
#[derive(Debug)]
struct MseLossBackward;

impl Op for MseLossBackward {
    fn name(&self) -> &'static str {
        "mse_loss/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let (a, accumulate) = (args.f32(1), args.accumulates(0));
        let scale = 2.0 * args.f32(0)[0] / a.len() as f32;
        let inputs = a.par_chunks(CHUNK).zip(args.f32(2).par_chunks(CHUNK));
        args.out(0).par_chunks_mut(CHUNK).zip(inputs).for_each(|(da, (a, b))| {
            for ((da, a), b) in da.iter_mut().zip(a).zip(b) {
                let g = scale * (a - b);
                *da = if accumulate { *da + g } else { g };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (n, accumulate) = (on.ty(1).elements() as u64, on.accumulate(0));
        let entry = on.pick(1, "mse_loss_bwd_f32", "mse_loss_bwd_bf16");
        let (d_loss, a, b, da) = (on.input(0), on.input(1), on.input(2), on.output(0));
        let blocks = crate::device::launch::elementwise(on.ty(1));
        Ok(vec![Launch::new(entry, blocks, 256, Backward { n, accumulate, d_loss, a, b, da })])
    }
}

kernel!(Forward ["mse_loss_fwd_f32", "mse_loss_fwd_bf16"] { n: u64, a: Address, b: Address, part: Address });

kernel!(Finalize ["mse_loss_fwd_f32__finalize"] { n: u64, parts: u32, part: Address, loss: Address });

kernel!(Backward ["mse_loss_bwd_f32", "mse_loss_bwd_bf16"]
    { n: u64, accumulate: u32, d_loss: Address, a: Address, b: Address, da: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Finalize::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "mse_loss",
    summary: "mean of (a − b)² over all elements",
    inputs: &[Operand::new("a", "[N,D]"), Operand::new("b", "[N,D]")],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(MseLoss, &[t.get("a")?, t.get("b")?]),
    reference: |_, t| {
        let (a, b) = (t.at("a"), t.at("b"));
        let sum: f64 = a.data.iter().zip(&b.data).map(|(a, b)| (a - b) * (a - b)).sum();
        vec![Tensor64::scalar(sum / a.data.len() as f64)]
    },
    kernels: KERNELS,
    cases: || {
        let case =
            |name, n: usize, d: usize| Case::new(name, json!({})).input("a", [n, d]).input("b", [n, d]);
        vec![
            case("small", 5, 7),
            case("batch_1", 1, 33),
            case("in_parts", 130, 129),
            case("projector", 4096, 256).bench_only(),
        ]
    },
};
