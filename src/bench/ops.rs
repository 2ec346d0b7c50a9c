//! One op on one of its cases: each of its passes timed alone.

use super::{Ceilings, Samples};
use crate::Result;
use crate::device::{Device, Program};
use crate::graph::{Graph, Kind, Precision};
use crate::ops::table::{Case, Fill, OpSpec, Tensors};
use crate::rng::{Philox, Purpose};
use crate::tensor::DType;
use serde::Serialize;
use std::collections::BTreeMap;

/// Random numbers drawn for a tensor at most.
const DRAWN: usize = 1 << 20;

/// A pass's time beside what it costs.
#[derive(Clone, Debug, Serialize)]
pub struct OpTiming {
    /// `op/pass/dtype/technique/device/case`; no technique on the CPU.
    pub id: String,
    /// Median.
    pub milliseconds: f64,
    pub flops: u64,
    pub bytes: u64,
    pub gflops_per_second: f64,
    pub gigabytes_per_second: f64,
    /// The roofline's floor over the time taken: 1 is as fast as the ceilings allow.
    pub share_of_roofline: f64,
    /// Every sample, in the order taken.
    pub samples_milliseconds: Vec<f64>,
}

/// Times forward and backward passes for about `seconds` each; a GPU's caches hold other data before each sample.
pub fn time_op(
    spec: &OpSpec,
    case: &Case,
    how: (Device, Precision),
    ceilings: Ceilings,
    seconds: f64,
) -> Result<Vec<OpTiming>> {
    let (device, precision) = how;
    let mut program = device.program(record(spec, case, precision)?)?;
    for id in program.graph().of_kind(Kind::Input) {
        let info = program.graph().info(id).clone();
        let fill =
            case.inputs.iter().find(|(name, ..)| *name == info.name).map_or(Fill::Normal, |(.., fill)| *fill);
        let mut rng = Philox::new(1, Purpose::Test, 0, id.0 as u64);
        let n = info.ty.elements();
        // Drawing takes longer than timing: large tensors repeat themselves.
        let mut repeated = |draw: fn(&mut Philox) -> f32| -> Vec<f32> {
            let drawn: Vec<f32> = (0..n.min(DRAWN)).map(|_| draw(&mut rng)).collect();
            drawn.into_iter().cycle().take(n).collect()
        };
        match (info.ty.dtype, fill) {
            (DType::F32, Fill::Positive) => {
                program.write_f32(id, &repeated(|rng| rng.range(0.5, 1.5)))?;
            }
            (DType::I64, Fill::Labels(classes)) => {
                let labels: Vec<i64> = (0..n).map(|_| i64::from(rng.below(classes))).collect();
                program.write(id, bytemuck::cast_slice(&labels))?;
            }
            (DType::U32, Fill::Labels(classes)) => {
                let index: Vec<u32> = (0..n).map(|_| rng.below(classes)).collect();
                program.write(id, bytemuck::cast_slice(&index))?;
            }
            // Far apart: neighbours would share lines of memory as no batch's do.
            (DType::U32, Fill::Places(count)) => {
                let apart = (count as usize / n).max(1);
                let index: Vec<u32> = (0..n).map(|i| (i * apart) as u32).collect();
                program.write(id, bytemuck::cast_slice(&index))?;
            }
            (DType::U8, _) => program.write(id, &(0..n).map(|_| rng.next_u32() as u8).collect::<Vec<_>>())?,
            (_, Fill::Given(values)) => program.write_f32(id, &values(n))?,
            _ => program.write_f32(id, &repeated(Philox::normal))?,
        }
    }
    program.run_all()?;
    let costs = program.plan().costs.clone();
    let mut timings = Vec::new();
    for (i, cost) in costs.into_iter().enumerate() {
        let samples = Samples::timed(seconds, || {
            program.evict()?;
            program.seconds(i..i + 1)
        })?;
        let time = samples.median();
        timings.push(OpTiming {
            id: id(&*program, i, (device, precision), case),
            milliseconds: time * 1e3,
            flops: cost.flops,
            bytes: cost.bytes,
            gflops_per_second: cost.flops as f64 / time / 1e9,
            gigabytes_per_second: cost.bytes as f64 / time / 1e9,
            share_of_roofline: cost.roofline_seconds(ceilings.flops_per_second, ceilings.bytes_per_second)
                / time,
            samples_milliseconds: samples.0.iter().map(|s| s * 1e3).collect(),
        });
    }
    Ok(timings)
}

/// The op and its backward pass on the case's shapes.
pub(super) fn record(spec: &OpSpec, case: &Case, precision: Precision) -> Result<Graph> {
    let mut graph = Graph::with_precision(precision);
    let mut operands = BTreeMap::new();
    for (name, ty, _) in &case.inputs {
        let operand = spec.inputs.iter().find(|o| o.name == *name);
        let reduced = ty.dtype == DType::F32 && operand.is_some_and(|o| !o.full);
        let ty = if reduced { ty.with(precision.dtype()) } else { ty.clone() };
        let id = if operand.is_some_and(|o| o.differentiable) {
            graph.differentiable_input(name, ty)?
        } else {
            graph.input(name, ty)?
        };
        operands.insert(name.to_string(), id);
    }
    let outputs = (spec.record)(&mut graph, &case.params, &Tensors::new(spec.name, operands))?;
    if spec.outputs[0].differentiable {
        let upstream = graph.input("upstream", graph.ty(outputs[0]).clone())?;
        graph.differentiate(&[(outputs[0], upstream)])?;
    }
    Ok(graph)
}

fn id(program: &dyn Program, node: usize, (device, precision): (Device, Precision), case: &Case) -> String {
    let op = program.graph().nodes()[node].op.name();
    // The first launch does the work; what follows merges its parts.
    let entries = program.entries(node);
    let technique = entries.iter().find_map(|e| e.split_once("__").filter(|(_, t)| *t != "finalize"));
    let technique = technique.map_or(String::new(), |(_, technique)| format!("{technique}/"));
    format!("{op}/{}/{technique}{device}/{}", precision.dtype(), case.name)
}
