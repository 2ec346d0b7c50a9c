//! Whole training steps: equal to PyTorch's, the same after a resume, and clear about what goes wrong.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::config::{Config, Facts, Request};
use rusa::data::{self, Dataset, Memory, Options, Split};
use rusa::device::{CpuProgram, Program};
use rusa::graph::Precision;
use rusa::nn::{Encoder, Projector, Stem};
use rusa::optim::Optimizer;
use rusa::ssl::{self, Known, StepSpec};
use rusa::tensor::{HostTensor, Values, read_tensors, write_tensors};
use rusa::train::{Checkpoint, End, RunFolder, StepRecord, Watcher, conclude, load_encoder, pretrain};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// After ten steps, relative: |a − b| / |b| over a whole tensor, and of each loss.
const TOLERANCE: f64 = 1e-4;

fn golden(name: &str) -> BTreeMap<String, HostTensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    read_tensors(&path).unwrap().0
}

/// Torch weights below `prefix`, under our names and in our layout: as a weight file would bring them in.
fn weights(tensors: &BTreeMap<String, HostTensor>, prefix: &str) -> BTreeMap<String, HostTensor> {
    let named: BTreeMap<_, _> = tensors
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone())))
        .collect();
    if named.is_empty() {
        return BTreeMap::new();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    write_tensors(&path, &named, &BTreeMap::new()).unwrap();
    let (state, _) = load_encoder(&path).unwrap();
    state.into_iter().map(|(name, t)| (name.replace("encoder.projector.", "projector."), t)).collect()
}

fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w)));
    difference / norm(&mut want.iter().map(|&w| f64::from(w))).max(1e-12)
}

fn ten_steps_equal_pytorch(file: &str, optimizer: Optimizer) {
    let shared = golden("simclr_10_steps.safetensors");
    let own = golden(file);
    let encoder = Encoder { name: "resnet10".into(), width: 8, stem: Stem::Small };
    let projector = Projector { hidden: 64, out: 32, ..Projector::default() };
    let spec = StepSpec {
        method: ssl::find("simclr").unwrap(),
        encoder: &encoder,
        projector: &projector,
        loss: &toml::from_str("temperature = 0.2").unwrap(),
        augment: &rusa::augment::Policy::default(),
        optimizer: &optimizer,
        batch: 8,
        size: 16,
        channels: 3,
        precision: Precision::F32,
        epoch: 0,
        data: Known::default(),
        images: None,
    };
    let step = spec.record().unwrap();
    let mut program = CpuProgram::new(step.graph);
    program.initialize(0).unwrap();
    let mut state = program.state_dict().unwrap();
    state.extend(weights(&shared, "initial."));
    program.load_state_dict(&state).unwrap();
    program.write_f32(step.seed_gradient, &[1.0]).unwrap();

    let Values::U8(views) = &shared["views"].values else { panic!("views are u8") };
    let (lr, losses) = (own["lr"].as_f32().unwrap(), own["loss"].as_f32().unwrap());
    for (i, views) in views.chunks_exact(16 * 16 * 16 * 3).enumerate() {
        let views: Vec<f32> = views.iter().map(|&v| (f32::from(v) - 128.0) / 64.0).collect();
        program.write_f32(step.feeds.views[0].1, &views).unwrap();
        program.write_f32(step.schedule, &[lr[i], i as f32 + 1.0]).unwrap();
        program.run_all().unwrap();
        let loss = program.read_f32(step.loss).unwrap()[0];
        let error = f64::from((loss - losses[i]).abs() / losses[i]);
        assert!(error <= TOLERANCE, "{file}: loss of step {i} is {loss}, want {}", losses[i]);
    }
    let got = program.state_dict().unwrap();
    for (prefix, ours) in
        [("final.", ""), ("momentum.", "momentum."), ("exp_avg.", "exp_avg."), ("exp_avg_sq.", "exp_avg_sq.")]
    {
        for (name, want) in weights(&own, prefix) {
            let name = format!("{ours}{name}");
            let error = relative_error(got[&name].as_f32().unwrap(), want.as_f32().unwrap());
            assert!(error <= TOLERANCE, "{file}: {name} is off by {error:.2e}");
        }
    }
}

#[test]
fn ten_steps_of_sgd_equal_pytorch() {
    let optimizer = Optimizer { momentum: 0.9, weight_decay: 1e-4, ..Optimizer::default() };
    ten_steps_equal_pytorch("simclr_10_steps.safetensors", optimizer);
}

#[test]
fn ten_steps_of_lars_equal_pytorch() {
    let optimizer = Optimizer { name: "lars".into(), weight_decay: 1e-4, ..Optimizer::default() };
    ten_steps_equal_pytorch("simclr_10_steps_lars.safetensors", optimizer);
}

#[test]
fn ten_steps_of_adamw_equal_pytorch() {
    let optimizer = Optimizer { name: "adamw".into(), weight_decay: 0.01, eps: 1e-4, ..Optimizer::default() };
    ten_steps_equal_pytorch("simclr_10_steps_adamw.safetensors", optimizer);
}

/// The first `n` embedded images to train on, and as many held out.
fn little_data(n: usize) -> Dataset {
    let mut set = data::open(data::EMBEDDED, &Options::default()).unwrap();
    let part = |split: &Split| {
        let mut image = data::Image::default();
        let mut pixels = Vec::new();
        for i in 0..n {
            split.read(i, &mut image).unwrap();
            pixels.extend_from_slice(&image.pixels);
        }
        let labels = split.labels()[..n].iter().map(|&l| l as u8).collect();
        Split::new(Arc::new(Memory::new("little", [28, 28, 1], pixels, labels)), None, 1, set.bad.clone())
    };
    (set.train, set.test) = (part(&set.train), part(&set.test));
    set
}

fn little_config(method: &str, sets: &[&str]) -> Config {
    let flags = format!(
        "method = '{method}'\nepochs = 3\nbatch = 16\n[data]\npath = 'embedded'\n[encoder]\nname = 'resnet10'\nwidth = 4"
    );
    let sets = ["data.size=16", "projector.hidden=16", "projector.out=8", "checkpoint.every_steps=2"]
        .iter()
        .chain(sets)
        .map(|s| s.to_string())
        .collect();
    let request = Request { flags: flags.parse().unwrap(), sets, ..Request::default() };
    request.resolve(Facts { channels: 1, side: Some(28) }).unwrap()
}

/// Stops a run after some steps, as Ctrl-C does, and remembers what it was told.
#[derive(Default)]
struct Spy {
    stop_after: Option<u64>,
    steps: Vec<StepRecord>,
    messages: Vec<String>,
}

impl Watcher for Spy {
    fn step(&mut self, record: &StepRecord, _: u64) {
        self.steps.push(*record);
    }
    fn message(&mut self, text: &str) {
        self.messages.push(text.into());
    }
    fn stop(&self) -> bool {
        self.stop_after.is_some_and(|n| self.steps.len() as u64 >= n)
    }
}

fn steps_in(folder: &RunFolder) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(folder.metrics()).unwrap();
    let records = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    records
        .filter(|r| r["kind"] == "step")
        .map(|r| (r["step"].as_u64().unwrap(), r["loss"].to_string()))
        .collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    let (set, config) = (little_data(64), little_config("simclr", &[]));
    let dir = tempfile::tempdir().unwrap();
    let whole = RunFolder::new(dir.path().join("whole"));
    assert_eq!(pretrain(&config, &set, &whole, &mut Spy::default()).unwrap(), End::Finished);

    let parts = RunFolder::new(dir.path().join("parts"));
    // Mid-epoch, at an epoch's last step, and at its first.
    for n in [2, 2, 1] {
        let mut spy = Spy { stop_after: Some(n), ..Spy::default() };
        assert_eq!(pretrain(&config, &set, &parts, &mut spy).unwrap(), End::Interrupted);
    }
    // Killed: steps were logged after the last checkpoint.
    let checkpoint = std::fs::read(parts.checkpoint()).unwrap();
    let mut spy = Spy { stop_after: Some(1), ..Spy::default() };
    pretrain(&config, &set, &parts, &mut spy).unwrap();
    std::fs::write(parts.checkpoint(), checkpoint).unwrap();
    assert_eq!(pretrain(&config, &set, &parts, &mut Spy::default()).unwrap(), End::Finished);

    let [a, b] = [&whole, &parts].map(|f| Checkpoint::read(&f.checkpoint()).unwrap());
    assert!(a.position.step == 12 && a.position.step == b.position.step);
    assert!(a.tensors == b.tensors, "weights differ after resuming");
    assert_eq!(steps_in(&whole), steps_in(&parts));
}

#[test]
fn a_run_depends_on_its_seed_alone() {
    let set = little_data(32);
    let dir = tempfile::tempdir().unwrap();
    let weights = |name: &str, threads: usize, config: &Config| {
        let folder = RunFolder::new(dir.path().join(name));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pretrain(config, &set, &folder, &mut Spy::default())).unwrap();
        Checkpoint::read(&folder.checkpoint()).unwrap().tensors
    };
    let config = little_config("simclr", &[]);
    let one = weights("one", 1, &config);
    assert!(one == weights("three", 3, &config), "weights depend on the thread count");
    let other = Config { seed: 1, ..config };
    assert!(one != weights("other", 1, &other), "weights do not depend on the seed");
}

#[test]
fn not_a_number_stops_with_step_op_and_checkpoint() {
    let set = little_data(32);
    let config = little_config("simclr", &["optimizer.lr=1e30", "optimizer.warmup_epochs=0"]);
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let error = pretrain(&config, &set, &folder, &mut Spy::default()).unwrap_err().to_string();
    for part in ["step ", "loss is", "NaN or infinity", "checkpoint", "optimizer.lr"] {
        assert!(error.contains(part), "`{error}` should say `{part}`");
    }
}

#[test]
fn similarity_alone_collapses_and_says_so_and_simclr_does_not() {
    let set = little_data(128);
    let dir = tempfile::tempdir().unwrap();
    let run = |method: &str| {
        let config = little_config(method, &["optimizer.lr=1.0", "optimizer.warmup_epochs=0"]);
        let config = Config { epochs: 10, ..config };
        let folder = RunFolder::new(dir.path().join(method));
        folder.write_config(&config).unwrap();
        let mut spy = Spy::default();
        pretrain(&config, &set, &folder, &mut spy).unwrap();
        let summary = conclude(&config, &set, &folder, &mut spy).unwrap();
        (spy, summary, folder)
    };
    let std = |summary: &serde_json::Value| summary["collapse"]["std"].as_f64().unwrap();
    let (spy, summary, _) = run("cosine");
    let collapsed = std(&summary);
    assert!(collapsed < 0.1 / 8f64.sqrt(), "{summary}");
    assert_eq!(summary["collapse"]["verdict"], "collapsed");
    assert!(spy.messages.iter().any(|m| m.contains("COLLAPSED")), "{:?}", spy.messages);

    let (spy, summary, folder) = run("simclr");
    // Six seeds: 0.30 to 0.55 of 1/√d, against 0.014 to 0.024 for similarity alone.
    assert!(std(&summary) > 5.0 * collapsed, "{summary}");
    assert_eq!(summary["collapse"]["verdict"], "healthy");
    assert!(!spy.messages.iter().any(|m| m.contains("COLLAPSED")));
    for key in ["knn_top1", "linear_top1"] {
        for scores in [&summary, &summary["untrained"], &summary["raw_pixels"]] {
            assert!((0.0..=1.0).contains(&scores[key].as_f64().unwrap()), "{key} in {scores}");
        }
    }
    for path in [
        folder.config(),
        folder.metrics(),
        folder.summary(),
        folder.checkpoint(),
        folder.encoder(),
        folder.report(),
    ] {
        assert!(path.exists(), "{}", path.display());
    }
    // The configuration alone repeats the run.
    assert_eq!(Config::read(&folder.config()).unwrap().epochs, 10);
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_stays_as_it_is() {
    let (set, config) = (little_data(32), little_config("simclr", &[]));
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let mut spy = Spy { stop_after: Some(1), ..Spy::default() };
    pretrain(&config, &set, &folder, &mut spy).unwrap();
    let whole = std::fs::read(folder.checkpoint()).unwrap();
    std::fs::write(folder.checkpoint(), &whole[..whole.len() / 2]).unwrap();
    let error = pretrain(&config, &set, &folder, &mut Spy::default()).unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
    assert_eq!(std::fs::read(folder.checkpoint()).unwrap(), whole[..whole.len() / 2]);

    // Another network's checkpoint is refused by name.
    std::fs::write(folder.checkpoint(), &whole).unwrap();
    let wider = little_config("simclr", &["encoder.width=8"]);
    let error = pretrain(&wider, &set, &folder, &mut Spy::default()).unwrap_err().to_string();
    assert!(error.contains("does not fit") && error.contains("encoder."), "{error}");
}
