//! Layers: an op with its parameters, named and initialised as PyTorch does.

use crate::Result;
use crate::graph::{Graph, Init, TensorId};
use crate::ops;
use crate::ops::batch_norm::{BatchNorm, Operands, RunningStatistics};
use crate::ops::conv2d::Conv2d;
use crate::tensor::TensorType;

/// Whether batch norm uses the batch's statistics (and updates the running ones) or the running ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// PyTorch's default share of a new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// `name.weight` \[K,R,R,C\], no bias; He-normal over the outputs (He et al. 2015), as torchvision's ResNets.
pub fn conv2d(
    graph: &mut Graph,
    name: &str,
    x: TensorId,
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<TensorId> {
    graph.scope(name, |graph| {
        let [_, _, _, c] = graph.ty(x).dims("conv2d", "x")?;
        let fan_out = channels * kernel * kernel;
        let init = Init::Normal((2.0 / fan_out as f32).sqrt());
        let w = graph.param("weight", TensorType::f32([channels, kernel, kernel, c]), init)?;
        let w = graph.reduced(w);
        ops::conv2d::conv2d(graph, x, w, Conv2d::square(stride, padding))
    })
}

/// `name.weight`, `.bias`, `.running_mean`, `.running_var`; then the residual is added and the ReLU applied.
pub fn batch_norm(
    graph: &mut Graph,
    name: &str,
    x: TensorId,
    residual: Option<TensorId>,
    relu: bool,
    mode: Mode,
) -> Result<TensorId> {
    norm(graph, name, x, residual, Affine { learned: true, relu }, mode)
}

/// `affine=False`: standardised, with neither scale nor shift to learn.
pub fn batch_norm_fixed(graph: &mut Graph, name: &str, x: TensorId, mode: Mode) -> Result<TensorId> {
    norm(graph, name, x, None, Affine { learned: false, relu: false }, mode)
}

/// What follows the standardisation.
struct Affine {
    learned: bool,
    relu: bool,
}

fn norm(
    graph: &mut Graph,
    name: &str,
    x: TensorId,
    residual: Option<TensorId>,
    Affine { learned, relu }: Affine,
    mode: Mode,
) -> Result<TensorId> {
    graph.scope(name, |graph| {
        let elements = graph.ty(x).elements();
        let c = graph.ty(x).shape.last().copied().unwrap_or(1);
        let ty = TensorType::f32([c]);
        // Where they are not learned they are states: kept, and never trained.
        let keep = if learned { Graph::param } else { Graph::state };
        let gamma = keep(graph, "weight", ty.clone(), Init::Ones)?;
        let beta = keep(graph, "bias", ty.clone(), Init::Zeros)?;
        let running_mean = graph.state("running_mean", ty.clone(), Init::Zeros)?;
        let running_var = graph.state("running_var", ty, Init::Ones)?;
        let running = [running_mean, running_var];
        let bn = BatchNorm { relu, training: mode == Mode::Train, ..BatchNorm::default() };
        let outputs = bn.record(graph, Operands { x, gamma, beta, residual, running: Some(running) })?;
        if mode == Mode::Train {
            let op = RunningStatistics { momentum: MOMENTUM, count: elements / c };
            graph.update(op, &outputs[1..3], &running)?;
        }
        Ok(outputs[0])
    })
}

/// `name.weight` \[K,D\] and `name.bias` \[K\], uniform in ±1/√D as `torch.nn.Linear`.
pub fn linear(graph: &mut Graph, name: &str, x: TensorId, features: usize, bias: bool) -> Result<TensorId> {
    graph.scope(name, |graph| {
        let [_, d] = graph.ty(x).dims("linear", "x")?;
        let init = Init::Uniform(1.0 / (d as f32).sqrt());
        let w = graph.param("weight", TensorType::f32([features, d]), init)?;
        let b = if bias { Some(graph.param("bias", TensorType::f32([features]), init)?) } else { None };
        let w = graph.reduced(w);
        ops::linear::linear(graph, x, w, b)
    })
}
