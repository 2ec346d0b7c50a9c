//! The optimisers alone, on gradients and learning rates given, against PyTorch: `tests/golden/optim.safetensors`.

use rusa::device::{CpuProgram, Program};
use rusa::graph::{Graph, Init};
use rusa::ops::add::Add;
use rusa::optim::Optimizer;
use rusa::tensor::{HostTensor, TensorType, read_tensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest error after each of five steps, as a share of the tensor's largest value: f32 rounding, step after step.
const TOLERANCE: f64 = 5e-7;
/// 1 − β₂ in f32 is 1.3e-5 off, and with it the running square; its bias correction takes that out of the update.
const SQUARE_TOLERANCE: f64 = 1.5e-5;

/// Our settings from the file's JSON.
fn optimizer(settings: &Value) -> Optimizer {
    let mut settings = settings.as_object().unwrap().clone();
    let name = settings.remove("optimizer").unwrap();
    settings.insert("name".into(), name);
    serde_json::from_value(Value::Object(settings)).unwrap()
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(1e-12, |m: f64, &v| m.max(f64::from(v.abs())))
}

fn equals_pytorch(run: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/optim.safetensors");
    let (tensors, metadata) = read_tensors(&path).unwrap();
    let f32s = |name: &str| tensors[name].as_f32().unwrap();
    let initial: BTreeMap<&str, &HostTensor> =
        tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("initial.")?, tensor))).collect();

    // y = p + 0, so that p's gradient is the one given for y.
    let mut graph = Graph::new();
    let (mut upstream, mut inputs) = (Vec::new(), Vec::new());
    for (name, tensor) in &initial {
        let param = graph.param(name, tensor.ty(), Init::Zeros).unwrap();
        let zero = graph.input(&format!("zero.{name}"), tensor.ty()).unwrap();
        let y = graph.apply1(Add, &[param, zero]).unwrap();
        let gradient =
            graph.input(&format!("gradient.{name}"), TensorType::f32(tensor.shape.clone())).unwrap();
        upstream.push((y, gradient));
        inputs.push((*name, param, gradient));
    }
    let gradients = graph.differentiate(&upstream).unwrap();
    let settings = serde_json::from_str(&metadata[run]).unwrap();
    let schedule = graph.input("schedule", TensorType::f32([2])).unwrap();
    optimizer(&settings).record(&mut graph, &gradients, schedule).unwrap();
    let mut program = CpuProgram::new(graph);
    program.initialize(0).unwrap();
    inputs.iter().for_each(|(name, param, _)| program.write(*param, initial[name].bytes()).unwrap());

    for (step, &lr) in f32s("lr").iter().enumerate() {
        program.write_f32(schedule, &[lr, step as f32 + 1.0]).unwrap();
        for (name, _, gradient) in &inputs {
            let all = f32s(&format!("gradient.{name}"));
            let n = all.len() / f32s("lr").len();
            program.write_f32(*gradient, &all[step * n..][..n]).unwrap();
        }
        program.run_all().unwrap();
        let got = program.state_dict().unwrap();
        for (name, tensor) in tensors.range(format!("{run}.")..format!("{run}/")) {
            let name = name.strip_prefix(&format!("{run}.")).unwrap();
            let (tolerance, name) = match name.strip_prefix("param.") {
                Some(param) => (TOLERANCE, param),
                None if name.starts_with("exp_avg_sq.") => (SQUARE_TOLERANCE, name),
                None => (TOLERANCE, name),
            };
            let got = got[name].as_f32().unwrap();
            let want = &tensor.as_f32().unwrap()[step * got.len()..][..got.len()];
            let scale = largest(want);
            for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                let error = (f64::from(g) - f64::from(w)).abs() / scale;
                assert!(
                    error <= tolerance,
                    "{run}, step {step}: {name}[{i}] is {g}, want {w}, off by {error:.1e}"
                );
            }
        }
    }
}

#[test]
fn sgd_equals_pytorch() {
    equals_pytorch("sgd");
}

#[test]
fn lars_equals_its_definition() {
    equals_pytorch("lars");
}

#[test]
fn lars_without_clipping_equals_its_definition() {
    equals_pytorch("lars_unclipped");
}

#[test]
fn adam_equals_pytorch() {
    equals_pytorch("adam");
}

#[test]
fn adamw_equals_pytorch() {
    equals_pytorch("adamw");
}
