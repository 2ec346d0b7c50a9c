//! widen: y = x, bf16 as f32: for losses that are worked out in f32 whatever activations are stored in.

use super::{Args, Op};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Graph, TensorId, Vjp};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// An activation as f32, for what is to be worked out in f32 throughout: itself where it is.
pub fn widened(graph: &mut Graph, x: TensorId) -> Result<TensorId> {
    if graph.ty(x).dtype == DType::F32 { Ok(x) } else { graph.apply1(Widen, &[x]) }
}

/// bf16 → f32, exactly. Its gradient is rounded to bf16.
#[derive(Debug)]
struct Widen;

impl Op for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        x.expect(self.name(), "x", &x.with(DType::Bf16))?;
        Ok(vec![x.with(DType::F32)])
    }

    fn cpu(&self, _: &Args) {
        unreachable!("the CPU engine has no bf16 activations")
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let n = on.ty(0).elements() as u64;
        Ok(vec![Launch::new(
            "widen_fwd_bf16",
            blocks(n),
            256,
            ToF32 { n, from: on.input(0), to: on.output(0) },
        )])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        vjp.emit(Round, &[dy], &[0])
    }
}

/// f32 → bf16.
#[derive(Debug)]
struct Round;

impl Op for Round {
    fn name(&self) -> &'static str {
        "widen/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[0].with(DType::Bf16)])
    }

    fn cpu(&self, _: &Args) {
        unreachable!("the CPU engine has no bf16 activations")
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(vec![round(on.ty(0), on.input(0), on.output(0), on.accumulate(0))])
    }
}

/// The launch that writes f32 as bf16, or adds it.
pub(super) fn round(ty: &TensorType, from: Address, to: Address, accumulate: u32) -> Launch {
    let n = ty.elements() as u64;
    Launch::new("widen_bwd_bf16", blocks(n), 256, ToBf16 { n, accumulate, from, to })
}

fn blocks(n: u64) -> usize {
    n.div_ceil(256 * 4).clamp(1, 65535) as usize
}

kernel!(ToF32 ["widen_fwd_bf16"] { n: u64, from: Address, to: Address });
kernel!(ToBf16 ["widen_bwd_bf16"] { n: u64, accumulate: u32, from: Address, to: Address });

pub const KERNELS: &[Signature] = &[ToF32::SIGNATURE, ToBf16::SIGNATURE];
