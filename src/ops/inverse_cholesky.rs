//! inverse_cholesky: W = L⁻¹, where L Lᵀ = A = (1 − eps) C + eps I and L is lower triangular.
//!
//! The gradient, by matrix products only. From A = L Lᵀ: L⁻¹ dA L⁻ᵀ = L⁻¹ dL + (L⁻¹ dL)ᵀ, and L⁻¹ dL is lower triangular,
//! so L⁻¹ dL = Φ(W dA Wᵀ), where Φ keeps what is below the diagonal, half of the diagonal, and nothing above. Hence
//! dW = −W dL W = −Φ(W dA Wᵀ) W. With G the gradient of W, ⟨G, dW⟩ = −⟨Φ(G Wᵀ), W dA Wᵀ⟩ since Φ is its own adjoint, and
//! the gradient of C is −(1 − eps) Wᵀ Φ(G Wᵀ) W. It is that of a function of symmetric matrices and not made symmetric
//! itself: a C made as xᵀ x sends both halves on to x.
//!
//! Where A is not positive definite W holds NaN, which training stops at; `infer` cannot see values.

use super::matmul::MatMul;
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Vjp, Write};
use crate::kernel;
use crate::linalg::Mat;
use crate::tensor::TensorType;
use crate::{Error, Result};

/// C\[D,D\], symmetric, in f32 → W\[D,D\], lower triangular. Only C's lower triangle is read.
#[derive(Clone, Copy, Debug)]
pub struct InverseCholesky {
    /// How far C is moved to the identity, 0 to 1.
    pub eps: f32,
}

impl Op for InverseCholesky {
    fn name(&self) -> &'static str {
        "inverse_cholesky"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [c] = inputs else {
            return Err(Error::op(self.name(), "takes one matrix"));
        };
        let [d, _] = c.dims(self.name(), "c")?;
        c.expect(self.name(), "c", &TensorType::f32([d, d]))?;
        if !(0.0..=1.0).contains(&self.eps) {
            return Err(Error::op(self.name(), format!("eps is {}; it must be from 0 to 1", self.eps)));
        }
        Ok(vec![c.clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let d = inputs[0].shape[0] as u64;
        Cost { flops: 2 * d * d * d / 3, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [d, _] = args.dims(0);
        let wide: Vec<f64> = args.f32(0).iter().map(|&x| f64::from(x)).collect();
        let w = inverse_cholesky64(&wide, d, f64::from(self.eps));
        args.out(0).iter_mut().zip(w).for_each(|(to, w)| *to = w as f32);
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        inputs[0].bytes()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [d, _] = on.dims(0);
        let forward = Forward { d, eps: self.eps, c: on.input(0), l: on.workspace, w: on.output(0) };
        Ok(vec![Launch::new("inverse_cholesky_fwd_f32", 1, 256, forward)])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.grad(0)?, vjp.output(0)];
        vjp.emit(Backward(*self), &inputs, &[0])
    }
}

/// L⁻¹ of (1 − eps) c + eps I in f64; NaN where that is not positive definite.
pub(super) fn inverse_cholesky64(c: &[f64], d: usize, eps: f64) -> Vec<f64> {
    let (mut l, mut w) = (vec![0.0; d * d], vec![0.0; d * d]);
    for i in 0..d {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
            let a = (1.0 - eps) * c[i * d + j] + if i == j { eps } else { 0.0 };
            // The root of what is negative is NaN, and 0/0 too.
            l[i * d + j] = if i == j { (a - known).sqrt() } else { (a - known) / l[j * d + j] };
        }
    }
    for j in 0..d {
        for i in j..d {
            let known: f64 = (j..i).map(|k| l[i * d + k] * w[k * d + j]).sum();
            w[i * d + j] = (f64::from(u8::from(i == j)) - known) / l[i * d + i];
        }
    }
    w
}

/// G, W → −(1 − eps) Wᵀ Φ(G Wᵀ) W.
#[derive(Debug)]
struct Backward(InverseCholesky);

impl Backward {
    fn last(&self) -> MatMul {
        MatMul::tn(self.0.eps - 1.0)
    }
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "inverse_cholesky/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let d = inputs[0].shape[0] as u64;
        Cost { flops: 6 * d * d * d, bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        2 * inputs[0].elements()
    }

    fn cpu(&self, args: &Args) {
        let [d, _] = args.dims(0);
        let (g, w) = (Mat::new(args.f32(0), d, d), Mat::new(args.f32(1), d, d));
        let (p, t) = args.scratch()[..2 * d * d].split_at_mut(d * d);
        MatMul::nt(1.0).multiply(g, w, p, false);
        for (i, row) in p.chunks_exact_mut(d).enumerate() {
            row[i] *= 0.5;
            row[i + 1..].fill(0.0);
        }
        MatMul::nn(1.0).multiply(Mat::new(p, d, d), w, t, false);
        self.last().multiply(w, Mat::new(t, d, d), args.out(0), args.accumulates(0));
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        2 * matrix_bytes(&inputs[0]) + self.last().product_workspace(inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [d, _] = on.dims(0);
        let (ty, bytes) = (on.ty(0).clone(), matrix_bytes(on.ty(0)));
        let (p, t, workspace) = (on.workspace, on.workspace.plus(bytes), on.workspace.plus(2 * bytes));
        let product = |of: MatMul, inputs: [Address; 2], output: Address, write: Write| {
            of.product(&Operands {
                inputs: &inputs.map(|at| (at, ty.clone())),
                outputs: &[(output, ty.clone())],
                writes: &[write],
                workspace,
                upload: on.upload,
            })
        };
        let (g, w) = (on.input(0), on.input(1));
        let mut launches = product(MatMul::nt(1.0), [g, w], p, Write::Overwrite);
        let blocks = (d as usize * d as usize).div_ceil(256).min(65535);
        launches.push(Launch::new("inverse_cholesky_bwd_f32__mask", blocks, 256, Mask { d, p }));
        launches.extend(product(MatMul::nn(1.0), [p, w], t, Write::Overwrite));
        launches.extend(product(self.last(), [w, t], on.output(0), on.writes[0]));
        Ok(launches)
    }
}

fn matrix_bytes(c: &TensorType) -> usize {
    c.bytes().next_multiple_of(256)
}

kernel!(Forward ["inverse_cholesky_fwd_f32"] { d: u32, eps: f32, c: Address, l: Address, w: Address });

kernel!(Mask ["inverse_cholesky_bwd_f32__mask"] { d: u32, p: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Mask::SIGNATURE];
