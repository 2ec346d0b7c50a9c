//! add: y = a + b, elementwise, equal shapes. Also holds its derivative, a copy.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, elementwise};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// Elements a task works on.
const CHUNK: usize = 1 << 15;

/// y = a + b.
#[derive(Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = inputs else {
            return Err(Error::op(self.name(), "takes two tensors"));
        };
        b.expect(self.name(), "b", a)?;
        Ok(vec![a.clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: outputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let inputs = args.f32(0).par_chunks(CHUNK).zip(args.f32(1).par_chunks(CHUNK));
        args.out(0).par_chunks_mut(CHUNK).zip(inputs).for_each(|(y, (a, b))| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        });
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        for input in [0, 1] {
            if vjp.wants(input) {
                vjp.emit(Copy, &[dy], &[input])?;
            }
        }
        Ok(())
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let n = on.ty(0).elements() as u64;
        let entry = on.pick(0, "add_fwd_f32", "add_fwd_bf16");
        let forward = Forward { n, a: on.input(0), b: on.input(1), y: on.output(0) };
        Ok(vec![Launch::new(entry, elementwise(on.ty(0)), 256, forward)])
    }
}

/// y = x, or y += x. A gradient that flows on unchanged is copied, since whoever comes next may add to it.
#[derive(Debug)]
struct Copy;

impl Op for Copy {
    fn name(&self) -> &'static str {
        "add/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn cpu(&self, args: &Args) {
        let (x, accumulate) = (args.f32(0), args.accumulates(0));
        args.out(0).par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            if accumulate {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            } else {
                y.copy_from_slice(x);
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (n, accumulate) = (on.ty(0).elements() as u64, on.accumulate(0));
        let entry = on.pick(0, "add_bwd_f32", "add_bwd_bf16");
        let backward = Backward { n, accumulate, dy: on.input(0), dx: on.output(0) };
        Ok(vec![Launch::new(entry, elementwise(on.ty(0)), 256, backward)])
    }
}

kernel!(Forward ["add_fwd_f32", "add_fwd_bf16"] { n: u64, a: Address, b: Address, y: Address });

kernel!(Backward ["add_bwd_f32", "add_bwd_bf16"] { n: u64, accumulate: u32, dy: Address, dx: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "add",
    summary: "a + b, elementwise",
    inputs: &[Operand::new("a", "[…]"), Operand::new("b", "[…]")],
    outputs: &[Operand::new("y", "[…]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Add, &[t.get("a")?, t.get("b")?]),
    reference: |_, t| {
        let (a, b) = (t.at("a"), t.at("b"));
        vec![Tensor64::new(a.shape.clone(), a.data.iter().zip(&b.data).map(|(a, b)| a + b).collect())]
    },
    kernels: &[Forward::SIGNATURE, Backward::SIGNATURE],
    cases: || vec![Case::new("small", json!({})).input("a", [3, 5, 7]).input("b", [3, 5, 7])],
};
