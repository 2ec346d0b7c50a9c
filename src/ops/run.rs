//! One op on anyone's tensors, forwards and backwards.

use super::checks::{convert, indices};
use super::table::{OpSpec, Tensors, find};
use crate::device::Device;
use crate::graph::{Graph, Precision};
use crate::tensor::{DType, HostTensor, TensorType};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where and in what an op is run, and whether it is differentiated.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub device: Device,
    pub precision: Precision,
    /// `inputs` also hold `d_<output>`, and the result `d_<input>`. The gradient of a scalar output may be left out: it
    /// is then 1.
    pub backward: bool,
}

impl Default for How {
    /// Forwards on the CPU.
    fn default() -> Self {
        Self { device: Device::Cpu, precision: Precision::F32, backward: false }
    }
}

/// Applies the op called `name`. Results are f32 whatever was computed in.
///
/// Labels and indices out of range are errors: the values are at hand here, as they are not where training records.
pub fn run(
    name: &str,
    params: &Value,
    inputs: &BTreeMap<String, HostTensor>,
    how: How,
) -> Result<BTreeMap<String, HostTensor>> {
    let spec = find(name)?;
    check_names(spec, inputs)?;
    let mut graph = Graph::with_precision(how.precision);
    let mut given = Vec::new();
    let mut operands = BTreeMap::new();
    for operand in spec.inputs {
        if let Some(tensor) = inputs.get(operand.name) {
            let tensor = convert(spec.name, operand.name, tensor, operand.dtype)?;
            let tensor = if operand.full { tensor } else { tensor.rounded(how.precision.dtype()) };
            let id = if operand.differentiable {
                graph.differentiable_input(operand.name, tensor.ty())?
            } else {
                graph.input(operand.name, tensor.ty())?
            };
            operands.insert(operand.name.to_string(), id);
            given.push((id, tensor));
        }
    }
    let ids = (spec.record)(&mut graph, params, &Tensors::new(spec.name, operands.clone()))?;
    indices(spec, inputs)?;
    let mut wanted: Vec<_> = spec.outputs.iter().map(|o| o.name.to_string()).zip(ids).collect();

    if how.backward {
        let mut upstream = Vec::new();
        for ((output, id), operand) in wanted.iter().zip(spec.outputs) {
            let ty = graph.ty(*id).clone();
            let grad = format!("d_{output}");
            let tensor = match inputs.get(&grad) {
                Some(tensor) => convert(spec.name, &grad, tensor, DType::F32)?,
                None if operand.differentiable && ty.elements() == 1 => HostTensor::f32([1], vec![1.0]),
                None => continue,
            };
            let (grad, tensor) = (graph.input(&grad, ty.clone())?, tensor.rounded(ty.dtype));
            upstream.push((*id, grad));
            given.push((grad, tensor));
        }
        if upstream.is_empty() {
            return Err(Error::op(
                spec.name,
                format!("backward needs the gradient of an output, `d_{}`", spec.outputs[0].name),
            ));
        }
        let gradients = graph.differentiate(&upstream)?;
        for (input, id) in &operands {
            if let Some(gradient) = gradients.get(*id) {
                wanted.push((format!("d_{input}"), gradient));
            }
        }
    }

    wanted.iter().for_each(|(_, id)| graph.keep(*id));
    let mut program = how.device.program_apart(graph)?;
    for (id, tensor) in &given {
        tensor.ty().expect(spec.name, &program.graph().info(*id).name.clone(), program.graph().ty(*id))?;
        program.write(*id, tensor.bytes())?;
    }
    program.run_all()?;
    let mut outputs = BTreeMap::new();
    for (name, id) in wanted {
        let ty: TensorType = program.graph().ty(id).clone();
        outputs.insert(name, HostTensor::f32(ty.shape, program.read_f32(id)?));
    }
    Ok(outputs)
}

fn check_names(spec: &'static OpSpec, inputs: &BTreeMap<String, HostTensor>) -> Result<()> {
    let known: Vec<String> = spec
        .inputs
        .iter()
        .map(|o| o.name.to_string())
        .chain(spec.outputs.iter().map(|o| format!("d_{}", o.name)))
        .collect();
    match inputs.keys().find(|name| !known.contains(name)) {
        Some(name) => {
            Err(Error::op(spec.name, format!("there is no input `{name}`; it takes {}", known.join(", "))))
        }
        None => Ok(()),
    }
}
