//! Whole training steps, views and optimiser included, on every device against the CPU engine.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::augment::{draw_batch, preset};
use rusa::device::{Device, Program};
use rusa::graph::{Graph, Init, Precision, TensorId};
use rusa::nn::{Encoder, Projector, Stem};
use rusa::ops::augment::params::as_tensor;
use rusa::ops::enqueue::enqueue;
use rusa::ops::memory_bank::remember;
use rusa::ops::unit_rows::unit_rows;
use rusa::optim::{Optimizer, ema};
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

fn a_moving_average_is_the_cpu_engines(device: Device) {
    let run = |device: Device| {
        let mut graph = Graph::new();
        let momentum = graph.input("momentum", TensorType::f32([1])).unwrap();
        // One that fills blocks and leaves a rest, one of a single element.
        let pairs: Vec<_> = [16_387, 1]
            .map(|n| {
                let ty = TensorType::f32([n]);
                let target = graph.state(&format!("target.{n}"), ty.clone(), Init::Normal(1.0)).unwrap();
                (target, graph.param(&format!("value.{n}"), ty, Init::Normal(1.0)).unwrap())
            })
            .into();
        ema(&mut graph, momentum, &pairs).unwrap();
        let mut program = device.program(graph).unwrap();
        program.initialize(1).unwrap();
        let before = program.state_dict().unwrap();
        program.write_f32(momentum, &[0.99]).unwrap();
        program.run_all().unwrap();
        (before, program.state_dict().unwrap())
    };
    let (before, cpu) = run(Device::Cpu);
    for n in [16_387, 1] {
        let of = |state: &BTreeMap<String, HostTensor>, name: &str| {
            f64::from(state[&format!("{name}.{n}")].as_f32().unwrap()[n - 1])
        };
        let want = 0.99 * of(&before, "target") + 0.01 * of(&before, "value");
        assert!((of(&cpu, "target") - want).abs() <= 1e-6, "{n}");
        assert_eq!(of(&cpu, "value"), of(&before, "value"));
    }
    assert_eq!(run(device).1, cpu);
}

#[test]
fn a_moving_average_on_the_vm_is_the_cpu_engines() {
    device("vm").into_iter().for_each(a_moving_average_is_the_cpu_engines);
}

#[test]
fn a_moving_average_on_a_gpu_is_the_cpu_engines() {
    device("cuda").into_iter().for_each(a_moving_average_is_the_cpu_engines);
}

fn rows_become_unit_rows(device: Device) {
    // Rows in packs of four and not, more than a warp's registers hold, fewer rows than a block's.
    let shapes = [[5, 8], [3, 7], [2, 1031], [1, 4 * 300]];
    let run = |device: Device| {
        let mut graph = Graph::new();
        for [k, d] in shapes {
            let ty = TensorType::f32([k, d]);
            let weight = graph.param(&format!("prototypes.{k}"), ty, Init::Normal(3.0)).unwrap();
            unit_rows(&mut graph, weight).unwrap();
        }
        let zeros = graph.param("zeros", TensorType::f32([2, 6]), Init::Zeros).unwrap();
        unit_rows(&mut graph, zeros).unwrap();
        let mut program = device.program(graph).unwrap();
        program.initialize(1).unwrap();
        let before = program.state_dict().unwrap();
        program.run_all().unwrap();
        (before, program.state_dict().unwrap())
    };
    let (before, after) = run(device);
    for [k, d] in shapes {
        let of = |state: &BTreeMap<String, HostTensor>| {
            state[&format!("prototypes.{k}")].as_f32().unwrap().to_vec()
        };
        let (before, after) = (of(&before), of(&after));
        for (before, after) in before.chunks_exact(d).zip(after.chunks_exact(d)) {
            let length = before.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
            for (before, after) in before.iter().zip(after) {
                let want = f64::from(*before) / length;
                // Of elements of at most 1.
                assert!((f64::from(*after) - want).abs() <= 1e-6, "[{k}, {d}]: {after}, want {want}");
            }
        }
    }
    assert_eq!(after["zeros"], before["zeros"]);
}

#[test]
fn rows_become_unit_rows_on_the_cpu() {
    rows_become_unit_rows(Device::Cpu);
}

#[test]
fn rows_become_unit_rows_on_the_vm() {
    device("vm").into_iter().for_each(rows_become_unit_rows);
}

#[test]
fn rows_become_unit_rows_on_a_gpu() {
    device("cuda").into_iter().for_each(rows_become_unit_rows);
}

/// Normal numbers that bf16 holds exactly.
fn short_numbers(n: usize, stream: u32) -> Vec<f32> {
    let mut rng = Philox::new(31, Purpose::Test, stream, 0);
    (0..n).map(|_| half::bf16::from_f32(rng.normal()).to_f32()).collect()
}

/// What the device takes rows in: the CPU engine knows f32 only.
fn row_types(device: Device) -> Vec<DType> {
    let bf16 = device.check(Precision::Bf16).is_ok().then_some(DType::Bf16);
    [DType::F32].into_iter().chain(bf16).collect()
}

fn a_queue_is_a_ring(device: Device) {
    // Rows in packs and not; batches that divide the ring, wrap within it, fill it, and are larger than it.
    for ([k, d], n) in [([8, 4], 2), ([7, 5], 3), ([9, 130], 4), ([5, 8], 5), ([3, 6], 10), ([1, 3], 2)] {
        for dtype in row_types(device) {
            let mut graph = Graph::new();
            let schedule = graph.input("schedule", TensorType::f32([2])).unwrap();
            let rows = graph.input("rows", TensorType::new([n, d], dtype)).unwrap();
            let queue = graph.state("queue", TensorType::f32([k, d]), Init::Normal(1.0)).unwrap();
            enqueue(&mut graph, queue, rows, schedule).unwrap();
            let mut program = device.program(graph).unwrap();
            program.initialize(1).unwrap();
            let queue =
                |program: &dyn Program| program.state_dict().unwrap()["queue"].as_f32().unwrap().to_vec();
            let mut want = queue(&*program);
            let mut place = 0;
            for step in 1..=7 {
                let values = short_numbers(n * d, step);
                for row in values.chunks_exact(d) {
                    want[place * d..][..d].copy_from_slice(row);
                    place = (place + 1) % k;
                }
                program.write_f32(rows, &values).unwrap();
                program.write_f32(schedule, &[0.1, step as f32]).unwrap();
                program.run_all().unwrap();
                assert_eq!(queue(&*program), want, "[{k}, {d}], {n} {dtype} rows, step {step}");
            }
        }
    }
}

#[test]
fn a_queue_is_a_ring_on_the_cpu() {
    a_queue_is_a_ring(Device::Cpu);
}

#[test]
fn a_queue_is_a_ring_on_the_vm() {
    device("vm").into_iter().for_each(a_queue_is_a_ring);
}

#[test]
fn a_queue_is_a_ring_on_a_gpu() {
    device("cuda").into_iter().for_each(a_queue_is_a_ring);
}

fn a_memory_bank_follows_its_rows(device: Device) {
    let unit = |x: &[f64]| -> Vec<f64> {
        let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter().map(|x| x / length).collect()
    };
    let double = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| x.into()).collect() };
    // Rows in packs and not, and longer than a warp's registers hold. 99 is beyond each bank.
    let cases: [([usize; 2], &[u32]); 4] =
        [([7, 8], &[4, 0, 6]), ([5, 3], &[1, 99, 0, 4, 2]), ([3, 1031], &[2, 1]), ([2, 1200], &[0])];
    for ([k, d], index) in cases {
        for dtype in row_types(device) {
            let (n, momentum) = (index.len(), 0.5);
            let mut graph = Graph::new();
            let rows = graph.input("rows", TensorType::new([n, d], dtype)).unwrap();
            let at = graph.input("index", TensorType::new([n], DType::U32)).unwrap();
            let bank = graph.state("bank", TensorType::f32([k, d]), Init::Normal(0.3)).unwrap();
            remember(&mut graph, bank, rows, at, momentum).unwrap();
            let mut program = device.program(graph).unwrap();
            program.initialize(1).unwrap();
            let before = program.state_dict().unwrap()["bank"].as_f32().unwrap().to_vec();
            let values = short_numbers(n * d, 0);
            program.write_f32(rows, &values).unwrap();
            program.write(at, bytemuck::cast_slice(index)).unwrap();
            program.run_all().unwrap();
            let after = program.state_dict().unwrap()["bank"].as_f32().unwrap().to_vec();
            for (i, (before, after)) in before.chunks_exact(d).zip(after.chunks_exact(d)).enumerate() {
                let Some(row) = index.iter().position(|&at| at as usize == i) else {
                    assert_eq!(after, before, "[{k}, {d}] {dtype}: row {i} was not asked for");
                    continue;
                };
                let new = unit(&double(&values[row * d..][..d]));
                let mixed: Vec<_> =
                    double(before).iter().zip(new).map(|(old, new)| 0.5 * old + 0.5 * new).collect();
                for (after, want) in after.iter().zip(unit(&mixed)) {
                    // Of elements of at most 1.
                    let off = (f64::from(*after) - want).abs();
                    assert!(off <= 1e-6, "[{k}, {d}] {dtype}, row {i}: {after}, want {want}");
                }
            }
        }
    }
}

#[test]
fn a_memory_bank_follows_its_rows_on_the_cpu() {
    a_memory_bank_follows_its_rows(Device::Cpu);
}

#[test]
fn a_memory_bank_follows_its_rows_on_the_vm() {
    device("vm").into_iter().for_each(a_memory_bank_follows_its_rows);
}

#[test]
fn a_memory_bank_follows_its_rows_on_a_gpu() {
    device("cuda").into_iter().for_each(a_memory_bank_follows_its_rows);
}

#[test]
fn updates_of_other_shapes_are_errors() {
    let mut graph = Graph::new();
    let schedule = graph.input("schedule", TensorType::f32([2])).unwrap();
    let rows = graph.input("rows", TensorType::f32([4, 6])).unwrap();
    let index = graph.input("index", TensorType::new([3], DType::U32)).unwrap();
    let state = graph.state("state", TensorType::f32([9, 5]), Init::Zeros).unwrap();
    let says = |result: rusa::Result<()>, say: &str| {
        let error = result.expect_err(say).to_string();
        assert!(error.contains(say), "`{error}` should say `{say}`");
    };
    says(enqueue(&mut graph, state, rows, schedule), "`rows` must be f32[4, 5]");
    says(enqueue(&mut graph, state, rows, rows), "`schedule` must be f32[2]");
    says(remember(&mut graph, state, rows, index, 0.5), "`rows` must be f32[4, 5]");
    says(remember(&mut graph, state, rows, index, 1.5), "momentum must be from 0 to 1");
    says(remember(&mut graph, state, rows, index, f32::NAN), "momentum must be from 0 to 1");
    let wide = graph.state("wide", TensorType::f32([9, 6]), Init::Zeros).unwrap();
    says(remember(&mut graph, wide, rows, index, 0.5), "`index` must be u32[4]");
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
