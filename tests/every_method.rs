//! Every method trains, on every device: the same losses on the PTX machine as on the CPU engine, a bitwise resume, and
//! settings that cannot work named before anything runs.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::config::{Config, Facts, Request};
use rusa::data::{self, Dataset, Options};
use rusa::device::Device;
use rusa::ssl::METHODS;
use rusa::tensor::HostTensor;
use rusa::train::{Checkpoint, End, EpochRecord, RunFolder, StepRecord, Watcher, conclude, pretrain};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Pictures of the set, 11×11.
const PICTURES: usize = 40;
const SIDE: u32 = 11;

/// Noise in two folders, with hashtags and places beside it.
fn pictures(dir: &Path) -> Dataset {
    let (mut tags, mut places) = (String::from("file,tags\n"), String::from("file,latitude,longitude\n"));
    for i in 0..PICTURES {
        let class = ["cat", "dog"][i % 2];
        std::fs::create_dir_all(dir.join(class)).unwrap();
        let file = format!("{class}/{i:02}.png");
        let noise = |x: u32, y: u32| {
            let z = (x * 7 + y * 131 + i as u32 * 1009).wrapping_mul(2_654_435_761);
            image::Rgb([(z >> 24) as u8, (z >> 16) as u8, (z >> 9) as u8])
        };
        image::RgbImage::from_fn(SIDE, SIDE, noise).save(dir.join(&file)).unwrap();
        writeln!(tags, "{file},#{class} #{}", ["pet", "cute", "home"][i % 3]).unwrap();
        writeln!(places, "{file},{},{}", 10 + i % 2 * 30, 5 + i % 2 * 100).unwrap();
    }
    std::fs::write(dir.join("hashtags.csv"), tags).unwrap();
    std::fs::write(dir.join("gps.csv"), places).unwrap();
    data::open(dir.to_str().unwrap(), &Options::default()).unwrap()
}

/// What a small run of `method` is: 8 images a step, some 4 steps an epoch.
fn config(
    data: &Dataset,
    method: &str,
    device: &str,
    precision: &str,
    more: &[&str],
) -> rusa::Result<Config> {
    let mut sets: Vec<String> =
        ["encoder.width=4", "projector.hidden=12", "projector.out=6", "data.size=10", "optimizer.lr=0.5"]
            .map(String::from)
            .to_vec();
    let own: &[&str] = match method {
        "moco-v2" | "nnclr" => &["loss.queue=20"],
        "swav" => &[
            "loss.prototypes=5",
            "loss.queue=16",
            "loss.queue_from=1",
            "loss.freeze=1",
            "loss.local_crops=1",
        ],
        "dino" => &["loss.prototypes=9", "loss.local_crops=1", "loss.freeze=1"],
        "deepcluster-v2" => &["loss.prototypes=[3,5]"],
        "jigsaw" => &["loss.permutations=12", "loss.hidden=8"],
        "relative-position" => &["loss.hidden=8"],
        "pirl" => &["loss.permutations=12"],
        _ => &[],
    };
    sets.extend(own.iter().chain(more).map(|s| s.to_string()));
    let flags = format!(
        "method = '{method}'\nbatch = 8\nepochs = 2\nseed = 3\ndevice = '{device}'\nprecision = '{precision}'\n\
         [encoder]\nname = 'resnet10'\n[data]\npath = '{}'\n",
        data.path
    );
    let request = Request { preset: None, file: Default::default(), flags: flags.parse().unwrap(), sets };
    request.resolve(Facts::of(data))
}

/// Stops after some steps, and keeps the losses.
struct Until {
    steps: u64,
    losses: Vec<f32>,
}

impl Watcher for Until {
    fn step(&mut self, record: &StepRecord, _: u64) {
        self.losses.push(record.loss);
    }
    fn epoch(&mut self, _: &EpochRecord, _: usize) {}
    fn stop(&self) -> bool {
        self.losses.len() as u64 >= self.steps
    }
}

/// Losses and what is left after `steps` steps, broken off and resumed behind each of `breaks`.
fn train(
    config: &Config,
    data: &Dataset,
    steps: u64,
    breaks: &[u64],
) -> (Vec<f32>, BTreeMap<String, HostTensor>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    folder.write_config(config).unwrap();
    let (mut losses, mut done) = (Vec::new(), 0);
    for &until in breaks.iter().chain([&steps]) {
        let mut watch = Until { steps: until - done, losses: Vec::new() };
        assert_eq!(
            pretrain(config, data, &folder, &mut watch).unwrap(),
            End::Interrupted,
            "{}",
            config.method
        );
        losses.append(&mut watch.losses);
        done = until;
    }
    (losses, Checkpoint::read(&folder.checkpoint()).unwrap().tensors)
}

fn trains_and_resumes_bit_for_bit(device: &str) {
    if skipped(device) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    for method in METHODS {
        let config = config(&data, method.name, device, "f32", &[]).unwrap();
        // Two epochs of four steps (five where pictures are held out otherwise): the second one's first steps are in it.
        let (losses, whole) = train(&config, &data, 6, &[]);
        assert!(losses.iter().all(|l| l.is_finite()), "{}: {losses:?}", method.name);
        let (again, resumed) = train(&config, &data, 6, &[2, 5]);
        assert_eq!(losses, again, "{}", method.name);
        for (name, tensor) in &whole {
            assert!(
                tensor.bytes() == resumed[name].bytes(),
                "{}: {name} differs after a resume",
                method.name
            );
        }
        assert_eq!(whole.len(), resumed.len());
    }
}

#[test]
fn every_method_trains_and_resumes_bit_for_bit() {
    trains_and_resumes_bit_for_bit("cpu");
}

/// There the first steps are launched singly and later ones as a CUDA graph: two ways to the same bits.
#[test]
fn every_method_on_a_gpu_resumes_bit_for_bit() {
    trains_and_resumes_bit_for_bit("cuda");
}

/// Whether the device is not here, and a line that says so.
fn skipped(device: &str) -> bool {
    let missing = Device::parse(device).err();
    if let Some(why) = &missing {
        println!("SKIPPED every method on {device}: {why}");
    }
    missing.is_some()
}

/// Two steps: the second sees what the first left in weights, teachers, queues, banks and centres. The first tolerance is
/// for methods that choose (a nearest neighbour, a cluster): where two are all but equally near, rounding decides.
fn follows_the_cpu(device: &str, precision: &str, [choosing, smooth]: [f32; 2]) {
    if skipped(device) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    let mut off = Vec::new();
    for method in METHODS {
        let run = |device: &str, precision: &str| {
            // Statistics over few rows, and long steps along their gradients, would magnify bf16's rounding.
            let more = ["batch=32", "projector.out=4", "optimizer.lr=0.01"];
            train(&config(&data, method.name, device, precision, &more).unwrap(), &data, 2, &[]).0
        };
        let (want, got) = (run("cpu", "f32"), run(device, precision));
        for (step, (want, got)) in want.iter().zip(&got).enumerate() {
            let error = (want - got).abs() / want.abs().max(1.0);
            let tolerance =
                if ["nnclr", "deepcluster-v2"].contains(&method.name) { choosing } else { smooth };
            off.push((
                error / tolerance,
                format!("{} step {step}: {got} for {want}, off by {error:.1e}", method.name),
            ));
        }
    }
    off.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{device}, {precision}, worst first: {:#?}",
        off.iter().take(6).map(|o| &o.1).collect::<Vec<_>>()
    );
    assert!(off.iter().all(|o| o.0 <= 1.0), "{device}, {precision}: {}", off[0].1);
}

const F32: [f32; 2] = [2e-5, 2e-5];
const BF16: [f32; 2] = [5.2e-2, 2.1e-2];

#[test]
fn every_method_on_the_vm_in_f32() {
    follows_the_cpu("vm", "f32", F32);
}

#[test]
fn every_method_on_the_vm_in_bf16() {
    follows_the_cpu("vm", "bf16", BF16);
}

#[test]
fn every_method_on_a_gpu_in_f32() {
    follows_the_cpu("cuda", "f32", F32);
}

#[test]
fn every_method_on_a_gpu_in_bf16() {
    follows_the_cpu("cuda", "bf16", BF16);
}

/// A moving average of unit rows is shorter than one.
#[test]
fn prototypes_of_dinos_teacher_stay_at_unit_length() {
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    let more = ["loss.freeze=0", "loss.momentum=0.5"];
    let (_, state) = train(&config(&data, "dino", "cpu", "f32", &more).unwrap(), &data, 3, &[]);
    let teacher = &state["teacher.prototypes.weight"];
    assert_ne!(teacher.bytes(), state["prototypes.weight"].bytes());
    let d = teacher.shape[1];
    for row in teacher.as_f32().unwrap().chunks_exact(d) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    let fails = |method: &str, set: &str, words: &str| {
        let error = match config(&data, method, "cpu", "f32", &[set]) {
            Err(error) => error,
            Ok(config) => {
                let dir = tempfile::tempdir().unwrap();
                let mut watch = Until { steps: 1, losses: Vec::new() };
                pretrain(&config, &data, &RunFolder::new(dir.path()), &mut watch).unwrap_err()
            }
        };
        let error = error.to_string();
        assert!(error.contains(words), "{method} {set}: {error}");
    };
    fails("simclr", "loss.temperature=0", "loss.temperature");
    fails("moco-v2", "loss.temperature=-1", "loss.temperature");
    fails("moco-v2", "loss.queue=0", "loss.queue");
    fails("moco-v2", "loss.momentum=1.5", "loss.momentum");
    fails("simclr", "loss.queue=5", "queue");
    fails("swav", "loss.epsilon=0", "loss.epsilon");
    fails("swav", "loss.prototypes=0", "loss.prototypes");
    fails("swav", "loss.local_scale=[0.5,0.1]", "loss.local_scale");
    fails("dino", "loss.teacher_temperature=0", "loss.teacher_temperature");
    fails("deepcluster-v2", "loss.prototypes=[1000]", "loss.prototypes");
    fails("w-mse", "loss.slice=3", "loss.slice");
    fails("w-mse", "projector.out=16", "loss.slice");
    fails("w-mse", "loss.eps=7", "loss.eps");
    fails("barlow-twins", "loss.lambda=nan", "loss.lambda");
    fails("vicreg", "loss.sim=-1", "loss.sim");
    fails("vicreg", "loss.std=nan", "loss.std");
    fails("vicreg", "loss.cov=inf", "loss.cov");
    fails("byol", "loss.scale=0", "loss.scale");
    fails("byol", "loss.predictor_hidden=0", "loss.predictor_hidden");
    fails("jigsaw", "loss.permutations=1", "loss.permutations");
    fails("jigsaw", "loss.tile.gap=1.0", "loss.tile.gap");
    fails("pirl", "loss.lambda=2", "loss.lambda");
    fails("pirl", "loss.negatives=0", "must be at least 1");
    fails("pirl", "loss.transform='flip'", "flip");
    fails("hashtag", "data.sidecar='nowhere.csv'", "nowhere.csv");
}

/// Both measure a run with the same code: what its summary says, `diagnose` says again.
#[test]
fn a_summary_and_diagnose_have_one_verdict() {
    let (pictures_in, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = pictures(pictures_in.path());
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    for (method, has) in [
        ("euclidean", ["", ""]),
        ("simclr", ["", "loss"]),
        ("dino", ["prototypes", "loss"]),
        ("deepcluster-v2", ["prototypes", "loss"]),
    ] {
        let config = config(&data, method, "cpu", "f32", &[]).unwrap();
        let folder = RunFolder::new(runs.path().join(method));
        folder.write_config(&config).unwrap();
        let mut watch = Until { steps: u64::MAX, losses: Vec::new() };
        assert_eq!(pretrain(&config, &data, &folder, &mut watch).unwrap(), End::Finished);
        conclude(&config, &data, &folder, &mut watch).unwrap();
        let summary = read(&folder.summary());
        assert!(summary["verdicts"][0]["state"].is_string(), "{summary}");
        let out = folder.root().join("diagnostics.json");
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_rusa"))
            .arg("diagnose")
            .arg(folder.root())
            .args(["--data", &data.path, "--json"])
            .arg(&out)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let again = &read(&out)["diagnostics"]["collapse"];
        for (ours, theirs) in [
            ("verdicts", &summary["verdicts"]),
            ("prototypes", &summary["prototypes"]),
            ("loss", &summary["loss_beside_chance"]),
            ("std", &summary["collapse"]["std"]),
            ("alignment", &summary["collapse"]["alignment"]),
        ] {
            assert_eq!(&again[ours], theirs, "{method}: {ours}");
            let optional = ["prototypes", "loss"].contains(&ours);
            assert_eq!(theirs.is_null(), optional && !has.contains(&ours), "{method}: {ours}");
        }
    }
}
