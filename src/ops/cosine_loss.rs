//! cosine_loss: loss = −(1/N) Σ_n ⟨p_n, z_n⟩ / (‖p_n‖ ‖z_n‖). Alone it is the objective with the trivial solution.
//!
//! Chen & He, "Exploring simple Siamese representation learning", CVPR 2021, eq. 1 (there with a stop-gradient on z).

use super::l2_normalize::{norm, normalized};
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// Rows shorter than this count as this long.
const EPS: f32 = 1e-12;

/// p\[N,D\], z\[N,D\] → loss\[1\].
#[derive(Debug)]
pub struct CosineLoss;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn cosine(p: &[f32], z: &[f32]) -> f64 {
    dot(p, z) / (f64::from(norm(p, EPS)) * f64::from(norm(z, EPS)))
}

impl Op for CosineLoss {
    fn name(&self) -> &'static str {
        "cosine_loss"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [p, z] = inputs else {
            return Err(Error::op(self.name(), "takes p and z"));
        };
        p.dims::<2>(self.name(), "p")?;
        z.expect(self.name(), "z", p)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 6 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [n, d] = args.dims(0);
        let rows = args.f32(0).chunks_exact(d).zip(args.f32(1).chunks_exact(d));
        let sum: f64 = rows.map(|(p, z)| cosine(p, z)).sum();
        args.out(0)[0] = (-sum / n as f64) as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        inputs[0].shape[0] * size_of::<f32>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, d], cosine) = (on.dims(0), on.workspace);
        let entry = on.pick(0, "cosine_loss_fwd_f32", "cosine_loss_fwd_bf16");
        let forward = Forward { n, d, p: on.input(0), z: on.input(1), cosine };
        let finalize = Finalize { n, cosine, loss: on.output(0) };
        Ok(vec![
            Launch::new(entry, n.div_ceil(4) as usize, 128, forward),
            Launch::new("cosine_loss_fwd_f32__finalize", 1, 256, finalize),
        ])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.input(0), vjp.input(1)];
        let upstream = vjp.grad(0)?;
        for (own, other) in [(0, 1), (1, 0)] {
            if vjp.wants(own) {
                vjp.emit(CosineLossBackward, &[upstream, inputs[own], inputs[other]], &[own])?;
            }
        }
        Ok(())
    }
}

/// With cos = ⟨a, b⟩/(‖a‖‖b‖): ∂(−cos)/∂a = −(b/‖b‖ − cos · a/‖a‖) / ‖a‖. Symmetric, so it serves p and z.
#[derive(Debug)]
struct CosineLossBackward;

impl Op for CosineLossBackward {
    fn name(&self) -> &'static str {
        "cosine_loss/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([n, d], accumulate) = (args.dims(1), args.accumulates(0));
        let scale = -args.f32(0)[0] / n as f32;
        let rows = args.f32(1).par_chunks(d).zip(args.f32(2).par_chunks(d));
        args.out(0).par_chunks_mut(d).zip(rows).for_each(|(da, (a, b))| {
            let (length_a, length_b) = (norm(a, EPS), norm(b, EPS));
            // Where the length is EPS, it is a constant.
            let cos = if length_a > EPS { cosine(a, b) as f32 } else { 0.0 };
            for ((da, a), b) in da.iter_mut().zip(a).zip(b) {
                let g = scale * (b / length_b - cos * a / length_a) / length_a;
                *da = if accumulate { *da + g } else { g };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, d], accumulate) = (on.dims(1), on.accumulate(0));
        let entry = on.pick(1, "cosine_loss_bwd_f32", "cosine_loss_bwd_bf16");
        let (d_loss, a, b, da) = (on.input(0), on.input(1), on.input(2), on.output(0));
        let backward = Backward { n, d, accumulate, d_loss, a, b, da };
        Ok(vec![Launch::new(entry, n.div_ceil(4) as usize, 128, backward)])
    }
}

kernel!(Forward ["cosine_loss_fwd_f32", "cosine_loss_fwd_bf16"]
    { n: u32, d: u32, p: Address, z: Address, cosine: Address });

kernel!(Finalize ["cosine_loss_fwd_f32__finalize"] { n: u32, cosine: Address, loss: Address });

kernel!(Backward ["cosine_loss_bwd_f32", "cosine_loss_bwd_bf16"]
    { n: u32, d: u32, accumulate: u32, d_loss: Address, a: Address, b: Address, da: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Finalize::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "cosine_loss",
    summary: "mean of −cos(p, z) over the rows",
    inputs: &[Operand::new("p", "[N,D]"), Operand::new("z", "[N,D]")],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(CosineLoss, &[t.get("p")?, t.get("z")?]),
    reference: |_, t| {
        let (p, z) = (t.at("p"), t.at("z"));
        let n = p.shape[0];
        let cosines = (0..n).map(|i| {
            let (p, z) = (normalized(p.row(i), 1e-12), normalized(z.row(i), 1e-12));
            p.iter().zip(&z).map(|(a, b)| a * b).sum::<f64>()
        });
        vec![Tensor64::scalar(-cosines.sum::<f64>() / n as f64)]
    },
    kernels: KERNELS,
    cases: || {
        let case =
            |name, n: usize, d: usize| Case::new(name, json!({})).input("p", [n, d]).input("z", [n, d]);
        vec![case("small", 5, 7), case("batch_1", 1, 33), case("projector", 4096, 256).bench_only()]
    },
};
