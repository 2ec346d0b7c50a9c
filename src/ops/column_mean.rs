//! column_mean: y\[k\] = (1/N) Σ_n x\[n,k\]: what DINO's center moves towards (Caron et al., ICCV 2021, eq. 4), and the
//! mean prediction whose entropy keeps classes in use.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved, splits};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// Columns a task of the CPU kernel sums.
const CHUNK: usize = 256;
/// Rows a block goes down at least: below that, parts are more work than rows.
const PART_ROWS: usize = 64;

/// x\[N,K\] → y\[K\], f32 in every precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnMean;

impl Op for ColumnMean {
    fn name(&self) -> &'static str {
        "column_mean"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let [_, k] = x.dims(self.name(), "x")?;
        Ok(vec![TensorType::f32([k])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [_, k] = args.dims(0);
        means(args.f32(0), k, args.out(0));
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        let parts = Walk::new(&inputs[0]).parts;
        if parts > 1 { parts * inputs[0].shape[1] * size_of::<f32>() } else { 0 }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], walk, y) = (on.dims(0), Walk::new(on.ty(0)), on.output(0));
        let entry = on.pick(0, "column_mean_fwd_f32", "column_mean_fwd_bf16");
        let (mean, rows_per_part) = (1.0 / n as f32, walk.rows as u32);
        let (scale, sums) = if walk.parts > 1 { (1.0, on.workspace) } else { (mean, y) };
        let forward = Forward { n, k, rows_per_part, scale, x: on.input(0), sums };
        let mut launches = vec![Launch::grid(entry, walk.grid(), [256, 1, 1], forward)];
        if walk.parts > 1 {
            let reduce = Reduce { k, parts: walk.parts as u32, scale: mean, sums, y };
            let blocks = k.div_ceil(256) as usize;
            launches.push(Launch::new("column_mean_fwd_f32__reduce", blocks, 256, reduce));
        }
        Ok(launches)
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, of) = (vjp.grad(0)?, vjp.ty(vjp.input(0)).clone());
        vjp.emit(ColumnMeanBackward { of }, &[dy], &[0])
    }
}

/// The means of the `k` columns of x, summed in f64.
pub(super) fn means(x: &[f32], k: usize, y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, y)| {
        let mut sums = [0.0_f64; CHUNK];
        for row in x.chunks_exact(k) {
            let row = &row[chunk * CHUNK..][..y.len()];
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / (x.len() / k) as f64) as f32);
    });
}

/// dx\[n,k\] = dy\[k\] / N.
#[derive(Debug)]
struct ColumnMeanBackward {
    /// The type of x, which it does not read.
    of: TensorType,
}

impl Op for ColumnMeanBackward {
    fn name(&self) -> &'static str {
        "column_mean/bwd"
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![self.of.clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([k], accumulate) = (args.dims(0), args.accumulates(0));
        let (dy, scale) = (args.f32(0), 1.0 / self.of.shape[0] as f32);
        args.out(0).par_chunks_mut(k).for_each(|dx| {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                let g = scale * dy;
                *dx = if accumulate { *dx + g } else { g };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (n, [k], walk) = (self.of.shape[0] as u32, on.dims(0), Walk::new(&self.of));
        let (accumulate, rows_per_part, scale) = (on.accumulate(0), walk.rows as u32, 1.0 / n as f32);
        let entry = if self.of.dtype == DType::Bf16 { "column_mean_bwd_bf16" } else { "column_mean_bwd_f32" };
        let (dy, dx) = (on.input(0), on.output(0));
        let backward = Backward { n, k, rows_per_part, scale, accumulate, dy, dx };
        Ok(vec![Launch::grid(entry, walk.grid(), [256, 1, 1], backward)])
    }
}

/// How blocks share a matrix: parts of the rows, and of each row shares of at most 32 accesses.
pub(super) struct Walk {
    pub parts: usize,
    pub rows: usize,
    shares: usize,
}

impl Walk {
    pub fn new(x: &TensorType) -> Self {
        let (n, k) = (x.shape[0], x.shape[1]);
        let pack = 16 / x.dtype.size();
        let shares = (if k.is_multiple_of(pack) { k / pack } else { k }).div_ceil(32);
        let rows = n.div_ceil(splits(shares, n, PART_ROWS));
        Self { parts: n.div_ceil(rows), rows, shares }
    }

    pub fn grid(&self) -> [usize; 3] {
        [self.parts, self.shares, 1]
    }
}

kernel!(Forward ["column_mean_fwd_f32", "column_mean_fwd_bf16"]
    { n: u32, k: u32, rows_per_part: u32, scale: f32, x: Address, sums: Address });

kernel!(Reduce ["column_mean_fwd_f32__reduce"]
    { k: u32, parts: u32, scale: f32, sums: Address, y: Address });

kernel!(Backward ["column_mean_bwd_f32", "column_mean_bwd_bf16"]
    { n: u32, k: u32, rows_per_part: u32, scale: f32, accumulate: u32, dy: Address, dx: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Reduce::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "column_mean",
    summary: "mean over the rows",
    inputs: &[Operand::new("x", "[N,K]")],
    outputs: &[Operand::new("y", "[K]").full()],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(ColumnMean, &[t.get("x")?]),
    reference: |_, t| {
        let x = t.at("x");
        let (n, k) = (x.shape[0], x.shape[1]);
        let mean = |j| (0..n).map(|i| x.row(i)[j]).sum::<f64>() / n as f64;
        vec![Tensor64::new([k], (0..k).map(mean).collect())]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, k: usize| Case::new(name, json!({})).input("x", [n, k]);
        vec![
            case("small", 5, 7),
            case("batch_1", 1, 33),
            case("parts", 201, 40),
            case("parts_odd", 131, 37),
            case("wide", 3, 1000),
            case("dino", 128, 65536).bench_only(),
        ]
    },
};
