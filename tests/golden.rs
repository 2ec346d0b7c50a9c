//! Every op on the vectors that PyTorch made: `tests/golden/ops/*.safetensors`, described in `tests/golden/README.md`.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::ops::run::{How, run};
use rusa::ops::table::OPS;
use rusa::tensor::{HostTensor, read_tensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What an error is a share of.
#[derive(Clone, Copy)]
enum Scale {
    /// The tensor's largest value.
    Tensor,
    /// The largest value in the same row of \[N,D\].
    Row,
    /// The file's own.
    Of(f64),
}
use Scale::*;

/// Op, tensor, scale, largest error allowed.
///
/// Some 10 % above the worst that AVX2 and portable code give; 0 where nothing is rounded.
const TOLERANCES: &[(&str, &str, Scale, f64)] = &[
    ("adamw", "new_exp_avg", Tensor, 6.8e-8),
    ("adamw", "new_exp_avg_sq", Tensor, 1.13e-7),
    ("adamw", "new_param", Tensor, 7.8e-8),
    ("add", "y", Tensor, 0.0),
    ("add", "d_a", Tensor, 0.0),
    ("add", "d_b", Tensor, 0.0),
    ("barlow_twins", "d_a", Tensor, 9.3e-7),
    ("barlow_twins", "d_b", Tensor, 2.5e-6),
    ("barlow_twins", "loss", Tensor, 3.4e-7),
    ("batch_norm", "d_beta", Tensor, 4e-7),
    ("batch_norm", "d_gamma", Tensor, 3.5e-6),
    ("batch_norm", "d_residual", Tensor, 0.0),
    ("batch_norm", "d_x", Tensor, 7e-7),
    ("batch_norm", "mean", Tensor, 4e-7),
    ("batch_norm", "var", Tensor, 1.2e-6),
    ("batch_norm", "y", Tensor, 3.7e-6),
    ("center", "d_x", Tensor, 3.2e-8),
    ("center", "y", Tensor, 2.3e-8),
    ("column_mean", "d_x", Tensor, 7e-8),
    ("column_mean", "y", Tensor, 6e-8),
    ("concat", "d_a", Tensor, 0.0),
    ("concat", "d_b", Tensor, 0.0),
    ("concat", "y", Tensor, 0.0),
    ("concat_views", "d_x", Tensor, 0.0),
    ("concat_views", "y", Tensor, 0.0),
    ("conv2d", "d_w", Tensor, 8e-7),
    ("conv2d", "d_x", Tensor, 1.8e-6),
    ("conv2d", "y", Tensor, 1.8e-6),
    ("cosine_loss", "d_p", Row, 2.5e-7),
    ("cosine_loss", "d_z", Row, 2.5e-7),
    ("cosine_loss", "loss", Tensor, 1.5e-7),
    ("ema", "new_target", Tensor, 1.1e-7),
    ("enqueue", "new_queue", Tensor, 0.0),
    ("gather", "y", Tensor, 0.0),
    ("global_avg_pool", "d_x", Tensor, 1.2e-7),
    ("global_avg_pool", "y", Tensor, 1.2e-7),
    ("info_nce", "d_k", Row, 5.9e-6),
    ("info_nce", "d_q", Row, 4.6e-6),
    ("info_nce", "loss", Tensor, 3.4e-7),
    ("l2_normalize", "d_x", Row, 2e-7),
    ("l2_normalize", "y", Row, 1.5e-7),
    ("lars", "new_momentum", Tensor, 1.13e-7),
    ("lars", "new_param", Tensor, 9.2e-8),
    ("linear", "d_b", Tensor, 1.5e-7),
    ("linear", "d_w", Tensor, 2.5e-7),
    ("linear", "d_x", Tensor, 3e-7),
    ("linear", "y", Tensor, 5e-7),
    ("matmul", "c", Tensor, 1.6e-7),
    ("matmul", "d_a", Tensor, 1e-7),
    ("matmul", "d_b", Tensor, 1.1e-7),
    ("max_pool", "d_x", Tensor, 1e-7),
    ("max_pool", "y", Tensor, 0.0),
    ("memory_bank", "new_bank", Row, 1.1e-7),
    ("mse_loss", "d_a", Tensor, 6.6e-8),
    ("mse_loss", "d_b", Tensor, 6.6e-8),
    ("mse_loss", "loss", Tensor, 6e-8),
    ("nearest", "y", Tensor, 0.0),
    ("nt_xent", "d_z", Tensor, 1.4e-6),
    ("nt_xent", "loss", Tensor, 2.5e-7),
    ("patch_norm", "y", Tensor, 6e-8),
    ("relu", "d_x", Tensor, 0.0),
    ("relu", "y", Tensor, 0.0),
    ("rotate", "y", Tensor, 0.0),
    ("rows", "d_x", Tensor, 0.0),
    ("rows", "y", Tensor, 0.0),
    ("sgd", "new_momentum", Tensor, 8.7e-8),
    ("sgd", "new_param", Tensor, 8.8e-8),
    ("sinkhorn", "assignments", Row, 1.15e-6),
    ("soft_cross_entropy", "d_logits", Row, 4.6e-7),
    ("soft_cross_entropy", "loss", Tensor, 1.6e-7),
    ("softmax", "d_x", Row, 5e-7),
    ("softmax", "p", Row, 4.8e-7),
    ("softmax_cross_entropy", "d_logits", Row, 2e-6),
    ("softmax_cross_entropy", "loss", Tensor, 1e-7),
    ("unit_rows", "new_weight", Row, 9e-8),
    ("vicreg", "d_a", Tensor, 1.4e-7),
    ("vicreg", "d_b", Tensor, 9.7e-8),
    ("vicreg", "loss", Tensor, 6.9e-8),
    ("weighted_sum", "d_a", Tensor, 0.0),
    ("weighted_sum", "d_b", Tensor, 0.0),
    ("weighted_sum", "d_c", Tensor, 0.0),
    ("weighted_sum", "loss", Tensor, 1e-7),
    ("when_finite", "y", Tensor, 0.0),
    ("whiten", "d_x", Tensor, 3e-7),
    ("whiten", "y", Tensor, 2.8e-7),
];

/// The file's op and case, what to give to the op and what to get.
struct Golden {
    case: String,
    op: String,
    params: Value,
    given: BTreeMap<String, HostTensor>,
    wanted: BTreeMap<String, HostTensor>,
    /// Where results are what cancellation leaves: the size of what cancels, by tensor.
    scales: BTreeMap<String, f64>,
}

impl Golden {
    fn read(path: &Path) -> Self {
        let (tensors, metadata) = read_tensors(path).unwrap();
        let names = |key: &str| -> BTreeSet<String> { serde_json::from_str(&metadata[key]).unwrap() };
        let (inputs, outputs) = (names("inputs"), names("outputs"));
        let is_given = |name: &str| {
            inputs.contains(name) || name.strip_prefix("d_").is_some_and(|output| outputs.contains(output))
        };
        let (given, wanted) = tensors.into_iter().partition(|(name, _)| is_given(name));
        Self {
            case: path.file_stem().unwrap().to_string_lossy().replacen("__", "/", 1),
            op: metadata["op"].clone(),
            params: serde_json::from_str(&metadata["params"]).unwrap(),
            given,
            wanted,
            scales: metadata
                .get("scales")
                .map_or(BTreeMap::new(), |text| serde_json::from_str(text).unwrap()),
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ops");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn tolerance(op: &str, tensor: &str) -> (Scale, f64) {
    TOLERANCES
        .iter()
        .find(|(of, name, ..)| *of == op && *name == tensor)
        .map(|&(_, _, scale, tolerance)| (scale, tolerance))
        .unwrap_or_else(|| panic!("no tolerance for {op}'s {tensor}"))
}

/// Index and error of the worst element; infinite where a value is not finite.
fn worst(got: &[f32], want: &[f32], shape: &[usize], scale: Scale) -> (usize, f64) {
    let largest = |values: &[f32]| values.iter().fold(0.0, |m: f64, &v| m.max(f64::from(v.abs())));
    let row = if let [_, d] = shape { *d } else { want.len() };
    let mut worst = (0, 0.0);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let scale = match scale {
            Tensor => largest(want),
            Row => largest(&want[i / row * row..][..row]),
            Of(size) => size,
        };
        let off = (f64::from(g) - f64::from(w)).abs();
        let error = match off {
            0.0 => 0.0,
            _ if !off.is_finite() => f64::INFINITY,
            _ => off / scale,
        };
        if error > worst.1 {
            worst = (i, error);
        }
    }
    worst
}

/// Every way in which a case differs from PyTorch's, and the largest error of each tensor as a share of its tolerance.
fn check(golden: &Golden, problems: &mut Vec<String>, used: &mut BTreeMap<String, f64>) {
    // Without a gradient of an output the op has none to give.
    let backward = golden.given.keys().any(|name| name.starts_with("d_"));
    let got = match run(&golden.op, &golden.params, &golden.given, How { backward, ..How::default() }) {
        Ok(got) => got,
        Err(e) => return problems.push(format!("{}: {e}", golden.case)),
    };
    for (name, want) in &golden.wanted {
        let what = format!("{} {name}", golden.case);
        let Some(got) = got.get(name) else {
            problems.push(format!("{what}: missing"));
            continue;
        };
        if got.shape != want.shape {
            problems.push(format!("{what}: has shape {:?}, want {:?}", got.shape, want.shape));
            continue;
        }
        let (mut scale, tolerance) = tolerance(&golden.op, name);
        if let Some(&given) = golden.scales.get(name) {
            scale = Of(given);
        }
        let (got, values) = (got.as_f32().unwrap(), want.as_f32().unwrap());
        let (i, error) = worst(got, values, &want.shape, scale);
        let share = used.entry(format!("{} {name}", golden.op)).or_default();
        *share = share.max(error / tolerance);
        if !(error <= tolerance) {
            let (got, want) = (got[i], values[i]);
            problems
                .push(format!("{what}[{i}]: got {got}, want {want}, off by {error:.2e} > {tolerance:.0e}"));
        }
    }
}

#[test]
fn ops_equal_pytorch() {
    let (mut problems, mut used) = (Vec::new(), BTreeMap::new());
    for path in files() {
        check(&Golden::read(&path), &mut problems, &mut used);
    }
    // Seen with --nocapture: how much of each tolerance is used.
    used.iter().for_each(|(tensor, share)| println!("{share:5.2} {tensor}"));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// `augment` has vectors of its own, against torchvision.
#[test]
fn every_op_has_golden_files() {
    let covered: BTreeSet<String> = files().iter().map(|path| Golden::read(path).op).collect();
    for spec in OPS.iter().filter(|spec| spec.name != "augment") {
        assert!(
            covered.contains(spec.name),
            "no golden file for `{}`: add one to tests/golden/ops.py",
            spec.name
        );
    }
}

#[test]
fn nan_is_never_close() {
    let (i, error) = worst(&[1.0, f32::NAN], &[1.0, 2.0], &[2], Tensor);
    assert!(i == 1 && !(error <= 1e9));
    let (i, error) = worst(&[1.0, f32::INFINITY], &[1.0, f32::INFINITY], &[2], Tensor);
    assert!(i == 1 && !(error <= 1e9));
}
