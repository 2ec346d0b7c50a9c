//! l2_normalize: y\[n,:\] = x\[n,:\] / max(‖x\[n,:\]‖, eps), as `torch.nn.functional.normalize`.

use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[N,D\] → y\[N,D\] with rows of length 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct L2Normalize {
    /// Shorter rows are divided by this instead of by their length.
    pub eps: f32,
}

impl Default for L2Normalize {
    fn default() -> Self {
        Self { eps: 1e-12 }
    }
}

/// Length of a row, at least `eps`. Summed in f64: rows may be long, and 1e30² is no f32.
pub fn norm(row: &[f32], eps: f32) -> f32 {
    let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (square.sqrt() as f32).max(eps)
}

/// The gradient through y = x / ‖x‖ of one row: (dy − y ⟨y, dy⟩) / ‖x‖; a row shorter than eps is only scaled.
pub fn norm_backward(x: &[f32], dy: &[f32], eps: f32, mut write: impl FnMut(usize, f32)) {
    let length = norm(x, eps);
    let along = if length > eps {
        let dot: f64 = x.iter().zip(dy).map(|(&x, &g)| f64::from(x) * f64::from(g)).sum();
        (dot / f64::from(length) / f64::from(length)) as f32
    } else {
        0.0
    };
    for (i, (&x, &g)) in x.iter().zip(dy).enumerate() {
        write(i, (g - x * along) / length);
    }
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        x.dims::<2>(self.name(), "x")?;
        checks::not_negative(self.name(), "eps", self.eps)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 3 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [_, d] = args.dims(0);
        args.out(0).par_chunks_mut(d).zip(args.f32(0).par_chunks(d)).for_each(|(y, x)| {
            let scale = 1.0 / norm(x, self.eps);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, d] = on.dims(0);
        let entry = on.pick(0, "l2_normalize_fwd_f32", "l2_normalize_fwd_bf16");
        let forward = Forward { n, d, eps: self.eps, x: on.input(0), y: on.output(0) };
        Ok(vec![Launch::new(entry, n.div_ceil(4) as usize, 128, forward)])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, x) = (vjp.grad(0)?, vjp.input(0));
        vjp.emit(L2NormalizeBackward(*self), &[dy, x], &[0])
    }
}

#[derive(Debug)]
struct L2NormalizeBackward(L2Normalize);

impl Op for L2NormalizeBackward {
    fn name(&self) -> &'static str {
        "l2_normalize/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([_, d], accumulate) = (args.dims(0), args.accumulates(0));
        let inputs = args.f32(0).par_chunks(d).zip(args.f32(1).par_chunks(d));
        args.out(0).par_chunks_mut(d).zip(inputs).for_each(|(dx, (dy, x))| {
            norm_backward(x, dy, self.0.eps, |i, g| dx[i] = if accumulate { dx[i] + g } else { g });
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, d], eps, accumulate) = (on.dims(0), self.0.eps, on.accumulate(0));
        let entry = on.pick(0, "l2_normalize_bwd_f32", "l2_normalize_bwd_bf16");
        let (dy, x, dx) = (on.input(0), on.input(1), on.output(0));
        Ok(vec![Launch::new(
            entry,
            n.div_ceil(4) as usize,
            128,
            Backward { n, d, eps, accumulate, dy, x, dx },
        )])
    }
}

kernel!(Forward ["l2_normalize_fwd_f32", "l2_normalize_fwd_bf16"]
    { n: u32, d: u32, eps: f32, x: Address, y: Address });

kernel!(Backward ["l2_normalize_bwd_f32", "l2_normalize_bwd_bf16"]
    { n: u32, d: u32, eps: f32, accumulate: u32, dy: Address, x: Address, dx: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "l2_normalize",
    summary: "rows divided by their Euclidean length",
    inputs: &[Operand::new("x", "[N,D]")],
    outputs: &[Operand::new("y", "[N,D]")],
    defaults: || json!(L2Normalize::default()),
    record: |graph, params, t| graph.apply(parse::<L2Normalize>("l2_normalize", params)?, &[t.get("x")?]),
    reference: |params, t| {
        let eps = f64::from(parse::<L2Normalize>("l2_normalize", params).expect("a case's parameters").eps);
        let x = t.at("x");
        let rows = (0..x.shape[0]).flat_map(|i| normalized(x.row(i), eps));
        vec![Tensor64::new(x.shape.clone(), rows.collect())]
    },
    kernels: KERNELS,
    cases: || {
        vec![
            Case::new("small", json!({})).input("x", [5, 7]),
            Case::new("wide", json!({})).input("x", [1, 300]),
            Case::new("column", json!({})).input("x", [4, 2]),
            Case::new("projector", json!({})).input("x", [4096, 256]).bench_only(),
        ]
    },
};

/// One row in f64, for the references of the losses that normalise inside.
pub(super) fn normalized(row: &[f64], eps: f64) -> Vec<f64> {
    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(eps);
    row.iter().map(|v| v / length).collect()
}
