//! matrix_penalty: loss = w Σ_i f(C\[i,i\]) + v Σ_{i≠j} C\[i,j\]², what Barlow Twins and VICReg ask of a matrix of
//! correlations or covariances.

use super::mse_loss::finalize;
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};

/// f: what an element of the diagonal costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Diagonal {
    /// (1 − c)²: a correlation of one.
    ToOne,
    /// max(0, 1 − √(c + eps)): a standard deviation of at least one.
    Hinge { eps: f32 },
}

/// C\[D,D\] in f32 → loss\[1\].
#[derive(Clone, Copy, Debug)]
pub struct MatrixPenalty {
    pub diagonal: Diagonal,
    /// w.
    pub on_diagonal: f32,
    /// v.
    pub off_diagonal: f32,
}

impl MatrixPenalty {
    fn cost_of(&self, c: f32, diagonal: bool) -> f32 {
        match self.diagonal {
            _ if !diagonal => self.off_diagonal * c * c,
            Diagonal::ToOne => self.on_diagonal * (1.0 - c) * (1.0 - c),
            Diagonal::Hinge { eps } => {
                let short = 1.0 - (c + eps).sqrt();
                // NaN must stay NaN.
                if short < 0.0 { 0.0 } else { self.on_diagonal * short }
            }
        }
    }

    fn slope(&self, c: f32, diagonal: bool) -> f32 {
        match self.diagonal {
            _ if !diagonal => 2.0 * self.off_diagonal * c,
            Diagonal::ToOne => -2.0 * self.on_diagonal * (1.0 - c),
            Diagonal::Hinge { eps } => {
                let std = (c + eps).sqrt();
                if std >= 1.0 { 0.0 } else { -0.5 * self.on_diagonal / std }
            }
        }
    }

    /// What the kernels take: whether the diagonal is a hinge, and its eps.
    fn hinge(&self) -> (u32, f32) {
        match self.diagonal {
            Diagonal::ToOne => (0, 0.0),
            Diagonal::Hinge { eps } => (1, eps),
        }
    }
}

impl Op for MatrixPenalty {
    fn name(&self) -> &'static str {
        "matrix_penalty"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [c] = inputs else {
            return Err(Error::op(self.name(), "takes one matrix"));
        };
        let [d, _] = c.dims(self.name(), "c")?;
        c.expect(self.name(), "c", &TensorType::f32([d, d]))?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 2 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [d, _] = args.dims(0);
        let cost = |(i, &c): (usize, &f32)| f64::from(self.cost_of(c, i % (d + 1) == 0));
        args.out(0)[0] = args.f32(0).iter().enumerate().map(cost).sum::<f64>() as f32;
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        4 * parts(&inputs[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([d, _], (hinge, eps), parts) = (on.dims(0), self.hinge(), parts(on.ty(0)));
        let Self { on_diagonal, off_diagonal, .. } = *self;
        let (c, part) = (on.input(0), on.workspace);
        let forward = Forward { d, hinge, on_diagonal, off_diagonal, eps, c, part };
        let sums = Launch::new("matrix_penalty_fwd_f32", parts, 256, forward);
        Ok(vec![sums, finalize(1, parts, part, on.output(0))])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.grad(0)?, vjp.input(0)];
        vjp.emit(Backward(*self), &inputs, &[0])
    }
}

/// Blocks of the forward pass, which leave a sum each.
fn parts(c: &TensorType) -> usize {
    c.elements().div_ceil(256 * 16).clamp(1, 1024)
}

#[derive(Debug)]
struct Backward(MatrixPenalty);

impl Op for Backward {
    fn name(&self) -> &'static str {
        "matrix_penalty/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([d, _], d_loss, accumulate) = (args.dims(1), args.f32(0)[0], args.accumulates(0));
        for (i, (dc, &c)) in args.out(0).iter_mut().zip(args.f32(1)).enumerate() {
            let g = d_loss * self.0.slope(c, i % (d + 1) == 0);
            *dc = if accumulate { *dc + g } else { g };
        }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([d, _], (hinge, eps), accumulate) = (on.dims(1), self.0.hinge(), on.accumulate(0));
        let MatrixPenalty { on_diagonal, off_diagonal, .. } = self.0;
        let (d_loss, c, dc) = (on.input(0), on.input(1), on.output(0));
        let backward = Slope { d, hinge, accumulate, on_diagonal, off_diagonal, eps, d_loss, c, dc };
        Ok(vec![Launch::new("matrix_penalty_bwd_f32", parts(on.ty(1)), 256, backward)])
    }
}

kernel!(Forward ["matrix_penalty_fwd_f32"] {
    d: u32, hinge: u32, on_diagonal: f32, off_diagonal: f32, eps: f32, c: Address, part: Address,
});

kernel!(Slope ["matrix_penalty_bwd_f32"] {
    d: u32, hinge: u32, accumulate: u32, on_diagonal: f32, off_diagonal: f32, eps: f32, d_loss: Address, c: Address,
    dc: Address,
});

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Slope::SIGNATURE];
