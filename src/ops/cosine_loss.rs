//! cosine_loss: loss = −(1/N) Σ_n ⟨p_n, z_n⟩ / (‖p_n‖ ‖z_n‖). Alone it is the objective with the trivial solution.
//!
//! Chen & He, "Exploring simple Siamese representation learning", CVPR 2021, eq. 1 (there with a stop-gradient on z).

use super::l2_normalize::{norm, normalized};
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::graph::Vjp;
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
            let cos = cosine(a, b) as f32;
            for ((da, a), b) in da.iter_mut().zip(a).zip(b) {
                let g = scale * (b / length_b - cos * a / length_a) / length_a;
                *da = if accumulate { *da + g } else { g };
            }
        });
    }
}

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
    cases: || {
        let case =
            |name, n: usize, d: usize| Case::new(name, json!({})).input("p", [n, d]).input("z", [n, d]);
        vec![case("small", 5, 7), case("batch_1", 1, 33), case("projector", 4096, 256).bench_only()]
    },
};
