//! What is updated in place: averages, prototypes, queues, banks.

use super::*;
use rusa::ops::enqueue::enqueue;
use rusa::ops::memory_bank::remember;
use rusa::ops::unit_rows::unit_rows;
use rusa::optim::ema;

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
