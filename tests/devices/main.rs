//! Whole training steps, views and optimiser included, on every device against the CPU engine.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

mod updates;

use rusa::augment::{draw_batch, preset};
use rusa::device::{Device, Program};
use rusa::graph::{Graph, Init, Precision, TensorId};
use rusa::nn::{Encoder, Projector, Stem};
use rusa::ops::augment::params::as_tensor;
use rusa::optim::Optimizer;
use rusa::rng::{Philox, Purpose};
use rusa::ssl::{self, Images, Known, StepSpec};
use rusa::tensor::{DType, HostTensor, TensorType, Values};
use std::collections::BTreeMap;
use std::io::Write;

const BATCH: usize = 6;
const SIZE: usize = 13;
const COUNT: usize = 20;

/// What some steps leave: each step's loss, the first step's views, weights and states.
struct Trained {
    losses: Vec<f64>,
    views: Vec<f32>,
    before: BTreeMap<String, HostTensor>,
    after: BTreeMap<String, HostTensor>,
}

/// Trains a small ResNet by SimCLR on colourful noise, each step on images of its own.
fn train(device: Device, precision: Precision, optimizer: &str, steps: usize) -> Trained {
    train_on(device, precision, optimizer, steps, false)
}

/// [`train`], where `streamed` with each batch's pixels instead of the data set on the device.
fn train_on(device: Device, precision: Precision, optimizer: &str, steps: usize, streamed: bool) -> Trained {
    let policy = preset("cifar-simclr").unwrap().policy();
    let count = if streamed { BATCH } else { COUNT };
    let images = Images { count, height: 17, width: 15, streamed, transform: policy.op(SIZE) };
    let encoder = Encoder { name: "resnet10".into(), width: 8, stem: Stem::Small };
    let projector = Projector { hidden: 24, out: 16, ..Projector::default() };
    let optimizer = Optimizer { name: optimizer.into(), lr: 0.1, ..Optimizer::default() };
    let spec = StepSpec {
        method: ssl::find("simclr").unwrap(),
        encoder: &encoder,
        projector: &projector,
        loss: &toml::from_str("temperature = 0.5").unwrap(),
        augment: &policy,
        optimizer: &optimizer,
        batch: BATCH,
        size: SIZE,
        channels: 3,
        precision,
        epoch: 0,
        data: Known::default(),
        images: Some(&images),
    };
    let mut step = spec.record().unwrap();
    let views: TensorId =
        step.graph.nodes().iter().find(|n| n.op.name() == "augment").map(|n| n.outputs[0]).unwrap();
    step.graph.keep(views);
    let mut program = device.program(step.graph).unwrap();
    program.initialize(3).unwrap();
    program.write_f32(step.seed_gradient, &[1.0]).unwrap();
    let pixels: Vec<u8> =
        (0..COUNT * 17 * 15 * 3).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    match step.feeds.places {
        Some(places) => {
            let all: Vec<u32> = (0..BATCH as u32).collect();
            program.write(places, bytemuck::cast_slice(&all)).unwrap();
        }
        None => program.write(step.feeds.images.unwrap(), &pixels).unwrap(),
    }
    let before = program.state_dict().unwrap();
    let (mut losses, mut first_views) = (Vec::new(), Vec::new());
    for i in 0..steps {
        let index: Vec<u32> = (0..BATCH).map(|k| ((k * 7 + i * 3) % COUNT) as u32).collect();
        let samples: Vec<u64> = index.iter().map(|&id| id.into()).collect();
        let rows = draw_batch(&policy, 5, i as u32, &samples, 2, [17, 15]);
        if streamed {
            let picture = |&id: &u32| &pixels[id as usize * 17 * 15 * 3..][..17 * 15 * 3];
            let batch: Vec<u8> = index.iter().flat_map(picture).copied().collect();
            program.write(step.feeds.images.unwrap(), &batch).unwrap();
        } else {
            program.write(step.feeds.index.unwrap(), bytemuck::cast_slice(&index)).unwrap();
        }
        program.write_f32(step.feeds.views[0].1, as_tensor(&rows)).unwrap();
        program.write_f32(step.schedule, &[0.05, (i + 1) as f32]).unwrap();
        program.run_all().unwrap();
        losses.push(f64::from(program.read_f32(step.loss).unwrap()[0]));
        if i == 0 {
            first_views = program.read_f32(views).unwrap();
        }
    }
    Trained { losses, views: first_views, before, after: program.state_dict().unwrap() }
}

/// How far what training changed in `got` is from what it changed in `want`, in all tensors of that prefix together.
fn change_error(got: &Trained, want: &Trained, prefix: &str) -> f64 {
    let values = |t: &HostTensor| match &t.values {
        Values::F32(v) => v.clone(),
        _ => panic!("weights are f32"),
    };
    let (mut off, mut all) = (0.0, 0.0);
    for (name, before) in want.before.iter().filter(|(name, _)| name.starts_with(prefix)) {
        assert_eq!(got.before[name], *before, "{name} begins alike");
        let (got, want) = (values(&got.after[name]), values(&want.after[name]));
        for ((before, got), want) in values(before).iter().zip(got).zip(want) {
            let (got, want) = (f64::from(got - before), f64::from(want - before));
            (off, all) = (off + (got - want).powi(2), all + want.powi(2));
        }
    }
    assert!(all > 0.0, "training changed {prefix}");
    (off / all).sqrt()
}

fn assert_follows(got: &Trained, want: &Trained, loss_tolerance: f64, change_tolerance: f64) {
    for (i, (got, want)) in got.losses.iter().zip(&want.losses).enumerate() {
        let off = (got - want).abs() / want;
        assert!(off <= loss_tolerance, "loss of step {i}: {got} for {want}, off by {off:.2e}");
    }
    let off = change_error(got, want, "encoder.");
    assert!(off <= change_tolerance, "the encoder's change is off by {off:.2e}");
}

/// The device, or a line that says what was skipped and why.
fn device(name: &str) -> Option<Device> {
    Device::parse(name)
        .map_err(|why| {
            let _ = writeln!(std::io::stderr(), "SKIPPED training steps on {name}: {why}");
        })
        .ok()
}

fn steps_follow_the_cpu_engine(device: Device) {
    let cpu = train(Device::Cpu, Precision::F32, "sgd", 4);
    let f32 = train(device, Precision::F32, "sgd", 4);
    assert_eq!(f32.views, cpu.views, "the same views, bit for bit");
    assert_follows(&f32, &cpu, 1e-5, 1e-3);

    let streamed = train_on(device, Precision::F32, "sgd", 4, true);
    assert_eq!((streamed.losses, streamed.after), (f32.losses, f32.after), "sent batch by batch");

    let bf16 = train(device, Precision::Bf16, "sgd", 4);
    let rounded: Vec<f32> = cpu.views.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect();
    assert_eq!(bf16.views, rounded, "the same views, rounded");
    assert_follows(&bf16, &cpu, 1e-2, 0.15);
}

#[test]
fn steps_on_the_vm_follow_the_cpu_engine() {
    device("vm").into_iter().for_each(steps_follow_the_cpu_engine);
}

#[test]
fn steps_on_a_gpu_follow_the_cpu_engine() {
    device("cuda").into_iter().for_each(steps_follow_the_cpu_engine);
}

fn every_optimiser_follows_the_cpu_engine(device: Device) {
    for name in ["lars", "adam", "adamw"] {
        let (got, cpu) =
            (train(device, Precision::F32, name, 2), train(Device::Cpu, Precision::F32, name, 2));
        // Adam divides by the gradient's size: where that is rounding noise, so is the step.
        assert_follows(&got, &cpu, 1e-4, if name == "lars" { 1e-3 } else { 0.1 });
    }
}

#[test]
fn every_optimiser_on_the_vm_follows_the_cpu_engine() {
    device("vm").into_iter().for_each(every_optimiser_follows_the_cpu_engine);
}

#[test]
fn every_optimiser_on_a_gpu_follows_the_cpu_engine() {
    device("cuda").into_iter().for_each(every_optimiser_follows_the_cpu_engine);
}

/// What a method's step leaves of a batch of NaN: nothing may change but what batch norm keeps of the images' statistics.
fn a_loss_that_is_not_finite_changes_nothing(device: Device) {
    let encoder = Encoder { name: "resnet10".into(), width: 8, stem: Stem::Small };
    let policy = preset("fashion-mnist").unwrap().policy();
    // Optimisers of every kind, a queue, a bank, a centre, a teacher, a predictor with a rate of its own.
    for (method, optimizer, loss) in [
        ("moco-v2", "sgd", "queue = 12"),
        ("pirl", "lars", "negatives = 12"),
        ("dino", "adamw", "prototypes = 8"),
        ("simsiam", "adam", ""),
        ("deepcluster-v2", "sgd", "prototypes = [8]"),
    ] {
        let method = ssl::find(method).unwrap();
        let loss = method.settings(&loss.parse().unwrap()).unwrap();
        let optimizer = Optimizer { name: optimizer.into(), lr: 0.1, ..Optimizer::default() };
        let spec = StepSpec {
            method,
            encoder: &encoder,
            projector: &Projector { hidden: 24, out: 16, ..Projector::default() },
            loss: &loss,
            augment: &policy,
            optimizer: &optimizer,
            batch: BATCH,
            size: 12,
            channels: 1,
            precision: Precision::F32,
            epoch: 0,
            data: Known { images: COUNT, ..Known::default() },
            images: None,
        };
        let step = spec.record().unwrap();
        let mut program = device.program(step.graph).unwrap();
        program.initialize(3).unwrap();
        let before = program.state_dict().unwrap();
        program.write_f32(step.seed_gradient, &[1.0]).unwrap();
        for schedule in std::iter::once(step.schedule).chain(step.feeds.held_schedule) {
            program.write_f32(schedule, &[0.05, 1.0]).unwrap();
        }
        for &(ramp, _) in &step.feeds.ramps {
            program.write_f32(ramp, &[0.5]).unwrap();
        }
        if let Some(index) = step.feeds.index {
            let images: Vec<u32> = (0..BATCH as u32).collect();
            program.write(index, bytemuck::cast_slice(&images)).unwrap();
        }
        let mut step_on = |x: f32| {
            for &(_, views) in &step.feeds.views {
                let n = program.graph().ty(views).elements();
                program.write_f32(views, &vec![x; n]).unwrap();
            }
            program.run_all().unwrap();
            (program.read_f32(step.loss).unwrap()[0], program.state_dict().unwrap())
        };
        let changed = |after: &BTreeMap<String, HostTensor>| -> Vec<String> {
            let ours = |name: &&String| !name.contains("running_");
            let differs = |name: &&String| after[*name] != before[*name];
            before.keys().filter(ours).filter(differs).cloned().collect()
        };
        let (loss, after) = step_on(f32::NAN);
        assert!(!loss.is_finite(), "{}: a loss of {loss}", method.name);
        assert_eq!(changed(&after), [""; 0], "{}", method.name);
        let (loss, after) = step_on(0.5);
        assert!(!changed(&after).is_empty(), "{}: a loss of {loss}", method.name);
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing_on_the_cpu() {
    a_loss_that_is_not_finite_changes_nothing(Device::Cpu);
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing_on_the_vm() {
    device("vm").into_iter().for_each(a_loss_that_is_not_finite_changes_nothing);
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing_on_a_gpu() {
    device("cuda").into_iter().for_each(a_loss_that_is_not_finite_changes_nothing);
}

#[test]
fn the_vm_repeats_itself_bit_for_bit() {
    device("vm").into_iter().for_each(|vm| repeats_itself(vm, 2));
}

/// Six steps: the first as launches, the second captured, the others replayed as a CUDA graph.
#[test]
fn a_gpu_repeats_itself_bit_for_bit() {
    device("cuda").into_iter().for_each(|cuda| repeats_itself(cuda, 6));
}

fn repeats_itself(device: Device, steps: usize) {
    let [a, b] = [(), ()].map(|()| train(device, Precision::Bf16, "sgd", steps));
    assert_eq!((a.losses, a.after), (b.losses, b.after));
}
