//! Every op of the table on every case, device and precision: values against the f64 reference, gradients against its
//! finite differences.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::device::Device;
use rusa::graph::{Graph, Precision};
use rusa::ops::gather::Gather;
use rusa::ops::info_nce::InfoNce;
use rusa::ops::run::{How, run};
use rusa::ops::sinkhorn::Sinkhorn;
use rusa::ops::soft_cross_entropy::SoftCrossEntropy;
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

#[test]
fn nan_reaches_what_depends_on_it_and_masked_logits_have_no_share() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let give = |op: &str, tensors: &[(&str, &[f32])]| {
            let inputs =
                tensors.iter().map(|(name, v)| (name.to_string(), HostTensor::f32([2, 3], v.to_vec())));
            let how = How { device, ..How::default() };
            let mut results = run(op, &serde_json::Value::Null, &inputs.collect(), how).unwrap();
            results.pop_first().unwrap().1.as_f32().unwrap().to_vec()
        };
        let nan = |values: &[f32]| values.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        let x = [0.5, -1.0, 2.0, 0.25, f32::NAN, 1.0];
        assert_eq!(nan(&give("softmax", &[("x", &x)])), [false, false, false, true, true, true]);
        assert_eq!(nan(&give("column_mean", &[("x", &x)])), [false, true, false]);
        assert_eq!(nan(&give("sinkhorn", &[("scores", &x)])), [true; 6]);
        assert_eq!(nan(&give("center", &[("x", &x)])), [false, true, false, false, true, false]);
        for op in ["mse_loss", "vicreg", "barlow_twins"] {
            assert_eq!(nan(&give(op, &[("a", &[0.5, 0.0, 1.0, 0.0, 1.0, 2.0]), ("b", &x)])), [true], "{op}");
        }
        assert_eq!(nan(&give("soft_cross_entropy", &[("logits", &x), ("targets", &[0.5; 6])])), [true]);

        let x = [0.0, f32::NEG_INFINITY, 0.0, 1e30, 0.0, 0.0];
        assert_eq!(give("softmax", &[("x", &x)]), [0.5, 0.0, 0.5, 1.0, 0.0, 0.0]);
    }
}

#[test]
fn an_index_beyond_the_table_gives_nan() {
    // `run` sees values and refuses; what a step records cannot see them.
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32([2, 3])).unwrap();
        let index = graph.input("index", TensorType::new([4], DType::U32)).unwrap();
        let y = graph.apply1(Gather, &[x, index]).unwrap();
        graph.keep(y);
        let mut program = device.program_apart(graph).unwrap();
        program.write_f32(x, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]).unwrap();
        program.write(index, &[1, 2, 0, u32::MAX].map(u32::to_ne_bytes).concat()).unwrap();
        program.run_all().unwrap();
        let y = program.read_f32(y).unwrap();
        let nan: Vec<_> = y.iter().map(|y| y.is_nan()).collect();
        let (kept, all) = ([false; 3], [true; 3]);
        assert_eq!(nan, [[false, true, false], all, kept, all].concat(), "{device}");
        assert_eq!(y[6..9], [0.0, 1.0, 2.0], "{device}");
    }
}

#[test]
fn whitening_what_has_no_inverse_covariance_is_nan() {
    // The second column is constant: its pivot is 0, and 0/0 is no number.
    let x = [0.0, 1.0, 2.0, 4.0, 8.0].into_iter().flat_map(|v| [v, 0.5]).collect();
    let inputs = BTreeMap::from([("x".to_string(), HostTensor::f32([5, 2], x))]);
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let how = How { device, ..How::default() };
        let y = &run("whiten", &serde_json::Value::Null, &inputs, how).unwrap()["y"];
        assert!(y.as_f32().unwrap().iter().skip(1).step_by(2).all(|y| y.is_nan()), "{device}: {y:?}");
    }
}

#[test]
fn the_first_of_equal_neighbours_wins_and_nan_stays_nan() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let nearest = |z: &[f32], support: &[f32]| {
            let rows = |x: &[f32]| HostTensor::f32([x.len() / 2, 2], x.to_vec());
            let inputs = BTreeMap::from([("z".to_string(), rows(z)), ("support".to_string(), rows(support))]);
            let how = How { device, ..How::default() };
            run("nearest", &serde_json::Value::Null, &inputs, how).unwrap()["y"].as_f32().unwrap().to_vec()
        };
        // Lengths are powers of two, so that equal directions have equal cosines.
        let support = [0.0, 1.0, 2.0, 0.0, 8.0, 0.0, 0.0, -4.0, 1.0, 0.0];
        let y = nearest(&[3.0, 0.0, f32::NAN, 1.0, 0.0, -1.0, 0.0, 0.0], &support);
        assert_eq!(y[..2], [2.0, 0.0], "{device}");
        assert!(y[2].is_nan() && y[3].is_nan(), "{device}");
        assert_eq!(y[4..], [0.0, -4.0, 0.0, 1.0], "{device}");
        assert!(nearest(&[1.0, 0.0], &[1.0, 0.0, 0.0, f32::NAN]).iter().all(|y| y.is_nan()), "{device}");
    }
}

/// A gradient is made for whichever side wants one, and is the same whether or not the other wants one too.
#[test]
fn either_side_of_info_nce_may_be_a_constant() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let mut rng = Philox::new(16, Purpose::Test, 0, 0);
        let mut rows = |n: usize| -> Vec<f32> { (0..n * 6).map(|_| rng.normal()).collect() };
        let values = [rows(5), rows(5), rows(9)];
        for with_queue in [false, true] {
            let gradients = |trained: [bool; 2]| {
                let mut graph = Graph::new();
                let mut ids: Vec<_> = ["q", "k"]
                    .into_iter()
                    .zip(trained)
                    .map(|(name, trained)| {
                        let id = graph.differentiable_input(name, TensorType::f32([5, 6])).unwrap();
                        if trained { id } else { graph.stop_gradient(id) }
                    })
                    .collect();
                if with_queue {
                    ids.push(graph.input("queue", TensorType::f32([9, 6])).unwrap());
                }
                let loss = graph.apply1(InfoNce::default(), &ids).unwrap();
                let upstream = graph.input("upstream", TensorType::f32([1])).unwrap();
                let found = graph.differentiate(&[(loss, upstream)]).unwrap();
                let gradients: Vec<_> = ids[..2].iter().map(|id| found.get(*id)).collect();
                gradients.iter().flatten().for_each(|id| graph.keep(*id));
                let mut program = device.program_apart(graph).unwrap();
                ids.iter().zip(&values).for_each(|(id, values)| program.write_f32(*id, values).unwrap());
                program.write_f32(upstream, &[1.0]).unwrap();
                program.run_all().unwrap();
                gradients.iter().map(|id| id.map(|id| program.read_f32(id).unwrap())).collect::<Vec<_>>()
            };
            let both = gradients([true, true]);
            assert!(both.iter().all(Option::is_some));
            assert_eq!(gradients([true, false]), [both[0].clone(), None], "{device}");
            assert_eq!(gradients([false, true]), [None, both[1].clone()], "{device}");
        }
    }
}

/// SwAV's loss takes its targets from the very scores that it moves.
#[test]
fn codes_made_from_the_logits_are_constants() {
    let mut rng = Philox::new(15, Purpose::Test, 0, 0);
    let x = HostTensor::f32([6, 5], (0..30).map(|_| rng.normal()).collect());
    let none = serde_json::Value::Null;
    let of = |pairs: &[(&str, &HostTensor)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(name, t)| (name.to_string(), (*t).clone())).collect()
    };
    let codes = &run("sinkhorn", &none, &of(&[("scores", &x)]), How::default()).unwrap()["assignments"];
    let backward = How { backward: true, ..How::default() };
    let given = of(&[("logits", &x), ("targets", codes)]);
    let want = &run("soft_cross_entropy", &none, &given, backward).unwrap()["d_logits"];

    let mut graph = Graph::new();
    let scores = graph.differentiable_input("scores", x.ty()).unwrap();
    let codes = graph.apply1(Sinkhorn::default(), &[scores]).unwrap();
    let loss = graph.apply1(SoftCrossEntropy::default(), &[scores, codes]).unwrap();
    let upstream = graph.input("upstream", TensorType::f32([1])).unwrap();
    let gradient = graph.differentiate(&[(loss, upstream)]).unwrap().get(scores).unwrap();
    graph.keep(gradient);
    let mut program = Device::Cpu.program(graph).unwrap();
    program.write_f32(scores, x.as_f32().unwrap()).unwrap();
    program.write_f32(upstream, &[1.0]).unwrap();
    program.run_all().unwrap();
    assert_eq!(program.read_f32(gradient).unwrap(), want.as_f32().unwrap());
}

#[test]
fn the_table_is_consistent() {
    for spec in OPS {
        assert!((spec.defaults)().is_object(), "{}", spec.name);
        assert!(!spec.summary.is_empty() && !spec.outputs.is_empty());
        for updated in spec.outputs.iter().filter_map(|o| o.name.strip_prefix("new_")) {
            let given = spec.inputs.iter().find(|o| o.name == updated && o.full && !o.differentiable);
            assert!(given.is_some(), "{} updates `{updated}`, which it does not take", spec.name);
        }
        for case in (spec.cases)() {
            for operand in spec.inputs.iter().filter(|o| !o.optional) {
                let given = case.inputs.iter().find(|(name, ..)| *name == operand.name);
                let (_, ty, _) =
                    given.unwrap_or_else(|| panic!("{}/{}: no {}", spec.name, case.name, operand.name));
                assert_eq!(ty.dtype, operand.dtype);
            }
        }
    }
}

#[test]
fn bad_input_is_an_error_that_names_the_op() {
    let x = |shape: &[usize]| HostTensor::f32(shape, vec![0.5; shape.iter().product()]);
    let fails = |op: &str, params: serde_json::Value, tensors: &[(&str, HostTensor)], say: &str| {
        let inputs = tensors.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        let error = run(op, &params, &inputs, How::default()).expect_err(op).to_string();
        assert!(error.contains(op) && error.contains(say), "`{error}` should name `{op}` and say `{say}`");
    };
    let none = serde_json::json!({});
    fails("linear", none.clone(), &[("x", x(&[2, 3])), ("w", x(&[4, 5]))], "[K,3]");
    fails("linear", none.clone(), &[("x", x(&[2, 3]))], "`w` is missing");
    fails("relu", none.clone(), &[("x", x(&[2])), ("extra", x(&[2]))], "no input `extra`");
    fails("nt_xent", none.clone(), &[("z", x(&[5, 3]))], "two views");
    fails("nt_xent", serde_json::json!({"temperature": 0}), &[("z", x(&[4, 3]))], "temperature");
    fails("nt_xent", serde_json::json!({"temprature": 1}), &[("z", x(&[4, 3]))], "unknown field");
    fails("max_pool", serde_json::json!({"kernel": 9}), &[("x", x(&[1, 4, 4, 1]))], "smaller than kernel");
    fails("add", none.clone(), &[("a", x(&[2, 3])), ("b", x(&[3, 2]))], "must be f32[2, 3]");
    fails("global_avg_pool", none, &[("x", x(&[2, 0, 3, 1]))], "empty");
    let labels = HostTensor::i64([3], vec![0; 3]);
    fails(
        "softmax_cross_entropy",
        serde_json::json!({}),
        &[("logits", x(&[2, 3])), ("labels", labels)],
        "labels",
    );
    let pair = [("logits", x(&[2, 3])), ("targets", x(&[2, 4]))];
    fails("soft_cross_entropy", serde_json::json!({}), &pair, "`targets` must be f32[2, 3]");
    let pair = [("logits", x(&[2, 3])), ("targets", x(&[2, 3]))];
    fails("soft_cross_entropy", serde_json::json!({"temperature": -1}), &pair, "temperature");
    fails("softmax", serde_json::json!({}), &[("x", x(&[2, 3])), ("center", x(&[2]))], "f32[3]");
    fails("softmax", serde_json::json!({"temperature": 0}), &[("x", x(&[2, 3]))], "temperature");
    fails("column_mean", serde_json::json!({}), &[("x", x(&[2]))], "x");
    let pair = [("scores", x(&[2, 3])), ("queue_scores", x(&[5, 4]))];
    fails("sinkhorn", serde_json::json!({}), &pair, "`queue_scores` must be f32[5, 3]");
    fails("sinkhorn", serde_json::json!({"epsilon": 0}), &pair[..1], "epsilon");
    fails("sinkhorn", serde_json::json!({"iterations": 0}), &pair[..1], "iterations");

    let none = serde_json::json!({});
    let pair = |a: &[usize], b: &[usize]| [("a", x(a)), ("b", x(b))];
    let both = serde_json::json!({"transpose_a": true, "transpose_b": true});
    fails("matmul", both, &pair(&[2, 3], &[3, 2]), "b a");
    fails("matmul", none.clone(), &pair(&[2, 3], &[4, 2]), "equal");
    fails("center", none.clone(), &[("x", x(&[0, 3]))], "empty");
    fails("mse_loss", none.clone(), &pair(&[2, 3], &[3, 2]), "must be f32[2, 3]");
    fails("vicreg", none.clone(), &pair(&[1, 3], &[1, 3]), "batch of one");
    fails("barlow_twins", none.clone(), &pair(&[1, 3], &[1, 3]), "batch of one");
    fails("barlow_twins", none.clone(), &pair(&[4, 3], &[4, 2]), "must be f32[4, 3]");
    fails("whiten", none.clone(), &[("x", x(&[5, 5]))], "more than 5");
    fails("weighted_sum", serde_json::json!({"weights": [1.0]}), &pair(&[1], &[1]), "got 2 and 1 weights");
    fails("weighted_sum", serde_json::json!({"weights": [1.0, 1.0]}), &pair(&[1], &[2]), "must be f32[1]");

    fails("rows", serde_json::json!({"from": 2, "to": 5}), &[("x", x(&[4, 3]))], "rows 2..5 of 4");
    fails("rows", serde_json::json!({"from": 2, "to": 2}), &[("x", x(&[4, 3]))], "less than");
    fails("rows", none.clone(), &[("x", x(&[4, 0]))], "empty");
    fails("concat_views", none.clone(), &[("x", x(&[5, 3]))], "divide the rows");
    fails("concat_views", serde_json::json!({"views": 0}), &[("x", x(&[4, 3]))], "at least 1");
    fails("concat_views", none.clone(), &[("x", x(&[0, 3]))], "empty");
    fails("concat", none.clone(), &pair(&[2, 3], &[2, 4]), "must be f32[2, 3]");
    fails("concat", none.clone(), &pair(&[2, 3], &[0, 3]), "empty");
    let turned = |shape, turns: usize| [("x", x(shape)), ("turns", HostTensor::i64([turns], vec![1; turns]))];
    fails("rotate", none.clone(), &turned(&[2, 4, 5, 3], 2), "not square");
    fails("rotate", none.clone(), &turned(&[2, 4, 4, 3], 3), "`turns` must be i64[2]");
    fails("rotate", none.clone(), &turned(&[2, 4, 4, 0], 2), "empty");
    fails("patch_norm", none.clone(), &[("x", x(&[2, 0, 4, 3]))], "empty");
    fails("patch_norm", serde_json::json!({"eps": 0}), &[("x", x(&[2, 4, 4, 3]))], "eps");

    let labelled = |labels| [("logits", x(&[2, 3])), ("labels", HostTensor::i64([2], labels))];
    let classes = "must be from 0 to 2: `logits` is f32[2, 3]";
    fails(
        "softmax_cross_entropy",
        none.clone(),
        &labelled(vec![0, 3]),
        &format!("`labels`[1] is 3, {classes}"),
    );
    fails(
        "softmax_cross_entropy",
        none.clone(),
        &labelled(vec![-1, 0]),
        &format!("`labels`[0] is -1, {classes}"),
    );
    let halves = [("logits", x(&[2, 3])), ("labels", x(&[2]))];
    fails("softmax_cross_entropy", none.clone(), &halves, "`labels`[0] is 0.5, must be a whole number");
    let indexed = |index| [("x", x(&[4, 3])), ("index", HostTensor::i64([2], index))];
    fails(
        "gather",
        none.clone(),
        &indexed(vec![3, 4]),
        "`index`[1] is 4, must be from 0 to 3: `x` is f32[4, 3]",
    );
    fails("gather", none.clone(), &indexed(vec![-1, 0]), "`index`[0] is -1, which cannot be taken as u32");

    // A divisor in f32 also needs an inverse in f32.
    let eps = |eps: f64| serde_json::json!({"eps": eps});
    for (op, tensors) in [
        ("vicreg", &pair(&[4, 3], &[4, 3])[..]),
        ("barlow_twins", &pair(&[4, 3], &[4, 3])),
        ("l2_normalize", &[("x", x(&[4, 3]))]),
        ("batch_norm", &[("x", x(&[4, 3])), ("gamma", x(&[3])), ("beta", x(&[3]))]),
        ("whiten", &[("x", x(&[4, 3]))]),
        ("patch_norm", &[("x", x(&[2, 4, 4, 3]))]),
    ] {
        [-1.0, 1e39].into_iter().for_each(|bad| fails(op, eps(bad), tensors, "eps"));
    }
    let huge = |name: &str| serde_json::json!({ name: 1e39 });
    ["sim", "std", "cov"].into_iter().for_each(|w| fails("vicreg", huge(w), &pair(&[4, 3], &[4, 3]), w));
    ["lambda", "scale"].into_iter().for_each(|w| fails("barlow_twins", huge(w), &pair(&[4, 3], &[4, 3]), w));
    fails("matmul", huge("scale"), &pair(&[4, 3], &[3, 2]), "scale");
    fails("weighted_sum", serde_json::json!({"weights": [1.0, 1e39]}), &pair(&[1], &[1]), "weights");
    fails("nt_xent", serde_json::json!({"temperature": 1e-39}), &[("z", x(&[4, 3]))], "inverse");

    let banked = |index| [("rows", x(&[2, 3])), ("index", HostTensor::i64([2], index)), ("bank", x(&[4, 3]))];
    fails("memory_bank", none.clone(), &banked(vec![0, 4]), "`index`[1] is 4, must be from 0 to 3");
    fails("memory_bank", serde_json::json!({"momentum": 1.5}), &banked(vec![0, 1]), "momentum");
    let queued = [("schedule", x(&[3])), ("rows", x(&[2, 3])), ("queue", x(&[4, 3]))];
    fails("enqueue", none.clone(), &queued, "`schedule` must be f32[2]");
    let followed = [("momentum", x(&[1])), ("value", x(&[2, 3])), ("target", x(&[3, 2]))];
    fails("ema", none.clone(), &followed, "`target` must be f32[2, 3]");
    let step = |schedule: &[usize], names: &[&'static str]| -> Vec<(&str, HostTensor)> {
        let tensors = names.iter().map(|&name| (name, x(&[2, 3])));
        [("schedule", x(schedule))].into_iter().chain(tensors).collect()
    };
    let momentum = ["grad", "param", "momentum"];
    fails("sgd", none.clone(), &step(&[1], &momentum), "`schedule` must be f32[2]");
    fails("sgd", serde_json::json!({"eta": 0.1}), &step(&[2], &momentum), "unknown field `eta`");
    fails("sgd", none.clone(), &step(&[2], &momentum[..2]), "`momentum` is missing");
    fails("lars", huge("eta"), &step(&[2], &momentum), "eta");
    let moments = ["grad", "param", "exp_avg", "exp_avg_sq"];
    fails("adamw", serde_json::json!({"betas": [0.9, 1.0]}), &step(&[2], &moments), "betas");

    let table = [("x", x(&[4, 3])), ("index", HostTensor::i64([2, 1], vec![0; 2]))];
    fails("gather", none, &table, "index");
    let queued = [("q", x(&[4, 3])), ("k", x(&[4, 3])), ("queue", x(&[5, 2]))];
    fails("info_nce", serde_json::json!({}), &queued, "`queue` must be f32[5, 3]");
    fails("info_nce", serde_json::json!({"temperature": 0}), &queued[..2], "temperature");
    fails("info_nce", serde_json::json!({"temperature": -1}), &queued[..2], "temperature");
    fails(
        "info_nce",
        serde_json::json!({}),
        &[("q", x(&[4, 3])), ("k", x(&[3, 3]))],
        "`k` must be f32[4, 3]",
    );
    fails("info_nce", serde_json::json!({}), &[("q", x(&[1, 3])), ("k", x(&[1, 3]))], "no negatives");
    fails("nearest", serde_json::json!({}), &[("z", x(&[4, 3])), ("support", x(&[4, 2]))], "f32[4, 3]");
}
