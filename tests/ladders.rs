//! Every rung of the kernels' ladders, also those that no shape of the other tests makes the host pick, against the CPU engine.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use half::bf16;
use rusa::device::cuda::CudaBackend;
use rusa::device::launch::{Address, Launch, Value};
use rusa::device::{Backend, Device, Lowered, Placement, VmBackend};
use rusa::graph::{Graph, Precision};
use rusa::ops::run::{How, run};
use rusa::ops::table::{Case, Fill, OPS, OpSpec, Tensors, find, signatures};
use rusa::rng::{Philox, Purpose};
use rusa::tensor::{DType, HostTensor};
use serde_json::{Value as Json, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

thread_local! {
    static RUN: RefCell<BTreeSet<String>> = RefCell::default();
    static ON: Cell<Device> = const { Cell::new(Device::Vm) };
}

/// The device, from now on that of this thread's benches; or a line that says what was skipped and why.
fn on(name: &str) -> Option<Device> {
    let device = Device::parse(name)
        .map_err(|why| {
            let _ = writeln!(std::io::stderr(), "SKIPPED the ladders on {name}: {why}");
        })
        .ok()?;
    ON.set(device);
    Some(device)
}

fn normal(n: usize, stream: u32, dtype: Precision) -> Vec<f32> {
    let mut rng = Philox::new(21, Purpose::Test, stream, 0);
    (0..n)
        .map(|_| rng.normal())
        .map(|x| if dtype == Precision::Bf16 { bf16::from_f32(x).to_f32() } else { x })
        .collect()
}

fn bytes(values: &[f32], dtype: Precision) -> Vec<u8> {
    match dtype {
        Precision::F32 => bytemuck::cast_slice(values).to_vec(),
        Precision::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
    }
}

fn floats(bytes: &[u8], dtype: Precision) -> Vec<f32> {
    match dtype {
        Precision::F32 => bytemuck::pod_collect_to_vec(bytes),
        Precision::Bf16 => {
            bytemuck::pod_collect_to_vec::<u8, bf16>(bytes).iter().map(|x| x.to_f32()).collect()
        }
    }
}

/// Memory of the device, an allocation a tensor.
struct Bench(Box<dyn Backend>);

impl Bench {
    fn new() -> Self {
        match ON.get() {
            Device::Cuda(i) => Self(Box::new(CudaBackend::new(i).unwrap())),
            _ => Self(Box::new(VmBackend::new(5))),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Address {
        let place = self.0.allocate("tensor", bytes.len()).unwrap();
        self.0.write(place, bytes).unwrap();
        place
    }

    /// Holds nothing yet: reading it before writing is a finding on the machine, and NaN in either type on a GPU.
    fn empty(&mut self, bytes: usize) -> Address {
        let place = self.0.allocate("result", bytes).unwrap();
        if ON.get() != Device::Vm {
            self.0.write(place, &vec![0xff; bytes]).unwrap();
        }
        place
    }

    fn get(&self, place: Address, elements: usize, dtype: Precision) -> Vec<f32> {
        let mut bytes = vec![0; elements * if dtype == Precision::F32 { 4 } else { 2 }];
        self.0.read(place, &mut bytes).unwrap();
        floats(&bytes, dtype)
    }

    fn run(&mut self, entry: &str, grid: [usize; 3], block: [u32; 3], shared: usize, arguments: Vec<Value>) {
        let entry =
            signatures().flat_map(|s| s.entries).find(|e| **e == entry).unwrap_or_else(|| panic!("{entry}"));
        RUN.with_borrow_mut(|run| run.insert(entry.to_string()));
        let grid = grid.map(|n| n as u32);
        let launch = Launch { entry, grid, block, cluster: [1; 3], shared: shared as u32, arguments };
        self.0.run(0..1, &[&launch]).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    assert!(scale.is_finite(), "{what}: the reference itself is not finite");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "{what}[{i}]: {got} for {want}, of {scale}");
    }
}

/// Half an ulp of bf16 where the result is, else f32 sums of some thousand terms.
fn tolerance(result: Precision) -> f32 {
    if result == Precision::Bf16 { 4.3e-3 } else { 3e-5 }
}

/// What the CPU engine makes of an op and its gradients.
fn reference(op: &str, params: Json, tensors: &[(&str, &[usize], &[f32])]) -> BTreeMap<String, Vec<f32>> {
    let inputs = tensors
        .iter()
        .map(|(name, shape, values)| (name.to_string(), HostTensor::f32(*shape, values.to_vec())))
        .collect();
    let results = run(op, &params, &inputs, How { backward: true, ..How::default() }).unwrap();
    results.into_iter().map(|(name, t)| (name, t.as_f32().unwrap().to_vec())).collect()
}

fn u(values: &[usize]) -> Vec<Value> {
    values.iter().map(|&v| Value::U32(v as u32)).collect()
}

fn places(addresses: &[Address]) -> Vec<Value> {
    addresses.iter().map(|&a| Value::Address(a)).collect()
}

/// A result that is added to where `accumulate`: what was there, and what is to be there then.
fn target(bench: &mut Bench, want: &[f32], accumulate: bool, dtype: Precision) -> (Address, Vec<f32>) {
    if !accumulate {
        return (bench.empty(bytes(want, dtype).len()), want.to_vec());
    }
    let there = normal(want.len(), 90, dtype);
    let sum = there.iter().zip(want).map(|(a, b)| a + b).collect();
    (bench.put(&bytes(&there, dtype)), sum)
}

struct Conv {
    x: [usize; 4],
    w: [usize; 4],
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Conv {
    fn check(&self, dtype: Precision, accumulate: bool) {
        let ([n, h, w, c], [k, r, s, _]) = (self.x, self.w);
        let Self { stride, padding, dilation, .. } = *self;
        let out = |size: usize, taps: usize| (size + 2 * padding - dilation * (taps - 1) - 1) / stride + 1;
        let (p, q) = (out(h, r), out(w, s));
        let geometry = u(&[n, h, w, c, k, r, s, p, q, stride, stride, padding, padding, dilation, dilation]);
        let (x, weight, dy) = (
            normal(n * h * w * c, 1, dtype),
            normal(k * r * s * c, 2, dtype),
            normal(n * p * q * k, 3, dtype),
        );
        let params = json!({"stride": stride, "padding": padding, "dilation": dilation});
        let given: [(&str, &[usize], &[f32]); 3] =
            [("x", &self.x, &x), ("w", &self.w, &weight), ("d_y", &[n, p, q, k], &dy)];
        let want = reference("conv2d", params, &given);
        let (m, window) = (n * p * q, r * s * c);
        let (dx_pixels, parities) = (n * h.div_ceil(stride) * w.div_ceil(stride), stride * stride);
        let suffix = if dtype == Precision::Bf16 { "bf16" } else { "f32" };
        let (b128, b256) = ([128, 1, 1], [256, 1, 1]);
        let stem_shared = 128 * (window.next_multiple_of(16) + 8);

        // (technique, grid, block, shared) of each pass.
        type Rung = (String, [usize; 3], [u32; 3], usize);
        let rung = |name: &str, grid, block, shared| -> Rung { (name.to_string(), grid, block, shared) };
        let mut forward = vec![
            rung("direct", [(m * k).div_ceil(256), 1, 1], b256, 0),
            rung("tiled", [m.div_ceil(128), k.div_ceil(64), 1], b128, 0),
        ];
        let mut input = vec![
            rung("direct", [(n * h * w * c).div_ceil(256), 1, 1], b256, 0),
            rung("tiled", [dx_pixels.div_ceil(128), c.div_ceil(64), parities], b128, 0),
        ];
        let splits = 3;
        let mut weights = vec![rung("tiled", [window.div_ceil(128), k.div_ceil(64), splits], b128, 0)];
        if dtype == Precision::Bf16 {
            if window <= 208 {
                forward.push(rung("stem", [m.div_ceil(64).min(2), k.div_ceil(64), 1], b128, stem_shared));
                weights.push(rung("stem", [k.div_ceil(64), splits, 1], b256, stem_shared));
            }
            for [bm, bn] in [[128, 128], [128, 64], [64, 64]] {
                if c % 8 == 0 {
                    let grid = [m.div_ceil(bm) * k.div_ceil(bn), 1, 1];
                    forward.push(rung(&format!("mma_{bm}x{bn}"), grid, b128, 0));
                }
                if c % 8 == 0 && k % 8 == 0 {
                    let grid = [dx_pixels.div_ceil(bm) * c.div_ceil(bn), 1, parities];
                    input.push(rung(&format!("mma_{bm}x{bn}"), grid, b128, 0));
                }
            }
            for [bm, bn] in [[128, 128], [64, 128], [64, 64]] {
                if c % 8 == 0 && k % 8 == 0 {
                    let grid = [k.div_ceil(bm) * window.div_ceil(bn), splits, 1];
                    weights.push(rung(&format!("mma_{bm}x{bn}"), grid, b128, 0));
                }
            }
        }

        for (technique, grid, block, shared) in forward {
            let mut bench = Bench::new();
            let entry = format!("conv2d_fwd_{suffix}__{technique}");
            let (x, w) = (bench.put(&bytes(&x, dtype)), bench.put(&bytes(&weight, dtype)));
            let y = bench.empty(bytes(&want["y"], dtype).len());
            bench.run(&entry, grid, block, shared, [geometry.clone(), places(&[x, w, y])].concat());
            assert_close(&entry, &bench.get(y, want["y"].len(), dtype), &want["y"], tolerance(dtype));
        }
        for (technique, grid, block, shared) in input {
            let mut bench = Bench::new();
            let entry = format!("conv2d_bwd_input_{suffix}__{technique}");
            let (dy, w) = (bench.put(&bytes(&dy, dtype)), bench.put(&bytes(&weight, dtype)));
            let (dx, want) = target(&mut bench, &want["d_x"], accumulate, dtype);
            let arguments = [geometry.clone(), u(&[accumulate.into()]), places(&[dy, w, dx])].concat();
            bench.run(&entry, grid, block, shared, arguments);
            assert_close(&entry, &bench.get(dx, want.len(), dtype), &want, tolerance(dtype));
        }
        for (technique, grid, block, shared) in weights {
            let mut bench = Bench::new();
            let entry = format!("conv2d_bwd_weight_{suffix}__{technique}");
            let (dy, x) = (bench.put(&bytes(&dy, dtype)), bench.put(&bytes(&x, dtype)));
            let parts = bench.empty(4 * splits * k * window);
            let arguments = [geometry.clone(), u(&[splits]), places(&[dy, x, parts])].concat();
            bench.run(&entry, grid, block, shared, arguments);
            let (dw, want) = target(&mut bench, &want["d_w"], accumulate, Precision::F32);
            let length = k * window;
            let each = if length % 4 == 0 { 512 } else { 128 };
            let arguments = [u(&[length, splits, accumulate.into()]), places(&[parts, dw])].concat();
            bench.run("conv2d_bwd_weight_f32__reduce", [length.div_ceil(each), 1, 1], b128, 0, arguments);
            assert_close(&entry, &bench.get(dw, length, Precision::F32), &want, tolerance(Precision::F32));
        }
        let mut bench = Bench::new();
        let entry = format!("conv2d_bwd_weight_{suffix}__direct");
        let (dy, x) = (bench.put(&bytes(&dy, dtype)), bench.put(&bytes(&x, dtype)));
        let (dw, want) = target(&mut bench, &want["d_w"], accumulate, Precision::F32);
        let arguments = [geometry, u(&[accumulate.into()]), places(&[dy, x, dw])].concat();
        bench.run(&entry, [k * r * s * c.div_ceil(32), 1, 1], b256, 0, arguments);
        assert_close(&entry, &bench.get(dw, want.len(), Precision::F32), &want, tolerance(Precision::F32));
    }
}

fn convolutions() {
    let conv = |x, w, stride, padding, dilation| Conv { x, w, stride, padding, dilation };
    let shapes = [
        conv([2, 7, 6, 24], [40, 3, 3, 24], 1, 1, 1),
        conv([1, 9, 8, 8], [72, 3, 3, 8], 2, 1, 1),
        conv([3, 5, 4, 72], [136, 1, 1, 72], 1, 0, 1),
        conv([1, 8, 9, 16], [8, 5, 5, 16], 1, 4, 2),
        conv([1, 13, 11, 3], [17, 7, 7, 3], 2, 3, 1),
        conv([2, 4, 5, 5], [9, 2, 2, 5], 3, 1, 1),
        conv([2, 7, 6, 1], [16, 3, 3, 1], 1, 1, 1),
        conv([1, 1, 1, 8], [8, 3, 3, 8], 1, 1, 1),
    ];
    for (i, shape) in shapes.iter().enumerate() {
        shape.check(Precision::F32, i % 2 == 1);
        shape.check(Precision::Bf16, i % 2 == 0);
    }
}

fn linears() {
    for dtype in [Precision::F32, Precision::Bf16] {
        let suffix = if dtype == Precision::Bf16 { "bf16" } else { "f32" };
        let (n, d, k) = (37, 19, 45);
        let (x, w, dy) = (normal(n * d, 1, dtype), normal(k * d, 2, dtype), normal(n * k, 3, dtype));
        let b = normal(k, 4, Precision::F32);
        let given: [(&str, &[usize], &[f32]); 4] =
            [("x", &[n, d], &x), ("w", &[k, d], &w), ("b", &[k], &b), ("d_y", &[n, k], &dy)];
        let want = reference("linear", json!({}), &given);
        let grid = |rows: usize, columns: usize| [columns.div_ceil(32), rows.div_ceil(8), 1];
        let block = [32, 8, 1];
        let one = vec![Value::F32(1.0)];
        let mut bench = Bench::new();
        let [px, pw, pdy] = [&x, &w, &dy].map(|t| bench.put(&bytes(t, dtype)));
        let pb = bench.put(&bytes(&b, Precision::F32));
        let y = bench.empty(bytes(&want["y"], dtype).len());
        let entry = format!("linear_fwd_{suffix}__direct");
        bench.run(
            &entry,
            grid(n, k),
            block,
            0,
            [u(&[n, d, k, 0]), one.clone(), places(&[px, pw, pb, y])].concat(),
        );
        assert_close(&entry, &bench.get(y, n * k, dtype), &want["y"], tolerance(dtype));
        let (dx, sum) = target(&mut bench, &want["d_x"], true, dtype);
        let entry = format!("linear_bwd_input_{suffix}__direct");
        bench.run(
            &entry,
            grid(n, d),
            block,
            0,
            [u(&[n, d, k, 1]), one.clone(), places(&[pdy, pw, dx])].concat(),
        );
        assert_close(&entry, &bench.get(dx, n * d, dtype), &sum, tolerance(dtype));
        let (dw, sum) = target(&mut bench, &want["d_w"], true, Precision::F32);
        let entry = format!("linear_bwd_weight_{suffix}__direct");
        bench.run(
            &entry,
            grid(k, d),
            block,
            0,
            [u(&[n, d, k, n, 1]), one.clone(), places(&[pdy, px, dw])].concat(),
        );
        assert_close(&entry, &bench.get(dw, k * d, Precision::F32), &sum, tolerance(Precision::F32));
    }
}

fn contrastive_losses() {
    let (rows, d, temperature) = (70, 24, 0.3);
    for dtype in [Precision::F32, Precision::Bf16] {
        let suffix = if dtype == Precision::Bf16 { "bf16" } else { "f32" };
        let z = normal(rows * d, 1, dtype);
        let want = reference("nt_xent", json!({"temperature": temperature}), &[("z", &[rows, d], &z)]);
        for technique in ["direct", "tiled"] {
            let mut bench = Bench::new();
            let tiles = rows.div_ceil(64);
            let (grid, block, splits) = match technique {
                "direct" => ([rows.div_ceil(4), 1, 1], [128, 1, 1], 1),
                _ => ([tiles, tiles, 1], [256, 1, 1], tiles),
            };
            let size = bytes(&z, dtype).len();
            let z = bench.put(&bytes(&z, dtype));
            let [unit, inverse, part, positive, lse, loss, d_unit, dz] =
                [size, 4 * rows, 4 * splits * rows, 4 * rows, 4 * rows, 4, 4 * splits * rows * d, size]
                    .map(|bytes| bench.empty(bytes));
            let d_loss = bench.put(&bytes(&[1.0], Precision::F32));
            let (over_rows, warps) = ([rows.div_ceil(4), 1, 1], [128, 1, 1]);
            let sizes = |temperature: f32| [u(&[rows, d]), vec![Value::F32(temperature)]].concat();
            let normalize = [u(&[rows, d]), places(&[z, unit, inverse])].concat();
            bench.run(&format!("nt_xent_normalize_{suffix}"), over_rows, warps, 0, normalize);
            let forward = format!("nt_xent_fwd_{suffix}__{technique}");
            bench.run(
                &forward,
                grid,
                block,
                0,
                [sizes(temperature), places(&[unit, part, positive])].concat(),
            );
            let finalize = [u(&[rows, splits]), places(&[part, positive, lse, loss])].concat();
            bench.run("nt_xent_fwd_f32__finalize", [1; 3], [1024, 1, 1], 0, finalize);
            let looser = if dtype == Precision::Bf16 { 2e-3 } else { 2e-5 };
            assert_close(&forward, &bench.get(loss, 1, Precision::F32), &want["loss"], looser);
            let backward = format!("nt_xent_bwd_{suffix}__{technique}");
            bench.run(&backward, grid, block, 0, [sizes(temperature), places(&[unit, lse, d_unit])].concat());
            let scalars = [u(&[rows, d, splits]), vec![Value::F32(temperature)], u(&[0])].concat();
            let apply = [scalars, places(&[d_loss, z, inverse, d_unit, dz])].concat();
            bench.run(&format!("nt_xent_bwd_{suffix}__apply"), over_rows, warps, 0, apply);
            // As in tests/ops/main.rs: unit rows are rounded to bf16 too.
            let looser = if dtype == Precision::Bf16 { 1.5e-2 } else { 5e-5 };
            assert_close(&backward, &bench.get(dz, rows * d, dtype), &want["d_z"], looser);
        }
    }
}

fn queries_and_neighbours() {
    let (n, columns, d, temperature) = (70, 131, 12, 0.3);
    let normalized = |x: &[f32]| -> Vec<f32> {
        let rows = x.chunks_exact(d).flat_map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(move |x| x / length)
        });
        rows.collect()
    };
    let (a, b) = (normal(n * d, 1, Precision::F32), normal(columns * d, 2, Precision::F32));
    let (a, b) = (normalized(&a), normalized(&b));
    let s = |i: usize, j: usize| -> f32 {
        a[i * d..][..d].iter().zip(&b[j * d..]).map(|(a, b)| a * b).sum::<f32>() / temperature
    };
    let lse: Vec<f32> = (0..n).map(|i| (0..columns).map(|j| s(i, j).exp()).sum::<f32>().ln()).collect();
    let column_lse: Vec<f32> = normal(columns, 3, Precision::F32);
    let (over_rows, warps) = ([n.div_ceil(4), 1, 1], [128, 1, 1]);
    let mut bench = Bench::new();
    let [at_a, at_b, at_lse, at_column_lse] =
        [&a, &b, &lse, &column_lse].map(|x| bench.put(&bytes(x, Precision::F32)));
    let [part, d_unit, best, index] = [n, n * d, n, n].map(|x| bench.empty(4 * x));
    let sizes = u(&[n, columns, d]);
    let forward = [sizes.clone(), vec![Value::F32(temperature)], places(&[at_a, at_b, part])].concat();
    bench.run("info_nce_fwd_f32__direct", over_rows, warps, 0, forward);
    assert_close("info_nce_fwd_f32__direct", &bench.get(part, n, Precision::F32), &lse, 2e-5);
    for by_column in [0, 1] {
        let mut want = vec![0.0; n * d];
        for (i, j) in (0..n).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let w = (s(i, j) - if by_column == 1 { column_lse[j] } else { lse[i] }).exp();
            want[i * d..][..d].iter_mut().zip(&b[j * d..]).for_each(|(sum, b)| *sum += w * b);
        }
        let its = [at_lse, at_column_lse][by_column];
        let scalars = [sizes.clone(), u(&[by_column]), vec![Value::F32(temperature)]].concat();
        let backward = [scalars, places(&[at_a, at_b, its, d_unit])].concat();
        bench.run("info_nce_bwd_f32__direct", over_rows, warps, 0, backward);
        assert_close("info_nce_bwd_f32__direct", &bench.get(d_unit, n * d, Precision::F32), &want, 5e-5);
    }
    let found = [sizes, places(&[at_a, at_b, best, index])].concat();
    bench.run("nearest_fwd_f32__direct", over_rows, warps, 0, found);
    let greatest = |i: usize| (0..columns).max_by(|&j, &k| s(i, j).total_cmp(&s(i, k))).unwrap();
    let want: Vec<_> = (0..n).map(greatest).collect();
    let cosines: Vec<_> = want.iter().enumerate().map(|(i, &j)| s(i, j) * temperature).collect();
    assert_close("nearest_fwd_f32__direct", &bench.get(best, n, Precision::F32), &cosines, 2e-5);
    let index = bench.get(index, n, Precision::F32).into_iter().map(|x| x.to_bits() as usize);
    assert_eq!(index.collect::<Vec<_>>(), want);
}

fn other_first_rungs() {
    for dtype in [Precision::F32, Precision::Bf16] {
        let suffix = if dtype == Precision::Bf16 { "bf16" } else { "f32" };
        // softmax_cross_entropy: a thread a row.
        let (n, c) = (130, 7);
        let (logits, labels) =
            (normal(n * c, 1, dtype), (0..n as i64).map(|i| i * 5 % c as i64).collect::<Vec<_>>());
        let inputs = BTreeMap::from([
            ("logits".to_string(), HostTensor::f32([n, c], logits.clone())),
            ("labels".to_string(), HostTensor::i64([n], labels.clone())),
        ]);
        let want = run("softmax_cross_entropy", &json!({}), &inputs, How::default()).unwrap();
        let mut bench = Bench::new();
        let (x, labels) = (bench.put(&bytes(&logits, dtype)), bench.put(bytemuck::cast_slice(&labels)));
        let [row_loss, loss] = [4 * n, 4].map(|bytes| bench.empty(bytes));
        let entry = format!("softmax_cross_entropy_fwd_{suffix}__direct");
        bench.run(
            &entry,
            [n.div_ceil(128), 1, 1],
            [128, 1, 1],
            0,
            [u(&[n, c]), places(&[x, labels, row_loss])].concat(),
        );
        let finalize = [u(&[n]), places(&[row_loss, loss])].concat();
        bench.run("softmax_cross_entropy_fwd_f32__finalize", [1; 3], [256, 1, 1], 0, finalize);
        assert_close(&entry, &bench.get(loss, 1, Precision::F32), want["loss"].as_f32().unwrap(), 2e-5);

        // batch_norm: a block a channel.
        let (m, c) = (301, 5);
        let x = normal(m * c, 1, dtype);
        let (gamma, beta, residual) =
            (normal(c, 2, Precision::F32), normal(c, 3, Precision::F32), normal(m * c, 4, dtype));
        let given: [(&str, &[usize], &[f32]); 5] = [
            ("x", &[m, c], &x),
            ("gamma", &[c], &gamma),
            ("beta", &[c], &beta),
            ("residual", &[m, c], &residual),
            ("d_y", &[m, c], &x),
        ];
        let want = reference("batch_norm", json!({"relu": true}), &given);
        let mut bench = Bench::new();
        let [x, residual] = [&x, &residual].map(|t| bench.put(&bytes(t, dtype)));
        let [gamma, beta] = [&gamma, &beta].map(|t| bench.put(&bytes(t, Precision::F32)));
        let y = bench.empty(bytes(&want["y"], dtype).len());
        let [mean, var] = [4 * c; 2].map(|bytes| bench.empty(bytes));
        let entry = format!("batch_norm_fwd_{suffix}__direct");
        let scalars = [u(&[m, c, 1]), vec![Value::F32(1e-5)]].concat();
        let arguments = [scalars, places(&[x, gamma, beta, residual, y, mean, var])].concat();
        bench.run(&entry, [c, 1, 1], [256, 1, 1], 0, arguments);
        assert_close(&entry, &bench.get(y, m * c, dtype), &want["y"], tolerance(dtype));
        assert_close(&entry, &bench.get(var, c, Precision::F32), &want["var"], 2e-5);

        // max_pool: backwards by looking at every window again.
        let (n, h, w, c, kernel, stride, padding) = (2, 9, 7, 5, 3, 2, 1);
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let (p, q) = (out(h), out(w));
        let (x, dy) = (normal(n * h * w * c, 1, dtype), normal(n * p * q * c, 2, dtype));
        let params = json!({"kernel": kernel, "stride": stride, "padding": padding});
        let given: [(&str, &[usize], &[f32]); 2] = [("x", &[n, h, w, c], &x), ("d_y", &[n, p, q, c], &dy)];
        let want = reference("max_pool", params, &given);
        let mut bench = Bench::new();
        let [x, dy] = [&x, &dy].map(|t| bench.put(&bytes(t, dtype)));
        let (dx, sum) = target(&mut bench, &want["d_x"], true, dtype);
        let entry = format!("max_pool_bwd_{suffix}__direct");
        let arguments = [u(&[h, w, c, p, q, kernel, stride, padding, 1]), places(&[dy, x, dx])].concat();
        bench.run(&entry, [n * h, (w * c).div_ceil(128), 1], [128, 1, 1], 0, arguments);
        assert_close(&entry, &bench.get(dx, n * h * w * c, dtype), &sum, tolerance(dtype));
    }
}

/// Views too large for shared memory, through the op itself.
fn large_views() {
    let images = HostTensor::u8([2, 70, 90, 3], (0..2 * 70 * 90 * 3).map(|i| (i * 37 % 251) as u8).collect());
    let policy = rusa::augment::preset("cifar-simclr").unwrap().policy();
    let rows = rusa::augment::draw_batch(&policy, 1, 0, &[0, 1], 1, [70, 90]);
    let rows = HostTensor::f32([2, 16], rusa::ops::augment::params::as_tensor(&rows).to_vec());
    let params = json!({"size": 72, "interpolation": "bicubic", "clamp": true});
    let case = Case::new("large", params.clone()).filled("images", images.ty(), Fill::Pixels).filled(
        "params",
        rows.ty(),
        Fill::Normal,
    );
    let inputs = BTreeMap::from([("images".to_string(), images), ("params".to_string(), rows)]);
    let views = |device, precision| {
        let how = How { device, precision, ..How::default() };
        run("augment", &params, &inputs, how).unwrap()["y"].as_f32().unwrap().to_vec()
    };
    let cpu = views(Device::Cpu, Precision::F32);
    assert_eq!(views(ON.get(), Precision::F32), cpu, "bit for bit");
    let rounded: Vec<f32> = cpu.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
    assert_eq!(views(ON.get(), Precision::Bf16), rounded, "bit for bit, rounded");
    for precision in [Precision::F32, Precision::Bf16] {
        let entries = launched(find("augment").unwrap(), &case, precision);
        RUN.with_borrow_mut(|run| run.extend(entries.into_iter().map(String::from)));
    }
}

/// The entries an op launches on a case, forwards and backwards.
fn launched(spec: &OpSpec, case: &Case, precision: Precision) -> Vec<&'static str> {
    let mut graph = Graph::with_precision(precision);
    let mut operands = BTreeMap::new();
    for (name, ty, _) in &case.inputs {
        let operand = spec.inputs.iter().find(|o| o.name == *name).unwrap();
        let reduced = ty.dtype == DType::F32 && !operand.full;
        let ty = if reduced { ty.with(precision.dtype()) } else { ty.clone() };
        let id = match operand.differentiable {
            true => graph.differentiable_input(name, ty).unwrap(),
            false => graph.input(name, ty).unwrap(),
        };
        operands.insert(name.to_string(), id);
    }
    let y = (spec.record)(&mut graph, &case.params, &Tensors::new(spec.name, operands)).unwrap()[0];
    if spec.outputs[0].differentiable {
        let upstream = graph.input("upstream", graph.ty(y).clone()).unwrap();
        graph.differentiate(&[(y, upstream)]).unwrap();
    }
    let program = Lowered::new(graph, VmBackend::new(0), Placement::Apart).unwrap();
    program.launches().iter().flatten().map(|launch| launch.entry).collect()
}

/// What whole training steps run: tests/devices.
const IN_STEPS: [&str; 2] = ["batch_norm_running_f32", "cast_bf16_f32__multi"];

fn every_rung() {
    convolutions();
    linears();
    contrastive_losses();
    queries_and_neighbours();
    other_first_rungs();
    large_views();
}

#[test]
fn every_rung_on_a_gpu_agrees_with_the_cpu_engine() {
    if on("cuda").is_some() {
        every_rung();
    }
}

#[test]
fn every_rung_on_the_vm_agrees_with_the_cpu_engine_and_none_is_left_out() {
    if on("vm").is_none() {
        return;
    }
    every_rung();

    // The rest is what tests/ops/main.rs makes the host pick, or what whole steps run.
    let mut tested = RUN.take();
    for spec in OPS {
        for case in (spec.cases)().iter().filter(|c| !c.bench_only) {
            for precision in [Precision::F32, Precision::Bf16] {
                tested.extend(launched(spec, case, precision).into_iter().map(String::from));
            }
        }
    }
    tested.extend(IN_STEPS.map(String::from));
    let all = signatures().flat_map(|s| s.entries);
    let missing: Vec<_> = all.filter(|entry| !tested.contains(**entry)).collect();
    assert!(missing.is_empty(), "no test runs {missing:?}");
}
