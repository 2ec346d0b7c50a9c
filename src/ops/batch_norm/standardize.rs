//! standardize: y\[n,d\] = (x\[n,d\] − mean\[d\]) / √(var\[d\] + eps) over the batch, var biased, as
//! `BatchNorm1d(affine=False)` in training. batch_norm with γ = 1 and β = 0, which nobody trains.

use super::super::{Args, Cost, Op, moved};
use super::{BatchNorm, backward, cpu, launches};
use crate::device::launch::{Address, Launch, Operands};
use crate::graph::{Vjp, Write};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// x\[N,D\] in f32 → y\[N,D\], mean\[D\], var\[D\].
#[derive(Clone, Copy, Debug)]
pub struct Standardize {
    /// Added to the variance.
    pub eps: f32,
}

impl Standardize {
    fn norm(self) -> BatchNorm {
        BatchNorm { eps: self.eps, relu: false, training: true }
    }
}

/// γ and β in device memory.
fn affine(on: &Operands, d: u32) -> Result<[(Address, TensorType); 2]> {
    let [gamma, beta] = [1.0f32, 0.0].map(|value| vec![value; d as usize]);
    let ty = TensorType::f32([d as usize]);
    let gamma = (on.upload)(bytemuck::cast_slice(&gamma))?;
    Ok([(gamma, ty.clone()), ((on.upload)(bytemuck::cast_slice(&beta))?, ty)])
}

impl Op for Standardize {
    fn name(&self) -> &'static str {
        "standardize"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let [n, d] = x.dims(self.name(), "x")?;
        if n < 2 {
            let what = format!("`x` is {x}: one value per column has no variance; use a larger batch");
            return Err(Error::op(self.name(), what));
        }
        let columns = TensorType::f32([d]);
        x.expect(self.name(), "x", &TensorType::f32([n, d]))?;
        Ok(vec![x.clone(), columns.clone(), columns])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // x is read twice: once for the statistics, once to apply them.
        let bytes = moved(inputs, outputs) + inputs[0].bytes() as u64;
        Cost { flops: 6 * inputs[0].elements() as u64, bytes }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        cpu::forward_scratch(inputs[0].shape[1], inputs[0].elements())
    }

    fn cpu(&self, args: &Args) {
        let ([_, d], x, scratch) = (args.dims(0), args.f32(0), args.scratch());
        let (mean, var) = (args.out(1), args.out(2));
        cpu::statistics(x, d, mean, var, scratch);
        let (gamma, beta) = (vec![1.0; d], vec![0.0; d]);
        cpu::apply(x, [&gamma, &beta, mean, var], None, self.norm(), args.out(0), scratch);
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::statistics_workspace(&inputs[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [_, d] = on.dims(0);
        let [gamma, beta] = affine(on, d)?;
        let inputs = [on.inputs[0].clone(), gamma, beta];
        Ok(launches::forward(&Operands { inputs: &inputs, ..*on }, self.norm(), false))
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let inputs = [vjp.grad(0)?, vjp.input(0), vjp.output(1), vjp.output(2)];
        vjp.emit(Backward(*self), &inputs, &[0])
    }
}

/// dy, x, mean, var → dx.
#[derive(Debug)]
struct Backward(Standardize);

impl Op for Backward {
    fn name(&self) -> &'static str {
        "standardize/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // dy and x are read twice: for the two sums, then for dx.
        let again: u64 = inputs[..2].iter().map(|t| t.bytes() as u64).sum();
        Cost { flops: 10 * inputs[1].elements() as u64, bytes: moved(inputs, outputs) + again }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        backward::scratch(inputs[1].shape[1], inputs[1].elements())
    }

    fn cpu(&self, args: &Args) {
        let [_, d] = args.dims(1);
        let (gamma, beta) = (vec![1.0; d], vec![0.0; d]);
        let saved = backward::Saved {
            dy: args.f32(0),
            x: args.f32(1),
            gamma: &gamma,
            beta: &beta,
            mean: args.f32(2),
            var: args.f32(3),
            y: None,
        };
        let (mut d_gamma, mut d_beta) = (vec![0.0; d], vec![0.0; d]);
        let unused = |values| backward::Target { values, accumulate: false };
        let dx = backward::Target { values: args.out(0), accumulate: args.accumulates(0) };
        let [d_gamma, d_beta] = [&mut d_gamma, &mut d_beta].map(|v| unused(v.as_mut_slice()));
        backward::backward(&saved, self.0.norm(), dx, d_gamma, d_beta, None, args.scratch());
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        2 * columns_bytes(&inputs[1]) + launches::backward_workspace(&inputs[1])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [_, d] = on.dims(1);
        let [gamma, beta] = affine(on, d)?;
        let inputs = [
            on.inputs[0].clone(),
            on.inputs[1].clone(),
            gamma,
            beta.clone(),
            on.inputs[2].clone(),
            on.inputs[3].clone(),
        ];
        // The kernels write γ's and β's gradients, which nobody wants.
        let bytes = columns_bytes(on.ty(1));
        let (d_gamma, d_beta) = (on.workspace, on.workspace.plus(bytes));
        let outputs = [on.outputs[0].clone(), (d_gamma, beta.1.clone()), (d_beta, beta.1)];
        let writes = [on.writes[0], Write::Overwrite, Write::Overwrite];
        let within = Operands {
            inputs: &inputs,
            outputs: &outputs,
            writes: &writes,
            workspace: on.workspace.plus(2 * bytes),
            upload: on.upload,
        };
        Ok(launches::backward(&within, self.0.norm()))
    }
}

fn columns_bytes(x: &TensorType) -> usize {
    (4 * x.shape[1]).next_multiple_of(256)
}
