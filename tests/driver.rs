//! The CUDA device without a GPU: the program runs on [`driver/lib.rs`](driver/lib.rs), NVIDIA's driver as played by the
//! PTX machine, and must do what it does on the machine itself, whenever the driver chooses to do what it was asked.

use rusa::kernels::COMPILER;
use rusa::tensor::{HostTensor, read_tensors, write_tensors};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Where the program finds the driver. None in a build without kernels.
fn driver() -> Option<TempDir> {
    if COMPILER.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED the CUDA device: this build has no kernels");
        return None;
    }
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

/// Pixels of a picture in height and width: a batch's bytes are more than go straight into the stream of the kernels.
const SIDE: usize = 24;
const BATCH: usize = 12;
const STEPS: usize = 4;

/// 60 coloured pictures in 3 classes, 48 of them to train on.
fn pictures() -> &'static Path {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..60u32 {
            let class = dir.path().join(["a", "b", "c"][i as usize % 3]);
            std::fs::create_dir_all(&class).unwrap();
            let noise = |x: u32, y: u32| {
                [0u32, 1, 2].map(|c| (i * 7919 + x * 131 + y * 31 + c * 17).wrapping_mul(2_654_435_761))
            };
            let pixel = |x, y| image::Rgb(noise(x, y).map(|n| (n >> 24) as u8));
            let picture = image::RgbImage::from_fn(SIDE as u32, SIDE as u32, pixel);
            picture.save(class.join(format!("{i:02}.png"))).unwrap();
        }
        dir
    });
    FOLDER.path()
}

/// A run: its losses as they stand in its log, and all that its checkpoint holds.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<String>,
    tensors: BTreeMap<String, HostTensor>,
}

fn arguments(out: &Path, device: &str, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> =
        ["pretrain", "--encoder", "resnet10", "--epochs", "2"].map(String::from).into();
    let (data, out, batch) = (pictures().to_str().unwrap(), out.to_str().unwrap(), BATCH.to_string());
    for pair in [["--data", data], ["--out", out], ["--device", device], ["--batch", &batch]] {
        all.extend(pair.map(String::from));
    }
    for setting in ["encoder.width=8", "data.size=8", "projector.hidden=16", "projector.out=8"] {
        all.extend(["--set", setting].map(String::from));
    }
    all.extend(more.iter().copied().map(String::from));
    all
}

fn start(
    driver: Option<&TempDir>,
    environment: &[(&str, &str)],
    out: &Path,
    device: &str,
    more: &[&str],
) -> Output {
    let all = arguments(out, device, more);
    rusa(driver, environment, &all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn trained(out: &Path) -> Trained {
    let log = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string();
    let losses = log.lines().filter(|l| l.contains("\"lr\"")).map(loss).collect();
    Trained { losses, tensors: read_tensors(&out.join("checkpoint.safetensors")).unwrap().0 }
}

/// The first steps of a run.
fn train(driver: Option<&TempDir>, environment: &[(&str, &str)], device: &str, more: &[&str]) -> Trained {
    let dir = tempfile::tempdir().unwrap();
    let more = [more, &["--steps", "4"]].concat();
    let done = start(driver, environment, dir.path(), device, &more);
    assert!(done.status.success(), "{environment:?} {more:?}: {}", text(&done.stderr));
    let trained = trained(dir.path());
    assert_eq!(trained.losses.len(), STEPS);
    trained
}

const STREAMED: [&str; 2] = ["--set", "data.resident_mib=0"];

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
    let want = train(None, &[], "vm", &[]);
    assert_eq!(train(None, &[], "vm", &STREAMED), want, "the machine, streaming");
    for (seed, sm, more) in [
        ("0", "90", &[][..]),
        ("0", "120", &STREAMED),
        ("1", "90", &STREAMED),
        ("2", "89", &STREAMED),
        ("3", "80", &[]),
    ] {
        let environment = [("RUSA_DRIVER_SEED", seed), ("RUSA_DRIVER_SM", sm)];
        assert_eq!(train(Some(&driver), &environment, "cuda", more), want, "{environment:?} {more:?}");
    }
    assert_eq!(train(Some(&driver), &[("RUSA_SYNC", "1")], "cuda:0", &STREAMED), want, "launch by launch");
}

/// Two epochs and the judging, in one go and broken off within the second.
#[test]
fn a_run_on_a_gpu_ends_and_resumes() {
    let Some(driver) = driver() else { return };
    let [whole, parts, machine] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let go = |driver: Option<&TempDir>, out: &TempDir, device: &str, more: &[&str]| {
        let more = [more, &STREAMED].concat();
        let done = start(driver, &[("RUSA_DRIVER_SEED", "4")], out.path(), device, &more);
        assert!(done.status.success(), "{more:?}: {}", text(&done.stderr));
    };
    go(Some(&driver), &whole, "cuda", &[]);
    assert!(whole.path().join("summary.json").exists());
    go(Some(&driver), &parts, "cuda", &["--steps", "6"]);
    // Where the pictures lie may change.
    let done = start(Some(&driver), &[], parts.path(), "cuda", &["--resume"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(trained(parts.path()), trained(whole.path()));
    go(None, &machine, "vm", &[]);
    assert_eq!(trained(machine.path()), trained(whole.path()));
}

#[test]
fn a_gpu_trains_a_teacher_and_a_queue_in_bf16() {
    let Some(driver) = driver() else { return };
    let more = ["--method", "moco-v2", "--precision", "bf16", "--set", "loss.queue=24"];
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
    train(Some(&driver), &environment, "cuda", &STREAMED);
    let log = std::fs::read_to_string(log).unwrap();
    let graphs: Vec<&str> = log.split("graph of ").skip(1).collect();
    // The last step is the epoch's last: no batch comes after it.
    assert_eq!(graphs.len(), STEPS - 1, "{log}");
    for after in &graphs[..STEPS - 2] {
        let (meanwhile, _) = after.split_once("synchronize").unwrap();
        let nodes: usize = meanwhile.split(' ').next().unwrap().parse().unwrap();
        assert!(nodes > 50, "forward, backward and update are in it: {nodes} nodes");
        let own = log.lines().find(|l| l.ends_with("nodes")).unwrap().split(' ').next().unwrap();
        let bytes = (BATCH * SIDE * SIDE * 3).to_string();
        let crossing = |line: &&str| line.ends_with("pinned") && line.contains(&bytes);
        let crossing = meanwhile.lines().find(crossing).expect("the next batch crosses");
        assert_ne!(crossing.split(' ').next(), Some(own), "on a stream of its own");
    }
}

#[test]
fn what_does_not_fit_a_gpu_is_named() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let said = |more: &[&str]| {
        let done = start(Some(&driver), &[("RUSA_DRIVER_MIB", "1")], dir.path(), "cuda", more);
        assert!(!done.status.success());
        text(&done.stderr)
    };
    let resident = said(&["--overwrite"]);
    for part in
        ["its largest buffers", "`images`", "MiB are free", "CUDA_ERROR_OUT_OF_MEMORY", "data.resident_mib=0"]
    {
        assert!(resident.contains(part), "no {part} in {resident}");
    }
    let streamed = said(&[STREAMED[0], STREAMED[1], "--overwrite"]);
    assert!(streamed.contains("its largest buffers") && !streamed.contains("resident_mib"), "{streamed}");
}

/// The step that breaks is looked at again: its batch, and weights as they were before it.
#[test]
fn a_loss_that_is_not_finite_is_traced_on_a_gpu() {
    let Some(driver) = driver() else { return };
    let more = ["--set", "optimizer.lr=1e30", "--set", "optimizer.warmup_epochs=0"];
    let said = |driver: Option<&TempDir>, device: &str| {
        let dir = tempfile::tempdir().unwrap();
        let done = start(driver, &[], dir.path(), device, &more);
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
    let said = |sync: &str| {
        let dir = tempfile::tempdir().unwrap();
        let fault = ("RUSA_DRIVER_FAULT", "sgd_f32");
        let done = start(Some(&driver), &[fault, ("RUSA_SYNC", sync)], dir.path(), "cuda", &[]);
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

/// More than both rounds of staging hold: the first is filled again while its bytes wait to be placed.
#[test]
fn many_bytes_cross_to_a_gpu_unharmed() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let noise = |seed: u32| {
        let values = (0..18_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as f32).collect();
        HostTensor::f32([18_000_000], values)
    };
    let inputs = BTreeMap::from([("a".to_string(), noise(1)), ("b".to_string(), noise(2))]);
    write_tensors(Path::new(&path("in")), &inputs, &BTreeMap::new()).unwrap();
    let run = |driver: Option<&TempDir>, device: &str| {
        let out = path(&format!("out-{device}"));
        let arguments = ["op", "run", "add", "--inputs", &path("in"), "--outputs", &out, "--device", device];
        let done = rusa(driver, &[], &arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
        read_tensors(Path::new(&out)).unwrap().0
    };
    assert!(run(Some(&driver), "cuda") == run(None, "cpu"));
}
