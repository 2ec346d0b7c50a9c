//! cast: f32 → bf16, many tensors at once: the weights' copies that activations meet. Rounds to nearest even.

use super::{Args, Cost, Op, moved};
use crate::Result;
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Graph, Precision, TensorId};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use bytemuck::{Pod, Zeroable};
use half::bf16;
use rayon::prelude::*;

/// Elements of a tensor that a block copies.
const CHUNK: usize = 16384;

/// A row of the kernel's table.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Chunk {
    from: u64,
    to: u64,
    count: u32,
    pad: u32,
}

kernel!(Multi ["cast_bf16_f32__multi"] { table: Address });

pub const KERNELS: &[Signature] = &[Multi::SIGNATURE];

/// Copies each input into the output of the same number.
#[derive(Debug)]
pub struct Cast;

/// An f32 tensor, which no gradient flows into, as activations of the graph's precision.
pub fn activation(graph: &mut Graph, x: TensorId) -> Result<TensorId> {
    match graph.precision() {
        Precision::F32 => Ok(x),
        Precision::Bf16 => graph.apply1(Cast, &[x]),
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(inputs.iter().map(|x| x.with(DType::Bf16)).collect())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 0, bytes: moved(inputs, outputs) }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let mut rows = Vec::new();
        for ((from, ty), (to, _)) in on.inputs.iter().zip(on.outputs) {
            rows.extend((0..ty.elements()).step_by(CHUNK).map(|at| Chunk {
                from: from.plus(at * size_of::<f32>()).0,
                to: to.plus(at * size_of::<bf16>()).0,
                count: CHUNK.min(ty.elements() - at) as u32,
                pad: 0,
            }));
        }
        let table = (on.upload)(bytemuck::cast_slice(&rows))?;
        Ok(vec![Launch::new("cast_bf16_f32__multi", rows.len(), 256, Multi { table })])
    }

    fn cpu(&self, args: &Args) {
        let pairs: Vec<_> = args.all_outputs::<bf16>().enumerate().map(|(i, y)| (y, args.f32(i))).collect();
        pairs.into_par_iter().for_each(|(y, x)| {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = bf16::from_f32(x));
        });
    }
}
