//! linear: y\[n,k\] = Σ_d x\[n,d\] w\[k,d\] + b\[k\]; x\[N,D\], w\[K,D\], b\[K\] optional. Three matrix products in all.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::graph::{Graph, TensorId, Vjp};
use crate::linalg::{Mat, gemm};
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde_json::json;

/// The passes of the op.
#[derive(Clone, Copy, Debug)]
enum Linear {
    /// x, w, \[b\] → y
    Forward,
    /// dy, w → dx
    BackwardInput,
    /// dy, x → dw
    BackwardWeight,
    /// dy → db
    BackwardBias,
}

/// Records y = x wᵀ + b.
pub fn linear(graph: &mut Graph, x: TensorId, w: TensorId, b: Option<TensorId>) -> Result<TensorId> {
    let inputs: Vec<_> = [x, w].into_iter().chain(b).collect();
    graph.apply1(Linear::Forward, &inputs)
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        match self {
            Self::Forward => "linear",
            Self::BackwardInput => "linear/bwd_input",
            Self::BackwardWeight => "linear/bwd_weight",
            Self::BackwardBias => "linear/bwd_bias",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        match (self, inputs) {
            (Self::Forward, [x, w, rest @ ..]) => {
                let [n, d] = x.dims(name, "x")?;
                let [k, d_w] = w.dims(name, "w")?;
                if d != d_w {
                    return Err(Error::op(name, format!("x is {x}, so w must be [K,{d}], but is {w}")));
                }
                match rest {
                    [] => {}
                    [b] => b.expect(name, "b", &TensorType::f32([k]))?,
                    _ => return Err(Error::op(name, "takes x, w and optionally b")),
                }
                Ok(vec![TensorType::f32([n, k])])
            }
            (Self::BackwardInput, [dy, w]) => Ok(vec![TensorType::f32([dy.shape[0], w.shape[1]])]),
            (Self::BackwardWeight, [dy, x]) => Ok(vec![TensorType::f32([dy.shape[1], x.shape[1]])]),
            (Self::BackwardBias, [dy]) => Ok(vec![TensorType::f32([dy.shape[1]])]),
            _ => Err(Error::op(name, "takes x, w and optionally b")),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n = inputs[0].shape[0];
        let flops = match self {
            Self::Forward => 2 * n * inputs[1].elements(),
            Self::BackwardInput => 2 * n * inputs[1].elements(),
            Self::BackwardWeight => 2 * n * outputs[0].elements(),
            Self::BackwardBias => inputs[0].elements(),
        };
        Cost { flops: flops as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let accumulate = args.accumulates(0);
        let out = args.out(0);
        let matrix = |i| {
            let [rows, cols] = args.dims(i);
            Mat::new(args.f32(i), rows, cols)
        };
        match self {
            Self::Forward => {
                let (x, w) = (matrix(0), matrix(1));
                let k = w.rows;
                if args.inputs() == 3 {
                    out.chunks_exact_mut(k).for_each(|row| row.copy_from_slice(args.f32(2)));
                }
                gemm(out, k, x, w.t(), 1.0, args.inputs() == 3, true);
            }
            Self::BackwardInput => {
                let (dy, w) = (matrix(0), matrix(1));
                gemm(out, w.cols, dy, w, 1.0, accumulate, true);
            }
            Self::BackwardWeight => {
                let (dy, x) = (matrix(0), matrix(1));
                gemm(out, x.cols, dy.t(), x, 1.0, accumulate, true);
            }
            Self::BackwardBias => {
                let dy = matrix(0);
                if !accumulate {
                    out.fill(0.0);
                }
                for row in dy.data.chunks_exact(dy.cols) {
                    out.iter_mut().zip(row).for_each(|(db, dy)| *db += dy);
                }
            }
        }
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        let (x, w) = (vjp.input(0), vjp.input(1));
        if vjp.wants(0) {
            vjp.emit(Self::BackwardInput, &[dy, w], &[0])?;
        }
        if vjp.wants(1) {
            vjp.emit(Self::BackwardWeight, &[dy, x], &[1])?;
        }
        if vjp.inputs() == 3 && vjp.wants(2) {
            vjp.emit(Self::BackwardBias, &[dy], &[2])?;
        }
        Ok(())
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "linear",
    summary: "x wᵀ + b",
    inputs: &[Operand::new("x", "[N,D]"), Operand::new("w", "[K,D]"), Operand::new("b", "[K]").optional()],
    outputs: &[Operand::new("y", "[N,K]")],
    defaults: || json!({}),
    record: |graph, _, t| Ok(vec![linear(graph, t.get("x")?, t.get("w")?, t.optional("b"))?]),
    reference: |_, t| {
        let (x, w) = (t.at("x"), t.at("w"));
        let (n, k) = (x.shape[0], w.shape[0]);
        let mut y = Tensor64::zeros([n, k]);
        for i in 0..n {
            for j in 0..k {
                let bias = t.optional("b").map_or(0.0, |b| b.data[j]);
                y.data[i * k + j] = bias + x.row(i).iter().zip(w.row(j)).map(|(a, b)| a * b).sum::<f64>();
            }
        }
        vec![y]
    },
    cases: || {
        let case = |name, n: usize, d: usize, k: usize| {
            Case::new(name, json!({})).input("x", [n, d]).input("w", [k, d]).input("b", [k])
        };
        vec![
            case("small", 3, 5, 7),
            case("batch_1", 1, 17, 33),
            Case::new("no_bias", json!({})).input("x", [9, 6]).input("w", [4, 6]),
            case("projector", 512, 512, 512).bench_only(),
        ]
    },
};
