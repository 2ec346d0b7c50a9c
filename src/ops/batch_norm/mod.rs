//! batch_norm: y = γ (x − mean) / √(var + eps) + β \[+ residual\] \[then ReLU\], statistics over N, H, W per channel.
//!
//! Ioffe & Szegedy, ICML 2015. x\[…,C\] may have any number of axes before the channels. `var` is the biased batch
//! variance, as the forward pass uses it; running statistics take the unbiased one, as PyTorch's do. The normalised
//! activations are never stored: the backward pass makes them again from x and the statistics.

mod backward;
mod cpu;
mod launches;
mod reference;
pub mod standardize;
#[cfg(test)]
mod tests;

use super::table::{Case, Fill, OpSpec, Operand, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Launch, Operands as Places};
use crate::graph::{Graph, TensorId, Vjp};
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Parameters of the op.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Whether the statistics are the batch's (and given out) or running ones (and taken in).
    pub training: bool,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { eps: 1e-5, relu: false, training: true }
    }
}

/// The tensors the op works on. Running statistics are read in evaluation only.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub x: TensorId,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub residual: Option<TensorId>,
    /// Mean and variance.
    pub running: Option<[TensorId; 2]>,
}

impl BatchNorm {
    /// Records the op. Outputs: y, and in training mean and var.
    pub fn record(self, graph: &mut Graph, t: Operands) -> Result<Vec<TensorId>> {
        let mut inputs = vec![t.x, t.gamma, t.beta];
        inputs.extend(t.residual);
        if !self.training {
            let running = t.running.ok_or_else(|| {
                Error::op("batch_norm", "evaluation needs `running_mean` and `running_var`")
            })?;
            inputs.extend(running);
        }
        graph.apply(Forward { bn: self, residual: t.residual.is_some() }, &inputs)
    }
}

#[derive(Debug)]
struct Forward {
    bn: BatchNorm,
    residual: bool,
}

impl Op for Forward {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        checks::not_negative(name, "eps", self.bn.eps)?;
        let x = &inputs[0];
        let Some(&c) = x.shape.last().filter(|_| x.shape.len() >= 2 && x.elements() > 0) else {
            return Err(Error::op(name, format!("`x` must be [N,…,C] and not empty, but is {x}")));
        };
        if self.bn.training && x.elements() == c {
            let what = format!(
                "`x` is {x}: one value per channel has no variance; use a larger batch or training: false"
            );
            return Err(Error::op(name, what));
        }
        let channels = TensorType::f32([c]);
        inputs[1].expect(name, "gamma", &channels)?;
        inputs[2].expect(name, "beta", &channels)?;
        if self.residual {
            inputs[3].expect(name, "residual", x)?;
        }
        if !self.bn.training {
            let from = 3 + usize::from(self.residual);
            inputs[from].expect(name, "running_mean", &channels)?;
            inputs[from + 1].expect(name, "running_var", &channels)?;
            return Ok(vec![x.clone()]);
        }
        Ok(vec![x.clone(), channels.clone(), channels])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // In training x is read twice: once for the statistics, once to apply them.
        let again = if self.bn.training { inputs[0].bytes() as u64 } else { 0 };
        let flops = inputs[0].elements() as u64 * if self.bn.training { 6 } else { 3 };
        Cost { flops, bytes: moved(inputs, outputs) + again }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        cpu::forward_scratch(channels(&inputs[0]), inputs[0].elements())
    }

    fn cpu(&self, args: &Args) {
        let c = channels(args.ty(0));
        let (x, gamma, beta) = (args.f32(0), args.f32(1), args.f32(2));
        let residual = self.residual.then(|| args.f32(3));
        let scratch = args.scratch();
        if self.bn.training {
            let (mean, var) = (args.out(1), args.out(2));
            cpu::statistics(x, c, mean, var, scratch);
            cpu::apply(x, [gamma, beta, mean, var], residual, self.bn, args.out(0), scratch);
        } else {
            let from = 3 + usize::from(self.residual);
            let statistics = [gamma, beta, args.f32(from), args.f32(from + 1)];
            cpu::apply(x, statistics, residual, self.bn, args.out(0), scratch);
        }
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        let (mean, var) = if self.bn.training {
            (vjp.output(1), vjp.output(2))
        } else {
            let from = 3 + usize::from(self.residual);
            (vjp.input(from), vjp.input(from + 1))
        };
        let mut inputs = vec![dy, vjp.input(0), vjp.input(1), vjp.input(2), mean, var];
        let mut targets = vec![0, 1, 2];
        let residual = self.residual && vjp.wants(3);
        if self.residual {
            // Only y tells where the ReLU after a residual was open.
            inputs.push(vjp.output(0));
        }
        if residual {
            targets.push(3);
        }
        vjp.emit(Backward { bn: self.bn, residual }, &inputs, &targets)
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        if self.bn.training { launches::statistics_workspace(&inputs[0]) } else { 0 }
    }

    fn launches(&self, on: &Places) -> Result<Vec<Launch>> {
        check_kernels(on.ty(0))?;
        Ok(launches::forward(on, self.bn, self.residual))
    }
}

/// dy, x, gamma, beta, mean, var, \[y\] → dx, dgamma, dbeta, \[dresidual\].
#[derive(Debug)]
struct Backward {
    bn: BatchNorm,
    residual: bool,
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "batch_norm/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let mut outputs = vec![inputs[1].clone(), inputs[2].clone(), inputs[3].clone()];
        if self.residual {
            outputs.push(inputs[1].clone());
        }
        Ok(outputs)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // dy and x (and y) are read twice: for the two sums, then for dx.
        let again: u64 = [0, 1, 6].iter().filter_map(|&i| inputs.get(i)).map(|t| t.bytes() as u64).sum();
        Cost { flops: inputs[1].elements() as u64 * 10, bytes: moved(inputs, outputs) + again }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        backward::scratch(channels(&inputs[1]), inputs[1].elements())
    }

    fn cpu(&self, args: &Args) {
        let given = backward::Saved {
            dy: args.f32(0),
            x: args.f32(1),
            gamma: args.f32(2),
            beta: args.f32(3),
            mean: args.f32(4),
            var: args.f32(5),
            y: (args.inputs() == 7).then(|| args.f32(6)),
        };
        let target = |i| backward::Target { values: args.out(i), accumulate: args.accumulates(i) };
        let d_residual = self.residual.then(|| target(3));
        backward::backward(&given, self.bn, target(0), target(1), target(2), d_residual, args.scratch());
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::backward_workspace(&inputs[1])
    }

    fn launches(&self, on: &Places) -> Result<Vec<Launch>> {
        Ok(launches::backward(on, self.bn))
    }
}

/// running ← (1 − momentum) running + momentum · batch statistic, the variance made unbiased first.
#[derive(Debug)]
pub struct RunningStatistics {
    pub momentum: f32,
    /// Values a channel has in the batch, N·H·W.
    pub count: usize,
}

impl Op for RunningStatistics {
    fn name(&self) -> &'static str {
        "batch_norm/running"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn cpu(&self, args: &Args) {
        let unbiased = self.count as f32 / (self.count as f32 - 1.0);
        for (i, correction) in [1.0, unbiased].into_iter().enumerate() {
            for (running, batch) in args.out(i).iter_mut().zip(args.f32(i)) {
                *running += self.momentum * (batch * correction - *running);
            }
        }
    }

    fn launches(&self, on: &Places) -> Result<Vec<Launch>> {
        Ok(launches::running(on, self.momentum, self.count))
    }
}

/// The kernels count rows in 32 bits.
fn check_kernels(x: &TensorType) -> Result<()> {
    let rows = x.elements() / channels(x).max(1);
    if rows >= 1 << 31 {
        let what =
            format!("`x` is {x}: the CUDA kernels take less than 2³¹ rows, not {rows}: use a smaller batch");
        return Err(Error::op("batch_norm", what));
    }
    Ok(())
}

fn channels(x: &TensorType) -> usize {
    x.shape.last().copied().unwrap_or(1)
}

pub const SPEC: OpSpec = OpSpec {
    name: "batch_norm",
    summary: "normalises each channel; adds a residual and applies ReLU on the way out",
    inputs: &[
        Operand::new("x", "[N,…,C]"),
        Operand::new("gamma", "[C]").full(),
        Operand::new("beta", "[C]").full(),
        Operand::new("residual", "[N,…,C]").optional(),
        Operand::new("running_mean", "[C]").full().optional().constant(),
        Operand::new("running_var", "[C]").full().optional().constant(),
    ],
    outputs: &[
        Operand::new("y", "[N,…,C]"),
        Operand::new("mean", "[C]").constant(),
        Operand::new("var", "[C]").constant(),
    ],
    defaults: || json!(BatchNorm::default()),
    record: |graph, params, t| {
        let running = match (t.optional("running_mean"), t.optional("running_var")) {
            (Some(mean), Some(var)) => Some([mean, var]),
            _ => None,
        };
        let operands = Operands {
            x: t.get("x")?,
            gamma: t.get("gamma")?,
            beta: t.get("beta")?,
            residual: t.optional("residual"),
            running,
        };
        parse::<BatchNorm>("batch_norm", params)?.record(graph, operands)
    },
    reference: reference::reference,
    kernels: launches::KERNELS,
    cases: || {
        let case = |name, shape: &[usize], params| {
            let c = shape[shape.len() - 1];
            Case::new(name, params).input("x", shape).input("gamma", [c]).input("beta", [c])
        };
        let evaluation = |case: Case, c: usize| {
            case.filled("running_mean", TensorType::f32([c]), Fill::Normal).filled(
                "running_var",
                TensorType::f32([c]),
                Fill::Positive,
            )
        };
        vec![
            case("plain", &[2, 3, 5, 4], json!({})),
            case("relu", &[3, 3, 3, 17], json!({"relu": true})),
            case("residual", &[2, 5, 3, 16], json!({})).input("residual", [2, 5, 3, 16]),
            case("residual_relu", &[2, 3, 3, 33], json!({"relu": true})).input("residual", [2, 3, 3, 33]),
            // Statistics of several blocks, merged.
            case("many_pixels", &[1, 20, 15, 17], json!({"relu": true})),
            case("many_pixels_in_chunks", &[1, 20, 12, 72], json!({})).input("residual", [1, 20, 12, 72]),
            case("rows", &[6, 9], json!({"relu": true})),
            case("two_values", &[2, 3], json!({"eps": 0.1})),
            evaluation(case("evaluation", &[2, 3, 2, 5], json!({"training": false, "relu": true})), 5),
            evaluation(
                case("evaluation_residual", &[1, 1, 1, 3], json!({"training": false}))
                    .input("residual", [1, 1, 1, 3]),
                3,
            ),
            case("stage1", &[512, 28, 28, 16], json!({"relu": true})).bench_only(),
            case("resnet18", &[64, 32, 32, 64], json!({"relu": true})).bench_only(),
        ]
    },
};
