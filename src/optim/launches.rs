//! The table by which one launch updates every parameter: `kernels/include/multi_tensor.cuh`.

use crate::Result;
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use bytemuck::{Pod, Zeroable};

/// Elements of a parameter that a block works on.
const CHUNK: usize = 16384;

/// A row of the table, as the kernels read it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Chunk {
    value: u64,
    gradient: u64,
    state0: u64,
    state1: u64,
    half: u64,
    count: u32,
    tensor: u32,
    decay: f32,
    first: u32,
    entries: u32,
    adapt: u32,
}

kernel!(Sgd ["sgd_f32"] { momentum: f32, table: Address, schedule: Address });

kernel!(AdamW ["adamw_f32"] { b1: f32, b2: f32, eps: f32, decoupled: u32, table: Address, schedule: Address });

kernel!(Ema ["ema_f32"] { table: Address, momentum: Address });

kernel!(LarsNorms ["lars_norms_f32"] { table: Address, workspace: Address });

kernel!(LarsUpdate ["lars_update_f32"] {
    momentum: f32, eta: f32, clip: u32, table: Address, schedule: Address, workspace: Address,
});

pub const KERNELS: &[Signature] =
    &[Sgd::SIGNATURE, AdamW::SIGNATURE, LarsNorms::SIGNATURE, LarsUpdate::SIGNATURE, Ema::SIGNATURE];

/// The table of an optimiser op's operands, on the device, and its number of rows. `decay` and `adapt` go by the
/// parameter's shape.
fn table(
    on: &Operands,
    states: usize,
    decay: impl Fn(&[usize]) -> f32,
    adapt: impl Fn(&[usize]) -> bool,
) -> Result<(Address, usize)> {
    let n = on.inputs.len() - 1;
    let mut rows: Vec<Chunk> = Vec::new();
    for i in 0..n {
        let (gradient, ty) = &on.inputs[i + 1];
        let (first, entries) = (rows.len() as u32, ty.elements().div_ceil(CHUNK) as u32);
        let at = |address: Address, from: usize| address.plus(from * size_of::<f32>()).0;
        let state = |s: usize, from| if s < states { at(on.output((s + 1) * n + i), from) } else { 0 };
        rows.extend((0..ty.elements()).step_by(CHUNK).map(|from| Chunk {
            value: at(on.output(i), from),
            gradient: at(*gradient, from),
            state0: state(0, from),
            state1: state(1, from),
            half: 0,
            count: CHUNK.min(ty.elements() - from) as u32,
            tensor: i as u32,
            decay: decay(&ty.shape),
            first,
            entries,
            adapt: adapt(&ty.shape).into(),
        }));
    }
    Ok(((on.upload)(bytemuck::cast_slice(&rows))?, rows.len()))
}

/// Rows the table will have.
pub fn rows(inputs: &[crate::tensor::TensorType]) -> usize {
    inputs[1..].iter().map(|ty| ty.elements().div_ceil(CHUNK)).sum()
}

pub fn sgd(on: &Operands, optimizer: &super::Optimizer) -> Result<Vec<Launch>> {
    let (table, blocks) = table(on, 1, |shape| optimizer.decay(shape), |_| false)?;
    let sgd = Sgd { momentum: optimizer.momentum, table, schedule: on.input(0) };
    Ok(vec![Launch::new("sgd_f32", blocks, 256, sgd)])
}

pub fn adamw(on: &Operands, optimizer: &super::Optimizer, decoupled: bool) -> Result<Vec<Launch>> {
    let (table, blocks) = table(on, 2, |shape| optimizer.decay(shape), |_| false)?;
    let [b1, b2] = optimizer.betas;
    let (eps, decoupled) = (optimizer.eps, decoupled.into());
    let adamw = AdamW { b1, b2, eps, decoupled, table, schedule: on.input(0) };
    Ok(vec![Launch::new("adamw_f32", blocks, 256, adamw)])
}

pub fn ema(on: &Operands) -> Result<Vec<Launch>> {
    let (table, blocks) = table(on, 0, |_| 0.0, |_| false)?;
    Ok(vec![Launch::new("ema_f32", blocks, 256, Ema { table, momentum: on.input(0) })])
}

pub fn lars(on: &Operands, optimizer: &super::Optimizer) -> Result<Vec<Launch>> {
    let (table, blocks) = table(on, 1, |shape| optimizer.decay(shape), |shape| shape.len() > 1)?;
    let (schedule, workspace) = (on.input(0), on.workspace);
    let super::Optimizer { momentum, eta, clip, .. } = *optimizer;
    let update = LarsUpdate { momentum, eta, clip: clip.into(), table, schedule, workspace };
    Ok(vec![
        Launch::new("lars_norms_f32", blocks, 256, LarsNorms { table, workspace }),
        Launch::new("lars_update_f32", blocks, 256, update),
    ])
}
