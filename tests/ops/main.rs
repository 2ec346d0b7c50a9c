//! Every op of the table on every case, device and precision: values against the f64 reference, gradients against its
//! finite differences.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

mod edges;
mod refusals;

use rusa::device::Device;
use rusa::graph::{Graph, Precision};
use rusa::ops::run::{How, run};
use rusa::ops::table::{Case, Fill, OPS, OpSpec, Tensor64, Tensors};
use rusa::rng::{Philox, Purpose};
use rusa::tensor::{DType, HostTensor, TensorType, Values};
use std::collections::BTreeMap;
use std::io::Write;

/// Elements of each input whose derivative is checked.
const PROBES: usize = 40;

/// Largest error allowed, as a share of the tensor's largest value. f32: sums of some thousand terms; gradients, whose
/// reference is itself a difference quotient, get more. bf16: half an ulp is up to 2⁻⁸ of a value.
fn tolerance(op: &str, tensor: &str, how: How) -> f64 {
    match (how.precision, op, tensor) {
        // Copies.
        (_, "gather" | "nearest" | "enqueue" | "when_finite", _) => 0.0,
        (Precision::F32, _, gradient) if gradient.starts_with("d_") => 5e-5,
        (Precision::F32, ..) => 2e-5,
        // Unit rows are rounded to bf16 too, weights of the backward pass as well.
        (Precision::Bf16, "nt_xent", "loss") => 2e-3,
        (Precision::Bf16, "nt_xent", _) => 1.5e-2,
        // Sums in f32, never rounded.
        (Precision::Bf16, "batch_norm", "mean" | "var" | "d_gamma" | "d_beta") => 5e-5,
        // Not a bias: an activation's gradient, rounded.
        (Precision::Bf16, "matmul" | "mse_loss" | "vicreg" | "barlow_twins", "d_b") => 4.3e-3,
        (Precision::Bf16, _, "loss" | "d_w" | "d_b") => 5e-5,
        // f32 of what bf16 holds.
        (Precision::Bf16, "softmax", "p") | (Precision::Bf16, "column_mean", "y") => 2e-5,
        (Precision::Bf16, "sinkhorn", _) => 2e-5,
        // Tensors that are updated in place stay f32.
        (Precision::Bf16, _, updated) if updated.starts_with("new_") => 2e-5,
        (Precision::Bf16, ..) => 4.3e-3,
    }
}

fn fill(case: &Case, precision: Precision) -> BTreeMap<String, HostTensor> {
    let mut tensors = BTreeMap::new();
    for (stream, (name, ty, fill)) in case.inputs.iter().enumerate() {
        let mut rng = Philox::new(11, Purpose::Test, stream as u32, 0);
        let n = ty.elements();
        let tensor = match fill {
            Fill::Normal => HostTensor::f32(ty.shape.clone(), (0..n).map(|_| rng.normal()).collect()),
            Fill::Positive => {
                HostTensor::f32(ty.shape.clone(), (0..n).map(|_| rng.range(0.5, 1.5)).collect())
            }
            Fill::Labels(classes) => {
                HostTensor::i64(ty.shape.clone(), (0..n).map(|_| i64::from(rng.below(*classes))).collect())
            }
            Fill::Places(count) => {
                let mut places: Vec<i64> = (0..i64::from(*count)).collect();
                (0..n).for_each(|i| places.swap(i, i + rng.below(*count - i as u32) as usize));
                HostTensor::i64(ty.shape.clone(), places[..n].to_vec())
            }
            Fill::Pixels => HostTensor {
                shape: ty.shape.clone(),
                values: Values::U8((0..n).map(|_| rng.next_u32() as u8).collect()),
            },
            Fill::Given(values) => HostTensor::f32(ty.shape.clone(), values(n)),
        };
        // What the device will round is rounded for the reference as well; what it keeps is none the worse for it.
        tensors.insert(name.to_string(), tensor.rounded(precision.dtype()).rounded(DType::F32));
    }
    tensors
}

fn double(tensor: &HostTensor) -> Tensor64 {
    let data = match &tensor.values {
        Values::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        Values::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        Values::I64(v) => v.iter().map(|&x| x as f64).collect(),
        _ => panic!("no case holds {}", tensor.ty()),
    };
    Tensor64::new(tensor.shape.clone(), data)
}

fn reference(spec: &OpSpec, case: &Case, inputs: &BTreeMap<String, Tensor64>) -> Vec<Tensor64> {
    (spec.reference)(&case.params, &Tensors::new(spec.name, inputs.clone()))
}

/// Panics with the worst element unless all are finite and within `tolerance` of the largest wanted value.
fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    let mut worst = (0, 0.0);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(g.is_finite(), "{what}[{i}] is {g}, want {w}");
        let error = (f64::from(g) - w).abs() / scale;
        if !(error <= worst.1) {
            worst = (i, error);
        }
    }
    let (i, error) = worst;
    assert!(
        error <= tolerance,
        "{what}[{i}]: got {}, want {}, off by {error:.2e} of {scale:.3}",
        got[i],
        want[i]
    );
}

fn check(spec: &OpSpec, case: &Case, how: How) {
    let what = format!("{}/{}/{}/{}", spec.name, how.precision.dtype(), how.device, case.name);
    let mut inputs = fill(case, how.precision);
    let exact: BTreeMap<String, Tensor64> = inputs.iter().map(|(k, v)| (k.clone(), double(v))).collect();
    let want = reference(spec, case, &exact);

    // A random upstream gradient for every output that takes one.
    let mut weights = Vec::new();
    for (i, (output, value)) in
        spec.outputs.iter().zip(&want).enumerate().filter(|(_, (o, _))| o.differentiable)
    {
        let mut rng = Philox::new(12, Purpose::Test, i as u32, 0);
        let d = HostTensor::f32(value.shape.clone(), value.data.iter().map(|_| rng.normal()).collect());
        let d = d.rounded(how.precision.dtype()).rounded(DType::F32);
        inputs.insert(format!("d_{}", output.name), d.clone());
        let d = d.as_f32().unwrap().to_vec();
        weights.push((i, d));
    }
    let how = How { backward: !weights.is_empty(), ..how };
    let got = run(spec.name, &case.params, &inputs, how).unwrap_or_else(|e| panic!("{what}: {e}"));
    for (output, want) in spec.outputs.iter().zip(&want) {
        let name = format!("{what} {}", output.name);
        assert_eq!(got[output.name].shape, want.shape, "{name}: shape");
        assert_close(
            &name,
            got[output.name].as_f32().unwrap(),
            &want.data,
            tolerance(spec.name, output.name, how),
        );
    }

    let objective = |inputs: &BTreeMap<String, Tensor64>| -> f64 {
        let outputs = reference(spec, case, inputs);
        weights
            .iter()
            .map(|(i, d)| outputs[*i].data.iter().zip(d).map(|(y, &d)| y * f64::from(d)).sum::<f64>())
            .sum()
    };
    for operand in spec.inputs.iter().filter(|o| o.differentiable && exact.contains_key(o.name)) {
        let gradient = got[&format!("d_{}", operand.name)].as_f32().unwrap();
        let n = gradient.len();
        let mut rng = Philox::new(13, Purpose::Test, 0, 0);
        let probes: Vec<usize> = if n <= PROBES {
            (0..n).collect()
        } else {
            (0..PROBES).map(|_| rng.below(n as u32) as usize).collect()
        };
        let mut moved = exact.clone();
        let step = 1e-5;
        let want: Vec<f64> = probes
            .iter()
            .map(|&i| {
                let mut at = |x: f64| {
                    moved.get_mut(operand.name).unwrap().data[i] = x;
                    objective(&moved)
                };
                let x = exact[operand.name].data[i];
                let slope = (at(x + step) - at(x - step)) / (2.0 * step);
                at(x);
                slope
            })
            .collect();
        let got: Vec<f32> = probes.iter().map(|&i| gradient[i]).collect();
        let name = format!("d_{}", operand.name);
        assert_close(&format!("{what} {name}"), &got, &want, tolerance(spec.name, &name, how));
    }
}

/// Every case on a device, in a precision.
fn check_all(device: Device, precision: Precision) {
    for spec in OPS {
        let cases = (spec.cases)();
        let tested: Vec<_> = cases.iter().filter(|c| !c.bench_only).collect();
        assert!(!tested.is_empty(), "{} has no case to test", spec.name);
        tested.iter().for_each(|case| check(spec, case, How { device, precision, ..How::default() }));
    }
}

/// The device, or a line that says what was skipped and why.
fn device(name: &str) -> Option<Device> {
    let rows: usize = OPS.iter().map(|spec| (spec.cases)().iter().filter(|c| !c.bench_only).count()).sum();
    match Device::parse(name) {
        Ok(device) => Some(device),
        Err(why) => {
            // To the file descriptor itself: the test harness must not swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED {} rows of ops on {name}: {why}", 2 * rows);
            None
        }
    }
}

#[test]
fn every_op_on_the_cpu_equals_its_reference_and_its_finite_differences() {
    check_all(Device::Cpu, Precision::F32);
}

#[test]
fn every_op_on_the_vm_in_f32_equals_its_reference_and_its_finite_differences() {
    device("vm").into_iter().for_each(|vm| check_all(vm, Precision::F32));
}

#[test]
fn every_op_on_the_vm_in_bf16_equals_its_reference_and_its_finite_differences() {
    device("vm").into_iter().for_each(|vm| check_all(vm, Precision::Bf16));
}

#[test]
fn every_op_on_a_gpu_equals_its_reference_and_its_finite_differences() {
    device("cuda").into_iter().for_each(|cuda| {
        check_all(cuda, Precision::F32);
        check_all(cuda, Precision::Bf16);
    });
}

/// The gradients of an op recorded `times` times on the same inputs, each with the same upstream gradient.
fn gradients(
    spec: &OpSpec,
    case: &Case,
    times: usize,
    device: Device,
    precision: Precision,
) -> Vec<(String, Vec<f32>)> {
    let mut graph = Graph::with_precision(precision);
    let (mut operands, mut given) = (BTreeMap::new(), Vec::new());
    for (name, tensor) in fill(case, precision) {
        let operand = spec.inputs.iter().find(|o| o.name == name).unwrap();
        let tensor = if operand.full { tensor } else { tensor.rounded(precision.dtype()) };
        let id = match operand.differentiable {
            true => graph.differentiable_input(&name, tensor.ty()).unwrap(),
            false => graph.input(&name, tensor.ty()).unwrap(),
        };
        operands.insert(name, id);
        given.push((id, tensor));
    }
    let mut outputs = Vec::new();
    let mut upstream = None;
    for _ in 0..times {
        let y =
            (spec.record)(&mut graph, &case.params, &Tensors::new(spec.name, operands.clone())).unwrap()[0];
        let d = *upstream.get_or_insert_with(|| graph.input("upstream", graph.ty(y).clone()).unwrap());
        outputs.push((y, d));
    }
    let found = graph.differentiate(&outputs).unwrap();
    let wanted: Vec<_> =
        operands.iter().filter_map(|(name, id)| Some((name.clone(), found.get(*id)?))).collect();
    wanted.iter().for_each(|(_, id)| graph.keep(*id));
    let mut program = device.program_apart(graph).unwrap();
    given.iter().for_each(|(id, tensor)| program.write(*id, tensor.bytes()).unwrap());
    let mut rng = Philox::new(14, Purpose::Test, 0, 0);
    let d = upstream.unwrap();
    let values: Vec<f32> = (0..program.graph().ty(d).elements()).map(|_| rng.normal()).collect();
    program.write_f32(d, &values).unwrap();
    program.run_all().unwrap();
    wanted.into_iter().map(|(name, id)| (name, program.read_f32(id).unwrap())).collect()
}

#[test]
fn a_second_contribution_adds_to_the_first() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        for precision in [Precision::F32, Precision::Bf16] {
            if device.check(precision).is_err() {
                continue;
            }
            for spec in OPS.iter().filter(|spec| spec.outputs[0].differentiable) {
                let cases = (spec.cases)();
                for case in cases.iter().filter(|c| !c.bench_only).take(3) {
                    let once = gradients(spec, case, 1, device, precision);
                    let twice = gradients(spec, case, 2, device, precision);
                    assert!(!once.is_empty(), "{} has no gradient", spec.name);
                    for ((name, once), (_, twice)) in once.iter().zip(&twice) {
                        let want: Vec<f64> = once.iter().map(|&x| 2.0 * f64::from(x)).collect();
                        let what =
                            format!("{}/{}/{device}/{} d_{name}", spec.name, precision.dtype(), case.name);
                        // The sum is rounded once more.
                        let tolerance = if precision == Precision::Bf16 { 4.3e-3 } else { 2e-5 };
                        assert_close(&what, twice, &want, tolerance);
                    }
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_thread_count() {
    for spec in OPS {
        for case in (spec.cases)().iter().filter(|c| !c.bench_only) {
            let inputs = fill(case, Precision::F32);
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(spec.name, &case.params, &inputs, How::default()).unwrap())
            };
            assert_eq!(on(1), on(3), "{}/{}", spec.name, case.name);
        }
    }
}
