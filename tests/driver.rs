//! The CUDA device without a GPU: the program runs on [`driver/lib.rs`](driver/lib.rs), NVIDIA's driver as played by the
//! PTX machine, and must do what it does on the machine itself, whenever the driver chooses to do what it was asked.

use rusa::kernels::COMPILER;
use rusa::tensor::{HostTensor, read_tensors, write_tensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Where the program finds the driver. None in a build without kernels.
fn driver() -> Option<TempDir> {
    COMPILER?;
    let built = Path::new(env!("CARGO_BIN_EXE_rusa")).with_file_name("examples").join("libdriver.so");
    assert!(built.exists(), "{}: `cargo build --release --example driver` makes it", built.display());
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&built, dir.path().join("libcuda.so")).unwrap();
    Some(dir)
}

/// Runs `rusa` with the driver in reach, where one is given.
fn rusa(driver: Option<&TempDir>, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rusa"));
    if let Some(driver) = driver {
        command.env("LD_LIBRARY_PATH", driver.path());
    }
    command.envs(environment.iter().copied()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "\n")
}

/// A short run: its losses as they stand in its log, and all that its checkpoint holds.
#[derive(Debug, PartialEq)]
struct Short {
    losses: Vec<String>,
    tensors: BTreeMap<String, HostTensor>,
}

const STEPS: usize = 4;

fn arguments<'a>(out: &'a str, device: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["pretrain", "--data", "embedded", "--steps", "4", "--out", out, "--device", device];
    for setting in ["encoder.width=8", "data.size=8", "projector.hidden=16", "projector.out=8"] {
        all.extend(["--set", setting]);
    }
    // The batch's pixels are more than go straight into the stream of the kernels.
    all.extend(["--encoder", "resnet10", "--batch", "24", "--overwrite"]);
    all.extend(more);
    all
}

fn train(driver: Option<&TempDir>, environment: &[(&str, &str)], device: &str, more: &[&str]) -> Short {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let done = rusa(driver, environment, &arguments(out.to_str().unwrap(), device, more));
    assert!(done.status.success(), "{environment:?} {more:?}: {}", text(&done.stderr));
    let log = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string();
    let losses: Vec<String> = log.lines().filter(|l| l.contains("\"lr\"")).map(step).collect();
    assert_eq!(losses.len(), STEPS, "{log}");
    Short { losses, tensors: read_tensors(&out.join("checkpoint.safetensors")).unwrap().0 }
}

#[test]
fn the_doctor_finds_a_gpu_that_computes() {
    let Some(driver) = driver() else { return };
    for (sm, code) in [("90", "has machine code for it"), ("120", "compile")] {
        let done = rusa(Some(&driver), &[("RUSA_DRIVER_SM", sm)], &["doctor"]);
        let said = text(&done.stdout) + &text(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("its kernels give what the CPU gives") && said.contains(code), "{said}");
    }
    let done = rusa(Some(&driver), &[("RUSA_DRIVER_SM", "75")], &["doctor"]);
    assert!(text(&done.stdout).contains("sm_75; the kernels need sm_80"), "{}", text(&done.stdout));
}

/// Data set on the device or sent batch by batch, at every pace of the driver, from machine code and from PTX.
#[test]
fn a_gpu_trains_as_the_machine_does() {
    let Some(driver) = driver() else { return };
    let streamed: &[&str] = &["--set", "data.resident_mib=0"];
    let want = train(None, &[], "vm", &[]);
    assert_eq!(train(None, &[], "vm", streamed), want, "the machine, streaming");
    for (seed, sm, more) in [("0", "90", &[][..]), ("0", "120", streamed), ("1", "90", streamed)] {
        let environment = [("RUSA_DRIVER_SEED", seed), ("RUSA_DRIVER_SM", sm)];
        assert_eq!(train(Some(&driver), &environment, "cuda", more), want, "{environment:?} {more:?}");
    }
    for seed in 2..4 {
        let seed = seed.to_string();
        assert_eq!(train(Some(&driver), &[("RUSA_DRIVER_SEED", &seed)], "cuda:0", streamed), want, "{seed}");
    }
    assert_eq!(train(Some(&driver), &[("RUSA_SYNC", "1")], "cuda", streamed), want, "launch by launch");
}

#[test]
fn a_gpu_trains_a_teacher_and_a_queue_in_bf16() {
    let Some(driver) = driver() else { return };
    let more = ["--method", "moco-v2", "--precision", "bf16", "--set", "loss.queue=48"];
    let want = train(None, &[], "vm", &more);
    for seed in ["0", "9"] {
        assert_eq!(train(Some(&driver), &[("RUSA_DRIVER_SEED", seed)], "cuda", &more), want, "{seed}");
    }
}

/// From the second on, a step is one launch of one graph, and the batch after it is on its way before anyone waits.
#[test]
fn a_step_is_one_graph_and_the_next_batch_crosses_meanwhile() {
    let Some(driver) = driver() else { return };
    let log: PathBuf = driver.path().join("log");
    let environment = [("RUSA_DRIVER_LOG", log.to_str().unwrap())];
    train(Some(&driver), &environment, "cuda", &["--set", "data.resident_mib=0"]);
    let log = std::fs::read_to_string(log).unwrap();
    let graphs: Vec<&str> = log.split("graph of ").skip(1).collect();
    assert_eq!(graphs.len(), STEPS - 1, "{log}");
    for after in &graphs[..STEPS - 2] {
        let (meanwhile, _) = after.split_once("synchronize").unwrap();
        let nodes: usize = meanwhile.split(' ').next().unwrap().parse().unwrap();
        assert!(nodes > 50, "forward, backward and update are in it: {nodes} nodes");
        let own = log.lines().find(|l| l.ends_with("nodes")).unwrap().split(' ').next().unwrap();
        let crossing = |line: &&str| line.ends_with("pinned") && line.contains(&(24 * 784).to_string());
        let crossing = meanwhile.lines().find(crossing).expect("the next batch crosses");
        assert_ne!(crossing.split(' ').next(), Some(own), "on a stream of its own");
    }
}

#[test]
fn what_does_not_fit_a_gpu_is_named() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let arguments = arguments(out.to_str().unwrap(), "cuda", &[]);
    let done = rusa(Some(&driver), &[("RUSA_DRIVER_MIB", "20")], &arguments);
    let said = text(&done.stderr);
    assert!(!done.status.success(), "{said}");
    for part in ["its largest buffers", "`images`", "MiB are free", "CUDA_ERROR_OUT_OF_MEMORY"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

/// The step that breaks is looked at again: its batch, and weights as they were before it.
#[test]
fn a_loss_that_is_not_finite_is_traced_on_a_gpu() {
    let Some(driver) = driver() else { return };
    let more = ["--set", "optimizer.lr=1e30", "--set", "optimizer.warmup_epochs=0"];
    let said = |driver: Option<&TempDir>, device: &str| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let done = rusa(driver, &[], &arguments(out.to_str().unwrap(), device, &more));
        assert!(!done.status.success());
        let said = text(&done.stderr);
        let at = said.find("the loss is").unwrap_or_else(|| panic!("{said}"));
        said[at..].split("no checkpoint").next().unwrap().to_string()
    };
    let want = said(None, "vm");
    assert!(want.contains("is the first to give NaN or infinity"), "{want}");
    assert_eq!(said(Some(&driver), "cuda"), want);
}

/// A fault stays with the context, and comes to light wherever somebody waits.
#[test]
fn a_fault_on_a_gpu_is_traced_to_its_launch() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let arguments = arguments(out.to_str().unwrap(), "cuda", &[]);
    let said = |sync: &str| {
        let fault = ("RUSA_DRIVER_FAULT", "sgd_f32");
        let done = rusa(Some(&driver), &[fault, ("RUSA_SYNC", sync)], &arguments);
        assert!(!done.status.success());
        text(&done.stderr)
    };
    let later = said("0");
    assert!(later.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{later}");
    assert!(later.contains("RUSA_SYNC=1 waits after each and names it"), "{later}");
    assert!(!later.contains("sgd_f32"), "{later}");
    let at_once = said("1");
    assert!(at_once.contains("sgd_f32") && at_once.contains("grid ["), "{at_once}");
}

/// Tensors larger than a staging buffer go through both, again and again.
#[test]
fn many_bytes_cross_to_a_gpu_unharmed() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let noise = |seed: u32| {
        let values = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as f32).collect();
        HostTensor::f32([3_000_000], values)
    };
    let inputs = BTreeMap::from([("a".to_string(), noise(1)), ("b".to_string(), noise(2))]);
    write_tensors(Path::new(&path("in")), &inputs, &BTreeMap::new()).unwrap();
    let run = |driver: Option<&TempDir>, seed: &str, device: &str| {
        let out = path(&format!("out-{device}-{seed}"));
        let arguments = ["op", "run", "add", "--inputs", &path("in"), "--outputs", &out, "--device", device];
        let done = rusa(driver, &[("RUSA_DRIVER_SEED", seed)], &arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
        read_tensors(Path::new(&out)).unwrap().0
    };
    let want = run(None, "0", "cpu");
    for seed in ["0", "1", "7", "8"] {
        assert!(run(Some(&driver), seed, "cuda") == want, "seed {seed}");
    }
}
