//! relu: y = max(x, 0), elementwise, any shape. NaN stays NaN. The derivative at 0 is 0, as in PyTorch.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, elementwise};
use crate::graph::Vjp;
use crate::kernel;
use crate::simd;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// Elements a task works on.
const CHUNK: usize = 1 << 15;

/// y = max(x, 0).
#[derive(Debug)]
pub struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        match inputs {
            [x] => Ok(vec![x.clone()]),
            _ => Err(Error::op(self.name(), "takes one tensor")),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let x = args.f32(0);
        args.out(0).par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            simd::dispatch(|| {
                for (y, &x) in y.iter_mut().zip(x) {
                    // Not f32::max, which would turn NaN into 0.
                    *y = if x < 0.0 { 0.0 } else { x };
                }
            });
        });
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, y) = (vjp.grad(0)?, vjp.output(0));
        vjp.emit(ReluBackward, &[dy, y], &[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let n = on.ty(0).elements() as u64;
        let entry = on.pick(0, "relu_fwd_f32", "relu_fwd_bf16");
        let forward = Forward { n, x: on.input(0), y: on.output(0) };
        Ok(vec![Launch::new(entry, elementwise(on.ty(0)), 256, forward)])
    }
}

/// dx = dy where y > 0.
#[derive(Debug)]
struct ReluBackward;

impl Op for ReluBackward {
    fn name(&self) -> &'static str {
        "relu/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[0].clone()])
    }

    fn cpu(&self, args: &Args) {
        let (dy, y, accumulate) = (args.f32(0), args.f32(1), args.accumulates(0));
        let inputs = dy.par_chunks(CHUNK).zip(y.par_chunks(CHUNK));
        args.out(0).par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (dy, y))| {
            simd::dispatch(|| {
                for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
                    let own = if y > 0.0 { dy } else { 0.0 };
                    *dx = if accumulate { *dx + own } else { own };
                }
            });
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (n, accumulate) = (on.ty(0).elements() as u64, on.accumulate(0));
        let entry = on.pick(0, "relu_bwd_f32", "relu_bwd_bf16");
        let backward = Backward { n, accumulate, dy: on.input(0), y: on.input(1), dx: on.output(0) };
        Ok(vec![Launch::new(entry, elementwise(on.ty(0)), 256, backward)])
    }
}

kernel!(Forward ["relu_fwd_f32", "relu_fwd_bf16"] { n: u64, x: Address, y: Address });

kernel!(Backward ["relu_bwd_f32", "relu_bwd_bf16"]
    { n: u64, accumulate: u32, dy: Address, y: Address, dx: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "relu",
    summary: "max(x, 0)",
    inputs: &[Operand::new("x", "[…]")],
    outputs: &[Operand::new("y", "[…]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Relu, &[t.get("x")?]),
    reference: |_, t| {
        let x = t.at("x");
        vec![Tensor64::new(x.shape.clone(), x.data.iter().map(|v| v.max(0.0)).collect())]
    },
    kernels: &[Forward::SIGNATURE, Backward::SIGNATURE],
    cases: || {
        vec![
            Case::new("small", json!({})).input("x", [3, 5]),
            Case::new("nhwc", json!({})).input("x", [2, 3, 5, 7]),
            Case::new("large", json!({})).input("x", [256, 28, 28, 16]).bench_only(),
        ]
    },
};
