//! Every op of the table on every case: values against the f64 reference, gradients against its finite differences.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::ops::run::{How, run};
use rusa::ops::table::{Case, Fill, OPS, OpSpec, Tensor64, Tensors};
use rusa::rng::{Philox, Purpose};
use rusa::tensor::{HostTensor, Values};
use std::collections::BTreeMap;

/// Largest error allowed, as a share of the output's largest value: fp32 sums of some thousand terms.
const TOLERANCE: f64 = 2e-5;
/// The same for gradients, whose reference is itself a difference quotient.
const GRADIENT_TOLERANCE: f64 = 5e-5;
/// Elements of each input whose derivative is checked.
const PROBES: usize = 40;

fn fill(case: &Case) -> BTreeMap<String, HostTensor> {
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
            Fill::Pixels => HostTensor {
                shape: ty.shape.clone(),
                values: Values::U8((0..n).map(|_| rng.next_u32() as u8).collect()),
            },
            Fill::Given(values) => HostTensor::f32(ty.shape.clone(), values(n)),
        };
        tensors.insert(name.to_string(), tensor);
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

fn check(spec: &OpSpec, case: &Case) {
    let what = format!("{}/{}", spec.name, case.name);
    let mut inputs = fill(case);
    let exact: BTreeMap<String, Tensor64> = inputs.iter().map(|(k, v)| (k.clone(), double(v))).collect();
    let want = reference(spec, case, &exact);

    // A random upstream gradient for every output that takes one.
    let mut weights = Vec::new();
    for (i, (output, value)) in
        spec.outputs.iter().zip(&want).enumerate().filter(|(_, (o, _))| o.differentiable)
    {
        let mut rng = Philox::new(12, Purpose::Test, i as u32, 0);
        let d: Vec<f32> = value.data.iter().map(|_| rng.normal()).collect();
        inputs.insert(format!("d_{}", output.name), HostTensor::f32(value.shape.clone(), d.clone()));
        weights.push((i, d));
    }
    let got = run(spec.name, &case.params, &inputs, How { backward: !weights.is_empty(), ..How::default() })
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    for (output, want) in spec.outputs.iter().zip(&want) {
        let name = format!("{what} {}", output.name);
        assert_eq!(got[output.name].shape, want.shape, "{name}: shape");
        assert_close(&name, got[output.name].as_f32().unwrap(), &want.data, TOLERANCE);
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
        assert_close(&format!("{what} d_{}", operand.name), &got, &want, GRADIENT_TOLERANCE);
    }
}

#[test]
fn every_op_equals_its_reference_and_its_finite_differences() {
    for spec in OPS {
        let cases = (spec.cases)();
        let tested: Vec<_> = cases.iter().filter(|c| !c.bench_only).collect();
        assert!(!tested.is_empty(), "{} has no case to test", spec.name);
        tested.iter().for_each(|case| check(spec, case));
    }
}

#[test]
fn results_do_not_depend_on_the_thread_count() {
    for spec in OPS {
        for case in (spec.cases)().iter().filter(|c| !c.bench_only) {
            let inputs = fill(case);
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(spec.name, &case.params, &inputs, How::default()).unwrap())
            };
            assert_eq!(on(1), on(3), "{}/{}", spec.name, case.name);
        }
    }
}

#[test]
fn the_table_is_consistent() {
    for spec in OPS {
        assert!((spec.defaults)().is_object(), "{}", spec.name);
        assert!(!spec.summary.is_empty() && !spec.outputs.is_empty());
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
}
