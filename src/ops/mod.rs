//! One op, one room: formula, parameters, shape rule, cost, CPU kernel, derivative, cases, reference.
//!
//! [`table::OPS`] lists them; it feeds the tests, the benches, `rusa op list` and the README.

pub mod add;
mod args;
pub mod augment;
pub mod barlow_twins;
pub mod batch_norm;
pub mod cast;
pub mod center;
pub mod checks;
pub mod column_mean;
pub mod concat;
pub mod concat_views;
pub mod conv2d;
mod copy;
pub mod cosine_loss;
pub mod enqueue;
pub mod gather;
pub mod global_avg_pool;
pub mod info_nce;
pub mod inverse_cholesky;
pub mod l2_normalize;
pub mod linear;
pub mod markdown;
pub mod matmul;
pub mod matrix_penalty;
pub mod max_pool;
pub mod memory_bank;
pub mod mse_loss;
pub mod nearest;
pub mod nt_xent;
pub mod patch_norm;
pub mod relu;
pub mod rotate;
pub mod rows;
pub mod run;
mod similarities;
pub mod sinkhorn;
pub mod soft_cross_entropy;
pub mod softmax;
pub mod softmax_cross_entropy;
pub mod table;
pub mod unit_rows;
pub mod vicreg;
pub mod weighted_sum;
pub mod when_finite;
pub mod whiten;
pub mod widen;

pub use args::{Args, Slice};

use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use std::fmt::Debug;

/// One pass of one op, with its parameters.
pub trait Op: Debug + Send + Sync + 'static {
    /// The op and the pass: `conv2d`, `conv2d/bwd_weight`.
    fn name(&self) -> &'static str;

    /// The shape rule: output types from input types. Every invalid shape is an error that says why.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>>;

    /// What one application costs at least: each operand moved once, each multiply-add two FLOPs.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 0, bytes: moved(inputs, outputs) }
    }

    /// Scratch memory the CPU kernel wants, in f32 elements.
    fn scratch(&self, _inputs: &[TensorType]) -> usize {
        0
    }

    /// The CPU kernel. Shapes have passed [`infer`](Self::infer); results must not depend on the thread count.
    fn cpu(&self, args: &Args);

    /// Bytes of workspace the CUDA kernels want.
    fn workspace(&self, _inputs: &[TensorType]) -> usize {
        0
    }

    /// The launches that compute the outputs on a GPU, in order. Shapes have passed [`infer`](Self::infer).
    fn launches(&self, _on: &Operands) -> Result<Vec<Launch>> {
        Err(Error::op(self.name(), "has no CUDA kernel"))
    }

    /// The vector–Jacobian product, in terms of other ops.
    fn vjp(&self, _vjp: &mut Vjp) -> Result<()> {
        Err(Error::op(self.name(), "has no derivative"))
    }
}

/// Floating-point operations and bytes of memory traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    pub flops: u64,
    pub bytes: u64,
}

impl Cost {
    /// The least time in seconds under two ceilings.
    pub fn roofline_seconds(&self, flops_per_second: f64, bytes_per_second: f64) -> f64 {
        (self.flops as f64 / flops_per_second).max(self.bytes as f64 / bytes_per_second)
    }
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

/// Into how many parts to cut a sum over `length`, at least `least` terms each, that `tiles` blocks would otherwise work
/// on: so many that about 256 blocks do, two for each multiprocessor of a large GPU. By shape alone, so that the order of
/// additions, and with it every bit, does not depend on the device.
pub fn splits(tiles: usize, length: usize, least: usize) -> usize {
    256_usize.div_ceil(tiles).min(length.div_ceil(least)).max(1)
}

/// Bytes moved if every operand is touched once.
pub fn moved(inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
    inputs.iter().chain(outputs).map(|t| t.bytes() as u64).sum()
}
