//! Our own kernels on the machine, with every check on, against f64. A build without nvcc has none to run.

use half::bf16;
use rusa::vm::{Argument, Machine, Outcome, Shape};

/// Deterministic values in [-1, 1).
fn values(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn launch(
    entry: &str,
    shape: Shape,
    scalars: &[Argument],
    inputs: &[&[u8]],
    out: &mut [f32],
) -> Option<Outcome> {
    let (kernel, _) = rusa::kernels::find(entry).ok()?;
    let mut machine = Machine::new();
    let module = machine.load(kernel.ptx).unwrap();
    let mut arguments = scalars.to_vec();
    for input in inputs {
        let address = machine.allocate("input", input.len() as u64).unwrap();
        machine.write(address, input).unwrap();
        arguments.push(Argument::Pointer(address));
    }
    let address = machine.allocate("out", 4 * out.len() as u64).unwrap();
    arguments.push(Argument::Pointer(address));
    let outcome = machine.launch(&module, entry, &Shape { check: true, ..shape }, &arguments).unwrap();
    machine.read(address, bytemuck::cast_slice_mut(out)).unwrap();
    let all: String = outcome.findings.iter().map(|f| format!("\n{f}")).collect();
    assert!(outcome.findings.is_empty(), "{entry}:{all}");
    Some(outcome)
}

#[test]
fn reductions_add_up() {
    for entry in ["reduce_sum_f32__interleaved", "reduce_sum_f32__sequential", "reduce_sum_f32__shuffle"] {
        for (count, grid) in [(0usize, 1u32), (1, 2), (255, 1), (10_007, 3)] {
            let x = values(count, 7);
            let mut partial = vec![f32::NAN; grid as usize];
            let shape = Shape { grid: [grid, 1, 1], block: [256, 1, 1], ..Shape::default() };
            let scalars = [Argument::U32(count as u32)];
            if launch(entry, shape, &scalars, &[bytemuck::cast_slice(&x)], &mut partial).is_none() {
                return;
            }
            let (sum, expected): (f64, f64) =
                (partial.iter().map(|&x| f64::from(x)).sum(), x.iter().map(|&x| f64::from(x)).sum());
            assert!((sum - expected).abs() < 1e-3, "{entry} of {count}: {sum} for {expected}");
        }
    }
}

/// Blocks for so many rows and columns.
type GridOf = fn(u32, u32) -> [u32; 3];

#[test]
fn matrices_multiply() {
    let grids: [(&str, [u32; 3], GridOf); 2] = [
        ("matmul_f32__naive", [16, 16, 1], |m, n| [n.div_ceil(16), m.div_ceil(16), 1]),
        ("matmul_f32__shared", [32, 8, 1], |m, n| [n.div_ceil(32), m.div_ceil(32), 1]),
    ];
    for (entry, block, grid) in grids {
        for (m, n, k) in [(1, 1, 1), (33, 17, 70), (64, 65, 32)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let mut c = vec![f32::NAN; m * n];
            let shape = Shape { grid: grid(m as u32, n as u32), block, ..Shape::default() };
            let inputs: [&[u8]; 2] = [bytemuck::cast_slice(&a), bytemuck::cast_slice(&b)];
            let scalars = [m, n, k].map(|x| Argument::U32(x as u32));
            if launch(entry, shape, &scalars, &inputs, &mut c).is_none() {
                return;
            }
            let product =
                |i: usize, j: usize| (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum();
            compare(entry, &c, n, product);
        }
    }
}

#[test]
fn tensor_core_tiles_multiply_under_every_seed() {
    let (m, n, k) = (128, 128, 96);
    let round = |x: Vec<f32>| x.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (round(values(m * k, 3)), round(values(n * k, 4)));
    for seed in 0..3 {
        let mut c = vec![f32::NAN; m * n];
        let shape = Shape { grid: [(n / 64) as u32, 1, 1], block: [128, 1, 1], seed, ..Shape::default() };
        let inputs: [&[u8]; 2] = [bytemuck::cast_slice(&a), bytemuck::cast_slice(&b)];
        let scalars = [m, n, k].map(|x| Argument::U32(x as u32));
        if launch("matmul_bf16__mma", shape, &scalars, &inputs, &mut c).is_none() {
            return;
        }
        let product =
            |i: usize, j: usize| (0..k).map(|l| a[i * k + l].to_f64() * b[j * k + l].to_f64()).sum();
        compare("matmul_bf16__mma", &c, n, product);
    }
}

fn compare(entry: &str, c: &[f32], n: usize, product: impl Fn(usize, usize) -> f64) {
    for (at, &value) in c.iter().enumerate() {
        let expected = product(at / n, at % n);
        assert!(
            (f64::from(value) - expected).abs() < 1e-4,
            "{entry} [{}][{}]: {value} for {expected}",
            at / n,
            at % n
        );
    }
}
