//! Ten training steps of each method follow lightly's modules in PyTorch (tests/golden/methods_10_steps.py).

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::device::{CpuProgram, Program};
use rusa::graph::Precision;
use rusa::nn::{Encoder, Projector, Stem};
use rusa::optim::Optimizer;
use rusa::ssl::{self, Known, StepSpec};
use rusa::tensor::{HostTensor, Values, read_tensors, write_tensors};
use rusa::train::load_encoder;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// After ten steps: |a − b| / |b| over a whole tensor. PyTorch with noise of 3e-7 in every layer stays below 6.1e-5.
const STATE: f64 = 2e-4;
/// Of each loss: |a − b| / max(1, |b|). With that noise below 7e-6.
const LOSS: f64 = 5e-5;

const BATCH: usize = 8;
const SIZE: usize = 16;
const CHANNELS: usize = 3;

type Tensors = BTreeMap<String, HostTensor>;

fn golden(name: &str) -> (Tensors, BTreeMap<String, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    read_tensors(&path).unwrap()
}

/// The tensors below `prefix`, convolutions in our layout: as a weight file would bring them in.
fn below(tensors: &Tensors, prefix: &str) -> Tensors {
    let named: Tensors = tensors
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone())))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    write_tensors(&path, &named, &BTreeMap::new()).unwrap();
    let (state, _) = load_encoder(&path).unwrap();
    state.into_iter().map(|(name, t)| (name.strip_prefix("encoder.").unwrap().to_string(), t)).collect()
}

fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w)));
    difference / norm(&mut want.iter().map(|&w| f64::from(w))).max(1e-12)
}

fn ten_steps_equal_lightly(file: &str) {
    let (shared, _) = golden("simclr_10_steps.safetensors");
    let (own, about) = golden(&format!("{file}_10_steps.safetensors"));
    fn setting<T: DeserializeOwned>(about: &BTreeMap<String, String>, key: &str) -> T {
        serde_json::from_str(&about[key]).unwrap()
    }
    let projector: Projector = setting(&about, "projector");
    let optimizer: Optimizer = setting(&about, "optimizer");
    let method = ssl::find(&about["method"]).unwrap();
    let spec = StepSpec {
        method,
        encoder: &Encoder { name: "resnet10".into(), width: 8, stem: Stem::Small },
        projector: &projector,
        loss: &method.settings(&setting(&about, "loss")).unwrap(),
        augment: &rusa::augment::Policy::default(),
        optimizer: &optimizer,
        batch: BATCH,
        size: SIZE,
        channels: CHANNELS,
        precision: Precision::F32,
        epoch: 0,
        data: Known::default(),
        images: None,
    };
    let step = spec.record().unwrap();
    let mut program = CpuProgram::new(step.graph);
    program.initialize(0).unwrap();
    let mut state = program.state_dict().unwrap();
    let mut initial = below(&shared, "initial.");
    initial.retain(|name, _| !name.starts_with("projector."));
    initial = initial.into_iter().map(|(name, t)| (format!("encoder.{name}"), t)).collect();
    initial.extend(below(&own, "initial."));
    for (name, tensor) in &initial {
        for name in [name.clone(), format!("teacher.{name}")] {
            if let Some(slot) = state.get_mut(&name) {
                *slot = tensor.clone();
            }
        }
    }
    program.load_state_dict(&state).unwrap();
    program.write_f32(step.seed_gradient, &[1.0]).unwrap();

    let Values::U8(views) = &shared["views"].values else { panic!("views are u8") };
    let Values::I64(roll) = &own["roll"].values else { panic!("turns are i64") };

    let (lr, losses) = (own["lr"].as_f32().unwrap(), own["loss"].as_f32().unwrap());
    let view = SIZE * SIZE * CHANNELS;
    let mut worst = 0f64;
    for (i, pair) in views.chunks_exact(2 * BATCH * view).enumerate() {
        let mut pixels: Vec<f32> = pair.iter().map(|&v| (f32::from(v) - 128.0) / 64.0).collect();
        pixels.chunks_exact_mut(view).for_each(|v| v.rotate_right(CHANNELS * roll[i] as usize));
        for (views, input) in &step.feeds.views {
            let rows = views.start * BATCH * view..views.end * BATCH * view;
            program.write_f32(*input, &pixels[rows]).unwrap();
        }
        for (input, _) in &step.feeds.ramps {
            program.write_f32(*input, &own["momentum"].as_f32().unwrap()[i + 1..i + 2]).unwrap();
        }
        // Theirs has one learning rate for all.
        for schedule in std::iter::once(step.schedule).chain(step.feeds.held_schedule) {
            program.write_f32(schedule, &[lr[i], i as f32 + 1.0]).unwrap();
        }
        program.run_all().unwrap();
        let loss = program.read_f32(step.loss).unwrap()[0];
        let error = f64::from((loss - losses[i]).abs() / losses[i].abs().max(1.0));
        assert!(error <= LOSS, "{file}: loss of step {i} is {loss}, want {}", losses[i]);
        worst = worst.max(error);
    }
    let got = program.state_dict().unwrap();
    let want = below(&own, "final.");
    let names: BTreeSet<_> = got.keys().filter(|name| !name.starts_with("momentum.")).collect();
    assert_eq!(names, want.keys().collect(), "{file}: states");
    let mut errors = Vec::new();
    for (name, want) in &want {
        let error = relative_error(got[name].as_f32().unwrap(), want.as_f32().unwrap());
        assert!(error <= STATE, "{file}: {name} is off by {error:.2e}");
        errors.push((error, name));
    }
    let (state, name) = errors.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("{file}: losses off by {worst:.1e}, states by up to {state:.1e} ({name})");
}

#[test]
fn ten_steps_of_moco_v2_equal_lightly() {
    ten_steps_equal_lightly("moco_v2");
}

#[test]
fn ten_steps_of_symmetric_moco_v2_equal_lightly() {
    ten_steps_equal_lightly("moco_v2_plus");
}

#[test]
fn ten_steps_of_byol_equal_lightly() {
    ten_steps_equal_lightly("byol");
}

#[test]
fn ten_steps_of_simsiam_equal_lightly() {
    ten_steps_equal_lightly("simsiam");
}

#[test]
fn ten_steps_of_barlow_twins_equal_lightly() {
    ten_steps_equal_lightly("barlow_twins");
}

#[test]
fn ten_steps_of_vicreg_equal_lightly() {
    ten_steps_equal_lightly("vicreg");
}

#[test]
fn ten_steps_of_swav_equal_lightly() {
    ten_steps_equal_lightly("swav");
}
